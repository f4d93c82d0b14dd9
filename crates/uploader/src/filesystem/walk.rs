//! Walks a mounted tree into the repository: one thread finds, several read.
//!
//! The walker goes depth first and never follows a link; every name is looked at and opened relative to its open
//! directory. Unchanged files take their object from the parent snapshot and are not opened at all.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use caravel_repository::snapshot::{DirectoryEntry, EntryKind, SnapshotStats};
use caravel_repository::{ObjectId, Repository, RepositoryWriter};
use parking_lot::Mutex;
use rustix::fs::{Dir, OFlags};

use super::entry::{Found, describe, join, open, unchanged};
use super::open_directory::{OpenDirectory, Place};
use super::read;
use crate::error::{Result, UploaderError};
use crate::job::Queue;
use crate::progress::{CancelToken, Progress};
use crate::request::LeftOut;

/// Everything that the threads of one upload share.
pub(crate) struct Walk<'run> {
    pub repository: &'run Repository,
    pub writer: &'run RepositoryWriter,
    pub progress: &'run Progress,
    pub cancel: &'run CancelToken,
    pub totals: Totals,
    /// What no snapshot can hold.
    pub left_out: Mutex<Vec<LeftOut>>,
    /// The root's entry, once the tree is complete.
    pub root: Mutex<Option<DirectoryEntry>>,
}

/// Counts that go into the snapshot's manifest.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub read_files: AtomicU64,
    pub read_bytes: AtomicU64,
    pub reused_files: AtomicU64,
    pub reused_bytes: AtomicU64,
    pub directories: AtomicU64,
    pub entries: AtomicU64,
}

/// One file or link whose content is to be stored.
pub(crate) struct ReadJob {
    directory: Arc<OwnedFd>,
    name: CString,
    path: String,
    entry: DirectoryEntry,
    place: Place,
}

