//! A directory of which some entries are still being read, and the rule by which finished ones travel upwards.
//!
//! Every directory counts what it waits for. Whoever fills the last gap writes the directory and fills the gap that it
//! leaves in its own parent, so no thread ever waits for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use caravel_repository::{DirectoryEntry, DirectorySummary, EntryType};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::entry::Described;

/// A directory on its way into the repository.
pub(crate) struct OpenDirectory {
    own: Described,
    above: Option<Arc<OpenDirectory>>,
    entries: Mutex<Vec<DirectoryEntry>>,
    gaps: AtomicUsize,
}

impl OpenDirectory {
    /// A directory that waits for `children` entries and for [`OpenDirectory::release`].
    pub fn new(own: Described, above: Option<Arc<Self>>, children: usize) -> Arc<Self> {
        Arc::new(Self {
            own,
            above,
            entries: Mutex::new(Vec::with_capacity(children)),
            gaps: AtomicUsize::new(children + 1),
        })
    }

    /// One entry is finished. Returns whether nothing is missing any more.
    pub fn fill(&self, entry: DirectoryEntry) -> bool {
        self.entries.lock().push(entry);
        self.release()
    }

    /// One hold less: an entry was filled, or the walker has looked at every child.
    pub fn release(&self) -> bool {
        self.gaps.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The name and attributes of the directory itself.
    pub fn own(&self) -> &Described {
        &self.own
    }

    /// The directory that waits for this one; the root has none.
    pub fn above(&self) -> Option<&Arc<Self>> {
        self.above.as_ref()
    }

    /// The entries, in no order, and their totals.
    pub fn close(&self) -> (Vec<DirectoryEntry>, DirectorySummary) {
        let entries = std::mem::take(&mut *self.entries.lock());
        let summary = summarize(&entries, self.own.mtime());
        (entries, summary)
    }
}

/// Totals of a directory and all below it (kopia-format.md 10.3).
fn summarize(entries: &[DirectoryEntry], own_mtime: Timestamp) -> DirectorySummary {
    let mut total = DirectorySummary {
        dirs: 1,
        ..DirectorySummary::default()
    };
    for entry in entries {
        total.max_time = total.max_time.max(entry.mtime);
        match entry.kind {
            EntryType::File => {
                total.files += 1;
                total.size += entry.size;
            }
            EntryType::Symlink => total.symlinks += 1,
            EntryType::Directory => {
                if let Some(below) = &entry.summary {
                    total.size += below.size;
                    total.files += below.files;
                    total.symlinks += below.symlinks;
                    total.dirs += below.dirs;
                    total.max_time = total.max_time.max(below.max_time);
                }
            }
        }
    }
    if entries.is_empty() {
        total.max_time = own_mtime;
    }
    total
}
