//! Walks a snapshot's directories into a mounted tree: one thread makes directories, several write files.
//!
//! Nothing is ever opened by a path of more than one name: every name is checked, then created relative to its open
//! directory without following a link, so no entry can land outside the target.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use caravel_repository::{
    DEEPEST, DirectoryEntry, EntryError, EntryType, ObjectId, ObjectReader, Repository,
};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::attributes;
use super::jobs::{Batch, Links, Waiting, WriteJob};
use super::made::Made;
use super::write;
use crate::error::{Result, UploaderError};
use crate::filesystem::entry::join;
use crate::job::Queue;
use crate::progress::{CancelToken, Progress};
use crate::request::RestoreRules;

/// Everything that the threads of one restore share.
pub(crate) struct Tree<'run> {
    pub repository: &'run Repository,
    pub progress: &'run Progress,
    pub cancel: &'run CancelToken,
    /// Runs of zeros of at least this many bytes become holes.
    pub hole_bytes: usize,
    pub rules: RestoreRules,
    pub unfinished: write::Unfinished,
    /// What could not be restored, where the others go on.
    pub failed: Mutex<Vec<EntryError>>,
    /// The first directory whose attributes could not be set, noted when its last holder let go of it.
    pub late: Mutex<Option<UploaderError>>,
}

