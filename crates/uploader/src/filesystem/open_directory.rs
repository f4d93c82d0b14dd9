//! A directory of which some entries are still being read, and the rule by which finished ones travel upwards.
//!
//! Every directory counts what it waits for. Whoever fills the last gap writes the directory (the walker leaves that to the
//! others) and fills the gap that it leaves in its own parent, so no thread ever waits for another.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use caravel_repository::{DirectoryEntry, DirectorySummary, EntryError, EntryType};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::entry::Described;
use crate::checkpoint;

/// A directory on its way into the repository.
pub(crate) struct OpenDirectory {
    own: Described,
    above: Option<Arc<OpenDirectory>>,
    entries: Mutex<Vec<DirectoryEntry>>,
    /// Directories in this one that are still open, for checkpoints.
    below: Mutex<BTreeMap<CString, Weak<OpenDirectory>>>,
    gaps: AtomicUsize,
    /// Entries that are missing, and whether the policy ignores it.
    failures: Mutex<Vec<(EntryError, bool)>>,
}

impl OpenDirectory {
    /// A directory that waits for `children` entries and for [`OpenDirectory::release`].
    pub fn new(own: Described, above: Option<Arc<Self>>, children: usize) -> Arc<Self> {
        let directory = Arc::new(Self {
            own,
            above,
            entries: Mutex::new(Vec::with_capacity(children)),
            below: Mutex::default(),
            gaps: AtomicUsize::new(children + 1),
            failures: Mutex::default(),
        });
        if let Some(above) = &directory.above {
            let name = directory.own.name.clone();
            above.below.lock().insert(name, Arc::downgrade(&directory));
        }
        directory
    }

    /// One entry is finished. Returns whether nothing is missing any more.
    pub fn fill(&self, entry: DirectoryEntry) -> bool {
        self.entries.lock().push(entry);
        self.release()
    }

    /// One entry is missing and stays so. Returns whether nothing else is awaited any more.
    pub fn give_up(&self, failure: EntryError, ignored: bool) -> bool {
        self.failures.lock().push((failure, ignored));
        self.release()
    }

    /// One hold less: an entry was filled, or the walker has looked at every child.
    pub fn release(&self) -> bool {
        self.gaps.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// How many entries it has so far.
    pub fn entries(&self) -> usize {
        self.entries.lock().len()
    }

    /// The name and attributes of the directory itself.
    pub fn own(&self) -> &Described {
        &self.own
    }

    /// The directory that waits for this one; the root has none.
    pub fn above(&self) -> Option<&Arc<Self>> {
        self.above.as_ref()
    }

    /// The directories in this one that are still open, by name.
    pub fn still_open(&self) -> Vec<Arc<Self>> {
        self.below.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// Calls `write` with what is finished so far and, for as long as that takes, `unfinished` beside it. Nobody may
    /// fill the directory meanwhile.
    pub fn so_far<T>(
        &self,
        unfinished: Vec<DirectoryEntry>,
        write: impl FnOnce(&mut [DirectoryEntry], &DirectorySummary) -> T,
    ) -> (T, DirectorySummary) {
        let names: BTreeSet<Vec<u8>> = unfinished.iter().map(DirectoryEntry::file_name).collect();
        // Not a copy of the finished ones: there may be a million.
        let mut entries = self.entries.lock();
        entries.extend(unfinished);
        let mut summary = summarize(&entries, self.own.mtime(), &self.failures.lock());
        summary.incomplete = checkpoint::REASON.to_owned();
        let written = write(&mut entries, &summary);
        if !names.is_empty() {
            entries.retain(|entry| !names.contains(&entry.file_name()));
        }
        (written, summary)
    }

    /// The entries, in no order, and their totals.
    pub fn close(&self) -> (Vec<DirectoryEntry>, DirectorySummary) {
        if let Some(above) = &self.above {
            above.below.lock().remove(&self.own.name);
        }
        let entries = std::mem::take(&mut *self.entries.lock());
        let summary = summarize(&entries, self.own.mtime(), &self.failures.lock());
        (entries, summary)
    }
}

impl Drop for OpenDirectory {
    /// One by one: the last holder of a deep directory may have a small stack.
    fn drop(&mut self) {
        let mut above = self.above.take();
        while let Some(mut directory) = above.and_then(Arc::into_inner) {
            above = directory.above.take();
        }
    }
}

/// Totals of a directory and all below it (kopia-format.md 10.3).
fn summarize(
    entries: &[DirectoryEntry],
    own_mtime: Timestamp,
    failures: &[(EntryError, bool)],
) -> DirectorySummary {
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
                    total.num_failed += below.num_failed;
                    total.num_ignored_errors += below.num_ignored_errors;
                    total.errors.extend_from_slice(&below.errors);
                }
            }
        }
    }
    for (failure, ignored) in failures {
        match ignored {
            true => total.num_ignored_errors += 1,
            false => total.num_failed += 1,
        }
        total.errors.push(failure.clone());
    }
    total.errors.sort_by(|a, b| a.path.cmp(&b.path));
    if entries.is_empty() {
        total.max_time = own_mtime;
    }
    total
}
