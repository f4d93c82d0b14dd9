//! How many files this process may have open. Every level of a tree that is walked holds one, and container runtimes start
//! processes with a soft limit of 1,024.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, as Go's runtime does for Velero and Kopia when they start. Where that is refused,
/// a tree that is too deep fails with the name of the directory.
pub(crate) fn allow_all() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        let _refused = setrlimit(Resource::Nofile, limit);
    }
}
