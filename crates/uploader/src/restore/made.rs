//! A directory of a restore: open while anything is to be written into it, finished when nothing is any more.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use caravel_repository::DirectoryEntry;

use super::attributes;
use super::notes::Notes;
use crate::request::RestoreRules;

/// A directory that was made. Its owner, mode and times are set when the last holder lets go of it: writing an entry
/// would change its times again, and a read-only mode would forbid it.
pub(crate) struct Made<'run> {
    pub descriptor: OwnedFd,
    pub entry: DirectoryEntry,
    pub path: String,
    /// How deep it is: the target is 0.
    pub level: usize,
    pub rules: RestoreRules,
    /// Where a failure to finish it is noted.
    pub notes: &'run Notes,
    /// Keeps the directory above unfinished until this one is.
    pub above: Option<Arc<Made<'run>>>,
}

impl Drop for Made<'_> {
    /// One by one, upwards: the last holder of a deep directory may have a small stack.
    fn drop(&mut self) {
        self.finish();
        let mut above = self.above.take();
        while let Some(mut directory) = above.and_then(Arc::into_inner) {
            above = directory.above.take();
        }
    }
}

impl Made<'_> {
    fn finish(&self) {
        let done = attributes::set(&self.rules, &self.descriptor, &self.entry, &self.path);
        self.notes.note(&self.path, done);
    }
}
