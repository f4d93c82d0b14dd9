//! Walks a mounted tree into the repository: one thread finds, several read.
//!
//! The walker goes depth first and never follows a link; every name is looked at and opened relative to its open
//! directory. Unchanged files take their object from the parent snapshot and are not opened at all.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use caravel_repository::{
    DirectoryEntry, EntryType, ObjectId, Repository, RepositoryError, SnapshotStats, Writer,
};
use parking_lot::Mutex;
use rustix::fs::{Dir, OFlags};

use super::entry::{Described, Found, join, open};
use super::open_directory::OpenDirectory;
use super::read;
use crate::error::{Result, UploaderError};
use crate::job::Queue;
use crate::progress::{CancelToken, Progress};
use crate::request::LeftOut;

/// Everything that the threads of one upload share.
pub(crate) struct Walk<'run> {
    pub repository: &'run Repository,
    pub writer: &'run Writer,
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
    descriptor: Arc<OwnedFd>,
    path: String,
    described: Described,
    directory: Arc<OpenDirectory>,
}

/// A directory that the walker stands in.
struct Here<'a> {
    descriptor: Arc<OwnedFd>,
    path: &'a str,
    own: Described,
    above: Option<Arc<OpenDirectory>>,
    /// The same directory in the parent snapshot.
    before: Option<ObjectId>,
}

impl Walk<'_> {
    /// Walks the tree below `root`; `before` is the root directory of the parent snapshot.
    pub fn walk(
        &self,
        root: OwnedFd,
        name: &str,
        before: Option<ObjectId>,
        queue: &Queue<'_, ReadJob>,
    ) -> Result<()> {
        let stat = rustix::fs::fstat(&root).map_err(|error| UploaderError::entry("", "look at", error))?;
        let name = CString::new(name).map_err(|error| UploaderError::entry("", "name", error))?;
        let own = Described {
            name,
            kind: EntryType::Directory,
            stat,
        };
        self.directory(
            Here {
                descriptor: Arc::new(root),
                path: "",
                own,
                above: None,
                before,
            },
            queue,
        )
    }

    fn directory(&self, here: Here<'_>, queue: &Queue<'_, ReadJob>) -> Result<()> {
        queue.check()?;
        let children = self.list(&here.descriptor, here.path)?;
        let mut before = self.entries_before(here.before, here.path)?;
        self.totals.directories.fetch_add(1, Ordering::Relaxed);
        self.totals
            .entries
            .fetch_add(children.len() as u64, Ordering::Relaxed);
        let directory = OpenDirectory::new(here.own, here.above, children.len());
        for described in children {
            let path = join(here.path, described.name.to_bytes());
            let before = before.remove(described.name.to_bytes());
            if described.kind == EntryType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let child = Here {
                    descriptor: Arc::new(open(&here.descriptor, &described.name, flags, &path)?),
                    path: &path,
                    own: described,
                    above: Some(directory.clone()),
                    before: before
                        .filter(|b| b.kind == EntryType::Directory)
                        .map(|b| b.object),
                };
                self.directory(child, queue)?;
            } else if let Some(entry) = self.reuse(&described, before, &path)? {
                self.fill(&directory, entry)?;
            } else {
                let (descriptor, directory) = (here.descriptor.clone(), directory.clone());
                queue.add(ReadJob {
                    descriptor,
                    path,
                    described,
                    directory,
                })?;
            }
        }
        if directory.release() {
            self.close(&directory)
        } else {
            Ok(())
        }
    }

    /// The children in the order of a stored directory: directories first, each group by the bytes of the name, so that
    /// data lands in packs in the order in which it will be read back.
    fn list(&self, directory: &OwnedFd, path: &str) -> Result<Vec<Described>> {
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
                Some(kind) => children.push(found.into_described(kind)),
                None => self.left_out.lock().push(LeftOut {
                    path: join(path, found.name.to_bytes()),
                    what: found.word().to_owned(),
                }),
            }
        }
        children.sort_by(|a, b| {
            let rank = |child: &Described| child.kind != EntryType::Directory;
            rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name))
        });
        Ok(children)
    }

    fn entries_before(
        &self,
        before: Option<ObjectId>,
        path: &str,
    ) -> Result<BTreeMap<Vec<u8>, DirectoryEntry>> {
        let Some(object) = before else {
            return Ok(BTreeMap::new());
        };
        let directory = self.repository.read_directory(object).map_err(|error| {
            UploaderError::repository(
                format!("reading directory `{path}` of the parent snapshot"),
                error,
            )
        })?;
        Ok(directory
            .entries
            .into_iter()
            .map(|entry| (entry.file_name(), entry))
            .collect())
    }

    /// The parent snapshot's entry of a file that has not changed since, if its contents are all still there.
    fn reuse(
        &self,
        now: &Described,
        before: Option<DirectoryEntry>,
        path: &str,
    ) -> Result<Option<DirectoryEntry>> {
        if now.kind != EntryType::File {
            return Ok(None);
        }
        let size = now.size();
        self.progress.found(size);
        let Some(before) = before.filter(|before| now.is_unchanged_since(before)) else {
            return Ok(None);
        };
        let reusable = self
            .repository
            .is_reusable(before.object)
            .map_err(|error| self.storing(path, error))?;
        if !reusable {
            return Ok(None);
        }
        self.progress.finished(size);
        self.totals.reused_files.fetch_add(1, Ordering::Relaxed);
        self.totals.reused_bytes.fetch_add(size, Ordering::Relaxed);
        Ok(Some(now.entry(before.object, size)))
    }

    /// Stores one file or link; runs on a worker.
    pub fn read(&self, job: ReadJob) -> Result<()> {
        let ReadJob {
            descriptor,
            path,
            described,
            directory,
        } = job;
        let mut object = self.writer.object();
        if described.kind == EntryType::Symlink {
            let target = rustix::fs::readlinkat(&*descriptor, &described.name, Vec::new())
                .map_err(|error| UploaderError::entry(&path, "read the link", error))?;
            object
                .write(target.to_bytes())
                .map_err(|error| self.storing(&path, error))?;
        } else {
            let file = open(&*descriptor, &described.name, OFlags::RDONLY, &path)?;
            let size = read::copy(&file, &mut object, &path, self.progress, self.cancel)?;
            self.totals.read_files.fetch_add(1, Ordering::Relaxed);
            self.totals.read_bytes.fetch_add(size, Ordering::Relaxed);
        }
        let (object, size) = object.finish().map_err(|error| self.storing(&path, error))?;
        self.fill(&directory, described.entry(object, size))
    }

    fn fill(&self, directory: &Arc<OpenDirectory>, entry: DirectoryEntry) -> Result<()> {
        if directory.fill(entry) {
            self.close(directory)
        } else {
            Ok(())
        }
    }

    /// Writes a complete directory, and every directory above that becomes complete by it.
    fn close(&self, complete: &Arc<OpenDirectory>) -> Result<()> {
        let mut complete = complete.clone();
        loop {
            let (mut entries, summary) = complete.close();
            let own = complete.own();
            let object = self
                .writer
                .write_directory(&mut entries, &summary)
                .map_err(|error| self.storing(&own.name.to_string_lossy(), error))?;
            let mut entry = own.entry(object, 0);
            entry.summary = Some(summary);
            let Some(above) = complete.above() else {
                *self.root.lock() = Some(entry);
                return Ok(());
            };
            if !above.fill(entry) {
                return Ok(());
            }
            complete = above.clone();
        }
    }

    fn storing(&self, path: &str, error: RepositoryError) -> UploaderError {
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