impl Tree<'_> {
    /// Makes everything below `root`, which exists; its own attributes are set last.
    pub fn walk<'tree>(
        &'tree self,
        root: OwnedFd,
        entry: DirectoryEntry,
        queue: &Queue<'_, Batch<'tree>>,
        links: &mut Links<'tree>,
    ) -> Result<()> {
        let object = entry.object;
        let made = Made {
            descriptor: root,
            entry,
            path: String::new(),
            level: 0,
            rules: self.rules,
            late: &self.late,
            above: None,
        };
        self.children(&Arc::new(made), object, queue, links)
    }

    /// A failure, or the note of one where the others go on.
    fn tolerate(&self, path: &str, done: Result<()>) -> Result<()> {
        match done {
            Err(error) if self.rules.ignore_errors && !matches!(error, UploaderError::Canceled) => {
                self.failed.lock().push(EntryError {
                    path: path.to_owned(),
                    error: error.to_string(),
                });
                Ok(())
            }
            done => done,
        }
    }

    fn children<'tree>(
        &'tree self,
        directory: &Arc<Made<'tree>>,
        object: ObjectId,
        queue: &Queue<'_, Batch<'tree>>,
        links: &mut Links<'tree>,
    ) -> Result<()> {
        queue.check()?;
        let listed = self.repository.read_directory(object).map_err(|error| {
            UploaderError::repository(
                format!("reading directory `{}` of the snapshot", directory.path),
                error,
            )
        });
        if self.rules.resume {
            self.unfinished.clear(&directory.descriptor, &directory.path)?;
        }
        let entries = match listed {
            Ok(listed) => listed.entries,
            Err(error) => return self.tolerate(&directory.path, Err(error)),
        };
        let mut waiting = Waiting::default();
        for entry in entries {
            let name = entry.file_name();
            if let Err(why) = check_name(&name) {
                let path = join(&directory.path, &name);
                self.tolerate(
                    &path,
                    Err(UploaderError::Unsafe {
                        path: path.clone(),
                        why,
                    }),
                )?;
                continue;
            }
            match entry.kind {
                EntryType::Directory => {
                    let object = entry.object;
                    let path = join(&directory.path, &name);
                    waiting.hand_on(queue)?;
                    match self.make(directory, &name, entry, path.clone()) {
                        Ok(child) => self.children(&Arc::new(child), object, queue, links)?,
                        Err(error) => self.tolerate(&path, Err(error))?,
                    }
                }
                EntryType::File | EntryType::Symlink => {
                    if entry.kind == EntryType::File {
                        self.progress.found(entry.size);
                    }
                    let job = WriteJob {
                        directory: directory.clone(),
                        name,
                        entry,
                    };
                    if let Some(job) = links.first_name(job) {
                        waiting.add(job, queue)?;
                    }
                }
            }
        }
        waiting.hand_on(queue)
    }

    /// Makes one directory, or takes the one that is there; anything else in its place is removed.
    fn make<'tree>(
        &'tree self,
        above: &Arc<Made<'tree>>,
        name: &[u8],
        entry: DirectoryEntry,
        path: String,
    ) -> Result<Made<'tree>> {
        if above.level == DEEPEST {
            return Err(UploaderError::entry(&path, "go down into", Errno::NAMETOOLONG));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let created = rustix::fs::mkdirat(&above.descriptor, name, Mode::RWXU);
        let opened = match created {
            Ok(()) | Err(Errno::EXIST) => rustix::fs::openat(&above.descriptor, name, flags, Mode::empty()),
            Err(error) => return Err(UploaderError::entry(&path, "create directory", error)),
        };
        if created == Err(Errno::EXIST) && !self.rules.overwrite_directories {
            let holds_something = opened.as_ref().is_ok_and(|opened| !is_empty(opened));
            if holds_something {
                return Err(UploaderError::entry(&path, "restore into", Errno::NOTEMPTY));
            }
        }
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
            level: above.level + 1,
            rules: self.rules,
            late: &self.late,
            above: Some(above.clone()),
        })
    }

    /// Writes files and links; runs on a worker.
    pub fn write(&self, batch: Batch<'_>) -> Result<()> {
        batch.into_iter().try_for_each(|job| {
            self.check()?;
            let path = job.path();
            self.tolerate(&path, self.try_write(&job, &path))
        })
    }

    /// Makes the other names of files that are one, when all files are written.
    pub fn link_all(&self, links: Links<'_>) -> Result<()> {
        let Links { first, others } = links;
        for job in others {
            self.check()?;
            let path = job.path();
            let one = job.entry.hard_link.as_ref().and_then(|id| first.get(id));
            let done = one.map_or(Ok(()), |(directory, name)| {
                self.link(directory, name, &job, &path)
            });
            self.tolerate(&path, done)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        match self.cancel.is_canceled() {
            true => Err(UploaderError::Canceled),
            false => Ok(()),
        }
    }

    fn link(&self, directory: &Made<'_>, name: &[u8], job: &WriteJob<'_>, path: &str) -> Result<()> {
        let here = &job.directory.descriptor;
        if !write::makes_way(&self.rules, here, &job.name, &job.entry, path)? {
            return Ok(());
        }
        let unfinished = self.unfinished.name();
        let flags = AtFlags::empty();
        rustix::fs::linkat(&directory.descriptor, name, here, unfinished.as_slice(), flags)
            .map_err(|error| UploaderError::entry(path, "make another name for a file as", error))?;
        write::take_name(here, &unfinished, &job.name, path)?;
        // Where both names are of one file already, the kernel leaves both.
        let _ = rustix::fs::unlinkat(here, unfinished.as_slice(), flags);
        self.progress.finished(job.entry.size);
        Ok(())
    }

    fn try_write(&self, job: &WriteJob<'_>, path: &str) -> Result<()> {
        let directory = &job.directory.descriptor;
        if !write::makes_way(&self.rules, directory, &job.name, &job.entry, path)? {
            if job.entry.kind == EntryType::File {
                self.progress.finished(job.entry.size);
            }
            return Ok(());
        }
        let reader = self
            .repository
            .open_object(job.entry.object)
            .map_err(|error| UploaderError::repository(format!("opening `{path}` of the snapshot"), error))?;
        if job.entry.kind == EntryType::Symlink {
            return write::symlink(&self.rules, directory, &job.name, &job.entry, reader, path);
        }
        let unfinished = self.unfinished.name();
        self.fill(job, &unfinished, reader, path).inspect_err(|_| {
            // What is left of it is of no use; that it cannot be removed changes nothing about the failure.
            let _ = rustix::fs::unlinkat(directory, unfinished.as_slice(), AtFlags::empty());
        })
    }

    /// Writes a file under the name that it has until it is whole, then gives it its own.
    fn fill(
        &self,
        job: &WriteJob<'_>,
        unfinished: &[u8],
        reader: ObjectReader<'_>,
        path: &str,
    ) -> Result<()> {
        let directory = &job.directory.descriptor;
        let file = write::create(directory, unfinished, path)?;
        let run = write::Run {
            path,
            progress: self.progress,
            cancel: self.cancel,
            hole_bytes: self.hole_bytes,
        };
        let written = run.copy(reader, &file)?;
        if written != job.entry.size {
            return Err(UploaderError::Mismatch(format!(
                "`{path}` has {written} bytes in the repository where its directory says {}",
                job.entry.size
            )));
        }
        attributes::set(&self.rules, &file, &job.entry, path)?;
        write::take_name(directory, unfinished, &job.name, path)
    }
}

fn is_empty(directory: &OwnedFd) -> bool {
    let listed = Dir::read_from(directory);
    listed.is_ok_and(|listed| {
        listed
            .flatten()
            .all(|entry| matches!(entry.file_name().to_bytes(), b"." | b".."))
    })
}

/// A name may be one step down and nothing else; the error says why one is not.
fn check_name(name: &[u8]) -> std::result::Result<(), &'static str> {
    match name {
        b"" => Err("has an empty name"),
        b"." | b".." => Err("leads out of its directory"),
        _ if name.contains(&b'/') => Err("has a slash in its name"),
        _ if name.contains(&0) => Err("has a zero byte in its name"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_its_directory_is_refused() {
        for name in ["", ".", "..", "a/b", "/etc/passwd", "a\0b"] {
            assert!(check_name(name.as_bytes()).is_err(), "{name:?}");
        }
        for name in ["a", "...", " ", "<&>", "ünï", "-rf"] {
            assert!(check_name(name.as_bytes()).is_ok(), "{name:?}");
        }
    }
}