impl Walk<'_> {
    /// Walks the tree below `root`; `parent` is the root directory of the parent snapshot.
    pub fn walk(&self, root: OwnedFd, name: &str, parent: Option<ObjectId>, queue: &Queue<'_, ReadJob>) -> Result<()> {
        let stat = rustix::fs::fstat(&root).map_err(|error| UploaderError::entry("", "look at", error))?;
        let entry = describe(name.to_owned(), EntryKind::Directory, &stat);
        self.directory(Arc::new(root), "", entry, None, parent, queue)
    }

    fn directory(
        &self,
        directory: Arc<OwnedFd>,
        path: &str,
        entry: DirectoryEntry,
        place: Option<Place>,
        parent: Option<ObjectId>,
        queue: &Queue<'_, ReadJob>,
    ) -> Result<()> {
        queue.check()?;
        let children = self.list(&directory, path)?;
        let mut before = self.entries_of_parent(parent, path)?;
        self.totals.directories.fetch_add(1, Ordering::Relaxed);
        self.totals.entries.fetch_add(children.len() as u64, Ordering::Relaxed);
        let pending = OpenDirectory::new(entry, place, children.len());
        for (index, (kind, found)) in children.into_iter().enumerate() {
            let place = Place { directory: pending.clone(), index };
            let path = join(path, &found.stored_name);
            let before = before.remove(&found.stored_name);
            let entry = found.entry(kind);
            if kind == EntryKind::Directory {
                let child = open(&directory, &found.name, OFlags::RDONLY | OFlags::DIRECTORY, &path)?;
                let parent = before.filter(|b| b.kind == EntryKind::Directory).and_then(|b| b.object);
                self.directory(Arc::new(child), &path, entry, Some(place), parent, queue)?;
            } else {
                self.content(&directory, found.name, path, entry, place, before, queue)?;
            }
        }
        if pending.release() { self.close(&pending) } else { Ok(()) }
    }

    /// The children in the order of a stored directory: directories first, each group by the bytes of the name.
    fn list(&self, directory: &OwnedFd, path: &str) -> Result<Vec<(EntryKind, Found)>> {
        let failed = |error: rustix::io::Errno| UploaderError::entry(path, "list", error);
        let mut children = Vec::new();
        for listed in Dir::read_from(directory).map_err(failed)? {
            let listed = listed.map_err(failed)?;
            let name: &CStr = listed.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let found = Found::look(directory, name, path)?;
            match found.kind() {
                Some(kind) => children.push((kind, found)),
                None => self.left_out.lock().push(LeftOut {
                    path: join(path, &found.stored_name),
                    what: found.word().to_owned(),
                }),
            }
        }
        let order = |(kind, found): &(EntryKind, Found)| (*kind != EntryKind::Directory, found.stored_name.clone());
        children.sort_by_cached_key(order);
        if let Some(pair) = children.windows(2).find(|pair| pair[0].1.stored_name == pair[1].1.stored_name) {
            return Err(UploaderError::NameCollision { path: join(path, &pair[0].1.stored_name) });
        }
        Ok(children)
    }

    fn entries_of_parent(&self, parent: Option<ObjectId>, path: &str) -> Result<BTreeMap<String, DirectoryEntry>> {
        let Some(object) = parent else { return Ok(BTreeMap::new()) };
        let directory = self.repository.read_directory(&object).map_err(|error| {
            UploaderError::repository(format!("reading directory `{path}` of the parent snapshot"), error)
        })?;
        Ok(directory.entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect())
    }

    #[expect(clippy::too_many_arguments, reason = "one call, all of it is what the job is made of")]
    fn content(
        &self,
        directory: &Arc<OwnedFd>,
        name: CString,
        path: String,
        entry: DirectoryEntry,
        place: Place,
        before: Option<DirectoryEntry>,
        queue: &Queue<'_, ReadJob>,
    ) -> Result<()> {
        if entry.kind == EntryKind::File {
            self.progress.found(entry.size);
            if let Some(before) = before.filter(|before| unchanged(&entry, before)) {
                self.progress.finished(entry.size);
                self.totals.reused_files.fetch_add(1, Ordering::Relaxed);
                self.totals.reused_bytes.fetch_add(entry.size, Ordering::Relaxed);
                return self.fill(&place, DirectoryEntry { object: before.object, ..entry });
            }
        }
        queue.add(ReadJob { directory: directory.clone(), name, path, entry, place })
    }

    /// Stores one file or link; runs on a worker.
    pub fn read(&self, job: ReadJob) -> Result<()> {
        let mut object = self.writer.object(None);
        let size = if job.entry.kind == EntryKind::Symlink {
            let target = rustix::fs::readlinkat(&*job.directory, &job.name, Vec::new())
                .map_err(|error| UploaderError::entry(&job.path, "read the link", error))?;
            let target = target.to_bytes();
            object.write_all(target).map_err(|error| self.storing(&job.path, error))?;
            target.len() as u64
        } else {
            let file = open(&*job.directory, &job.name, OFlags::RDONLY, &job.path)?;
            let size = read::copy(&file, &mut object, &job.path, self.progress, self.cancel)?;
            self.totals.read_files.fetch_add(1, Ordering::Relaxed);
            self.totals.read_bytes.fetch_add(size, Ordering::Relaxed);
            size
        };
        let object = object.finish().map_err(|error| self.storing(&job.path, error))?;
        self.fill(&job.place, DirectoryEntry { object: Some(object), size, ..job.entry })
    }

    fn fill(&self, place: &Place, entry: DirectoryEntry) -> Result<()> {
        if place.fill(entry) { self.close(&place.directory) } else { Ok(()) }
    }

    /// Writes a complete directory, and every directory above that becomes complete by it.
    fn close(&self, directory: &Arc<OpenDirectory>) -> Result<()> {
        let mut complete = directory.clone();
        loop {
            let (directory, entry, place) = complete.close();
            let object = self
                .writer
                .write_directory(&directory)
                .map_err(|error| self.storing(&format!("directory {}", entry.name), error))?;
            let entry = DirectoryEntry { object: Some(object), ..entry };
            let Some(place) = place else {
                *self.root.lock() = Some(entry);
                return Ok(());
            };
            if !place.fill(entry) {
                return Ok(());
            }
            complete = place.directory;
        }
    }

    fn storing(&self, path: &str, error: caravel_repository::RepositoryError) -> UploaderError {
        UploaderError::repository(format!("storing `{path}`"), error)
    }
}

impl Totals {
    /// Bytes of all files in the snapshot.
    pub fn total_bytes(&self) -> u64 {
        self.read_bytes() + self.reused_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the files that were read.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Whether the volume held nothing at all.
    pub fn is_empty(&self) -> bool {
        self.entries.load(Ordering::Relaxed) == 0
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
            ..SnapshotStats::default()
        }
    }
}
