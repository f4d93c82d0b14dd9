//! What an upload counts as it goes.

use std::sync::atomic::{AtomicU64, Ordering};

use caravel_repository::{EntryType, SnapshotStats};

use super::entry::Described;

/// Counts that go into the snapshot's manifest.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub read_files: AtomicU64,
    pub read_bytes: AtomicU64,
    pub reused_files: AtomicU64,
    pub reused_bytes: AtomicU64,
    /// Of the reused bytes, those that only a checkpoint has: no complete snapshot holds them yet.
    pub checkpoint_bytes: AtomicU64,
    pub directories: AtomicU64,
    pub entries: AtomicU64,
    pub excluded_files: AtomicU64,
    pub excluded_directories: AtomicU64,
    pub excluded_bytes: AtomicU64,
    pub errors: AtomicU64,
    pub ignored_errors: AtomicU64,
}

impl Totals {
    /// Counts a file that an earlier snapshot has.
    pub fn reuse(&self, size: u64, of_parent: bool) {
        self.reused_files.fetch_add(1, Ordering::Relaxed);
        self.reused_bytes.fetch_add(size, Ordering::Relaxed);
        if !of_parent {
            self.checkpoint_bytes.fetch_add(size, Ordering::Relaxed);
        }
    }

    /// Bytes of all files in the snapshot.
    pub fn total_bytes(&self) -> u64 {
        self.read_bytes() + self.reused_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the files that were read.
    fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the files that the parent snapshot does not have as they are now.
    pub fn new_bytes(&self) -> u64 {
        self.read_bytes() + self.checkpoint_bytes.load(Ordering::Relaxed)
    }

    /// Whether the volume held nothing at all.
    pub fn is_empty(&self) -> bool {
        self.entries.load(Ordering::Relaxed) == 0
    }

    /// Counts an entry that a policy leaves out.
    pub fn exclude(&self, entry: &Described) {
        if entry.kind == EntryType::Directory {
            self.excluded_directories.fetch_add(1, Ordering::Relaxed);
        } else {
            self.excluded_files.fetch_add(1, Ordering::Relaxed);
            self.excluded_bytes.fetch_add(entry.size(), Ordering::Relaxed);
        }
    }

    /// Entries that a policy left out; a directory counts once.
    pub fn excluded(&self) -> u64 {
        self.excluded_files.load(Ordering::Relaxed) + self.excluded_directories.load(Ordering::Relaxed)
    }

    /// Failures that a policy says to ignore.
    pub fn ignored_errors(&self) -> u64 {
        self.ignored_errors.load(Ordering::Relaxed)
    }

    /// As a snapshot's manifest counts: `fileCount` leaves out reused files (kopia-format.md 10.1).
    pub fn stats(&self) -> SnapshotStats {
        let read_files = self.read_files.load(Ordering::Relaxed);
        SnapshotStats {
            total_size: self.total_bytes(),
            file_count: read_files,
            cached_files: self.reused_files.load(Ordering::Relaxed),
            non_cached_files: read_files,
            dir_count: self.directories.load(Ordering::Relaxed),
            excluded_total_size: self.excluded_bytes.load(Ordering::Relaxed),
            excluded_file_count: self.excluded_files.load(Ordering::Relaxed),
            excluded_dir_count: self.excluded_directories.load(Ordering::Relaxed),
            ignored_error_count: self.ignored_errors(),
            error_count: self.errors.load(Ordering::Relaxed),
        }
    }
}
