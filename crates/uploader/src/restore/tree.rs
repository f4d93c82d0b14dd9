//! Walks a snapshot's directories into a mounted tree: one thread makes directories, several write files.
//!
//! Nothing is ever opened by a path of more than one name: every name is checked, then created relative to its open
//! directory without following a link, so no entry can land outside the target.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use caravel_repository::{DEEPEST, DirectoryEntry, EntryError, EntryType, ObjectId};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::jobs::{Batch, Links, Waiting, WriteJob};
use super::made::Made;
use super::place::{Options, Place};
use crate::error::{Result, UploaderError};
use crate::filesystem::entry::join;
use crate::job::Queue;

/// Everything that the threads of one restore share.
pub(crate) struct Tree<'run> {
    pub options: Options<'run>,
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
            rules: self.options.rules,
            late: &self.late,
            above: None,
        };
        self.children(&Arc::new(made), object, queue, links)
    }

    /// A failure, or the note of one where the others go on.
    fn tolerate(&self, path: &str, done: Result<()>) -> Result<()> {
        match done {
            Err(error) if self.options.rules.ignore_errors && !matches!(error, UploaderError::Canceled) => {
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
        let listed = self.options.repository.read_directory(object).map_err(|error| {
            UploaderError::repository(
                format!("reading directory `{}` of the snapshot", directory.path),
                error,
            )
        });
        if self.options.rules.resume {
            self.options
                .unfinished
                .clear(&directory.descriptor, &directory.path)?;
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
                        self.options.progress.found(entry.size);
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
        if created == Err(Errno::EXIST) && !self.options.rules.overwrite_directories {
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
            rules: self.options.rules,
            late: &self.late,
            above: Some(above.clone()),
        })
    }

    /// Writes files and links; runs on a worker.
    pub fn write(&self, batch: Batch<'_>) -> Result<()> {
        batch.into_iter().try_for_each(|job| {
            self.options.cancel.check()?;
            let path = job.path();
            self.tolerate(&path, job.place(&path).write(&self.options))
        })
    }

    /// Makes the other names of files that are one, when all files are written.
    pub fn link_all(&self, links: Links<'_>) -> Result<()> {
        let Links { first, others } = links;
        for job in others {
            self.options.cancel.check()?;
            let path = job.path();
            let one = job.entry.hard_link.as_ref().and_then(|id| first.get(id));
            let done = one.map_or(Ok(()), |(directory, name)| {
                self.link(directory, name, &job.place(&path))
            });
            self.tolerate(&path, done)?;
        }
        Ok(())
    }

    /// Makes `place` another name of the file that is `name` in `directory`.
    fn link(&self, directory: &Made<'_>, name: &[u8], place: &Place<'_>) -> Result<()> {
        if !place.makes_way(&self.options.rules)? {
            return Ok(());
        }
        let unfinished = self.options.unfinished.name();
        let (here, flags) = (place.directory, AtFlags::empty());
        rustix::fs::linkat(&directory.descriptor, name, here, unfinished.as_slice(), flags)
            .map_err(|error| UploaderError::entry(place.path, "make another name for a file as", error))?;
        place.take(&unfinished)?;
        // Where both names are of one file already, the kernel leaves both.
        let _ = rustix::fs::unlinkat(here, unfinished.as_slice(), flags);
        self.options.progress.finished(place.entry.size);
        Ok(())
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
