//! A directory of which some entries are still being read, and the rule by which finished ones travel upwards.
//!
//! Every directory counts what it waits for. Whoever fills the last gap writes the directory and fills the gap that it
//! leaves in its own parent, so no thread ever waits for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use caravel_repository::snapshot::{Directory, DirectoryEntry, DirectorySummary, EntryKind};
use jiff::Timestamp;
use parking_lot::Mutex;

/// A directory on its way into the repository.
pub(crate) struct OpenDirectory {
    /// Its own entry, without content.
    entry: DirectoryEntry,
    /// Where its entry goes; the root has no such place.
    place: Option<Place>,
    children: Mutex<Vec<Option<DirectoryEntry>>>,
    gaps: AtomicUsize,
}

/// A gap in a directory: where one entry belongs.
#[derive(Clone)]
pub(crate) struct Place {
    /// The directory.
    pub directory: Arc<OpenDirectory>,
    /// The entry's index; children are in the order of the stored directory.
    pub index: usize,
}

impl OpenDirectory {
    /// A directory that waits for `children` entries.
    pub fn new(entry: DirectoryEntry, place: Option<Place>, children: usize) -> Arc<Self> {
        Arc::new(Self {
            entry,
            place,
            children: Mutex::new(vec![None; children]),
            // One more than the children: the walker's own hold, given back by `Place::complete` or `release`.
            gaps: AtomicUsize::new(children + 1),
        })
    }

    /// The walker has looked at every child. Returns whether nothing is missing any more.
    pub fn release(&self) -> bool {
        self.gaps.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The finished directory, its own entry (object still missing) and the gap that it fills.
    pub fn close(&self) -> (Directory, DirectoryEntry, Option<Place>) {
        let entries: Vec<_> = std::mem::take(&mut *self.children.lock()).into_iter().flatten().collect();
        let summary = summarize(&entries, self.entry.mtime);
        let entry = DirectoryEntry { summary: Some(summary.clone()), ..self.entry.clone() };
        (Directory { entries, summary: Some(summary) }, entry, self.place.clone())
    }
}

impl Place {
    /// Fills the gap. Returns whether it was the directory's last.
    pub fn fill(&self, entry: DirectoryEntry) -> bool {
        self.directory.children.lock()[self.index] = Some(entry);
        self.directory.release()
    }
}

/// Totals of a directory and all below it (kopia-format.md 10.3).
fn summarize(entries: &[DirectoryEntry], own_mtime: Timestamp) -> DirectorySummary {
    let mut total = DirectorySummary { dirs: 1, max_time: Timestamp::UNIX_EPOCH, ..DirectorySummary::default() };
    for entry in entries {
        total.max_time = total.max_time.max(entry.mtime);
        match entry.kind {
            EntryKind::File => {
                total.files += 1;
                total.size += entry.size;
            }
            EntryKind::Symlink => total.symlinks += 1,
            EntryKind::Directory => {
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
