//! Walks a snapshot's directories into a mounted tree: one thread makes directories, several write files.
//!
//! Nothing is ever opened by a path of more than one name: every name is checked, then created relative to its open
//! directory without following a link, so no entry can land outside the target.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use caravel_repository::{DirectoryEntry, EntryType, ObjectId, Repository};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::attributes;
use super::write;
use crate::error::{Result, UploaderError};
use crate::filesystem::entry::join;
use crate::job::Queue;
use crate::progress::{CancelToken, Progress};

/// Everything that the threads of one restore share.
pub(crate) struct Tree<'run> {
    pub repository: &'run Repository,
    pub progress: &'run Progress,
    pub cancel: &'run CancelToken,
    /// Runs of zeros of at least this many bytes become holes.
    pub hole_bytes: usize,
    /// The first directory whose attributes could not be set, noted when its last holder let go of it.
    pub late: Mutex<Option<UploaderError>>,
}

/// A directory that was made. Its owner, mode and times are set when the last holder lets go of it: writing an entry
/// would change its times again, and a read-only mode would forbid it.
pub(crate) struct Made<'run> {
    descriptor: OwnedFd,
    entry: DirectoryEntry,
    path: String,
    late: &'run Mutex<Option<UploaderError>>,
    /// Keeps the directory above unfinished until this one is.
    _above: Option<Arc<Made<'run>>>,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if let Err(error) = attributes::set(&self.descriptor, &self.entry, &self.path) {
            self.late.lock().get_or_insert(error);
        }
    }
}

/// One file or link to be written.
pub(crate) struct WriteJob<'run> {
    directory: Arc<Made<'run>>,
    name: Vec<u8>,
    entry: DirectoryEntry,
    path: String,
}

impl Tree<'_> {
    /// Makes everything below `root`, which exists; its own attributes are set last.
    pub fn walk<'tree>(
        &'tree self,
        root: OwnedFd,
        entry: DirectoryEntry,
        queue: &Queue<'_, WriteJob<'tree>>,
    ) -> Result<()> {
        let object = entry.object;
        let made = Made {
            descriptor: root,
            entry,
            path: String::new(),
            late: &self.late,
            _above: None,
        };
        self.children(&Arc::new(made), object, queue)
    }

    fn children<'tree>(
        &'tree self,
        directory: &Arc<Made<'tree>>,
        object: ObjectId,
        queue: &Queue<'_, WriteJob<'tree>>,
    ) -> Result<()> {
        queue.check()?;
        let listed = self.repository.read_directory(object).map_err(|error| {
            UploaderError::repository(
                format!("reading directory `{}` of the snapshot", directory.path),
                error,
            )
        })?;
        for entry in listed.entries {
            let name = entry.file_name();
            let path = join(&directory.path, &name);
            check_name(&name, &path)?;
            match entry.kind {
                EntryType::Directory => {
                    let object = entry.object;
                    let child = self.make(directory, &name, entry, path)?;
                    self.children(&Arc::new(child), object, queue)?;
                }
                EntryType::File | EntryType::Symlink => {
                    if entry.kind == EntryType::File {
                        self.progress.found(entry.size);
                    }
                    queue.add(WriteJob {
                        directory: directory.clone(),
                        name,
                        entry,
                        path,
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Makes one directory, or takes the one that is there; anything else in its place is removed.
    fn make<'tree>(
        &'tree self,
        above: &Arc<Made<'tree>>,
        name: &[u8],
        entry: DirectoryEntry,
        path: String,
    ) -> Result<Made<'tree>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let created = rustix::fs::mkdirat(&above.descriptor, name, Mode::RWXU);
        let opened = match created {
            Ok(()) | Err(Errno::EXIST) => rustix::fs::openat(&above.descriptor, name, flags, Mode::empty()),
            Err(error) => return Err(UploaderError::entry(&path, "create directory", error)),
        };
        let descriptor = match opened {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                rustix::fs::unlinkat(&above.descriptor, name, AtFlags::empty())
                    .and_then(|()| rustix::fs::mkdirat(&above.descriptor, name, Mode::RWXU))
                    .and_then(|()| rustix::fs::openat(&above.descriptor, name, flags, Mode::empty()))
            }
            other => other,
        }
        .map_err(|error| UploaderError::entry(&path, "open directory", error))?;
        Ok(Made {
            descriptor,
            entry,
            path,
            late: &self.late,
            _above: Some(above.clone()),
        })
    }

    /// Writes one file or link; runs on a worker.
    pub fn write(&self, job: WriteJob<'_>) -> Result<()> {
        let reader = self.repository.open_object(job.entry.object).map_err(|error| {
            UploaderError::repository(format!("opening `{}` of the snapshot", job.path), error)
        })?;
        if job.entry.kind == EntryType::Symlink {
            return write::symlink(
                &job.directory.descriptor,
                &job.name,
                &job.entry,
                reader,
                &job.path,
            );
        }
        let file = write::create(&job.directory.descriptor, &job.name, &job.path)?;
        let run = write::Run {
            path: &job.path,
            progress: self.progress,
            cancel: self.cancel,
            hole_bytes: self.hole_bytes,
        };
        let written = run.copy(reader, &file)?;
        if written != job.entry.size {
            return Err(UploaderError::Mismatch(format!(
                "`{}` has {written} bytes in the repository where its directory says {}",
                job.path, job.entry.size
            )));
        }
        attributes::set(&file, &job.entry, &job.path)
    }
}

/// A name may be one step down and nothing else.
fn check_name(name: &[u8], path: &str) -> Result<()> {
    let why = match name {
        b"" => "has an empty name",
        b"." | b".." => "leads out of its directory",
        _ if name.contains(&b'/') => "has a slash in its name",
        _ if name.contains(&0) => "has a zero byte in its name",
        _ => return Ok(()),
    };
    Err(UploaderError::Unsafe {
        path: path.to_owned(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_its_directory_is_refused() {
        for name in ["", ".", "..", "a/b", "/etc/passwd", "a\0b"] {
            assert!(check_name(name.as_bytes(), name).is_err(), "{name:?}");
        }
        for name in ["a", "...", " ", "<&>", "ünï", "-rf"] {
            assert!(check_name(name.as_bytes(), name).is_ok(), "{name:?}");
        }
    }
}
