//! Walks a snapshot's directories into a mounted tree: one thread makes directories, several write files.
//!
//! Nothing is ever opened by a path of more than one name: every name is checked, then created relative to its open
//! directory without following a link, so no entry can land outside the target.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use caravel_repository::{DEEPEST, DirectoryEntry, EntryType, ObjectId};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::jobs::{Batch, FirstName, Links, Waiting, WriteJob, linked};
use super::made::Made;
use super::notes::Notes;
use super::place::{Place, Shared, There};
use crate::error::{Result, UploaderError};
use crate::filesystem::entry::join;
use crate::job::Queue;
use crate::request::RestoreRules;

/// Everything that the threads of one restore share.
pub(crate) struct Tree<'run> {
    pub shared: Shared<'run>,
    pub notes: Notes,
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
            rules: self.shared.rules,
            notes: &self.notes,
            above: None,
        };
        self.children(&Arc::new(made), object, queue, links)
    }

    /// Makes what is in one directory, and below it.
    fn children<'tree>(
        &'tree self,
        directory: &Arc<Made<'tree>>,
        object: ObjectId,
        queue: &Queue<'_, Batch<'tree>>,
        links: &mut Links<'tree>,
    ) -> Result<()> {
        queue.check()?;
        let listed = self.shared.repository.read_directory(object).map_err(|error| {
            UploaderError::repository(
                format!("reading directory `{}` of the snapshot", directory.path),
                error,
            )
        });
        if self.shared.rules.resume {
            let unfinished = &self.shared.unfinished;
            let cleared = unfinished.clear(&directory.descriptor, &directory.path);
            self.notes.tolerate(&directory.path, cleared)?;
        }
        let entries = match listed {
            Ok(listed) => listed.entries,
            Err(error) => return self.notes.tolerate(&directory.path, Err(error)),
        };
        let mut waiting = Waiting::default();
        for entry in entries {
            let name = entry.file_name();
            if let Err(why) = check_name(&name) {
                let path = join(&directory.path, &name);
                self.notes.tolerate(
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
                        Err(error) => self.notes.tolerate(&path, Err(error))?,
                    }
                }
                EntryType::File | EntryType::Symlink => {
                    if entry.kind == EntryType::File {
                        self.shared.progress.found(entry.size);
                    }
                    let job = WriteJob {
                        directory: directory.clone(),
                        name,
                        entry,
                        is_whole: None,
                    };
                    if let Some(job) = links.first_name(job) {
                        waiting.add(job, queue)?;
                    }
                }
            }
        }
        waiting.hand_on(queue)
    }

    /// Makes one directory, or takes the one that is there; anything else in its place is removed, where it may be.
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
        let descriptor = self.open(&above.descriptor, name, &path)?;
        Ok(Made {
            descriptor,
            entry,
            path,
            level: above.level + 1,
            rules: self.shared.rules,
            notes: &self.notes,
            above: Some(above.clone()),
        })
    }

    fn open(&self, above: &OwnedFd, name: &[u8], path: &str) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make_and_open = || {
            rustix::fs::mkdirat(above, name, Mode::RWXU)?;
            rustix::fs::openat(above, name, flags, Mode::empty())
        };
        let failed = |error| UploaderError::entry(path, "make directory", error);
        match make_and_open() {
            Err(Errno::EXIST) => {}
            made => return made.map_err(failed),
        }
        match rustix::fs::openat(above, name, flags, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                self.clear_the_way(above, name, path)?;
                make_and_open().map_err(failed)
            }
            Err(error) => Err(UploaderError::entry(path, "open directory", error)),
            Ok(there) => {
                may_fill(&self.shared.rules, &there, path)?;
                open_to_owner(&self.shared.rules, &there);
                Ok(there)
            }
        }
    }

    /// Removes a file or link where a directory belongs, by the rules for what it is.
    fn clear_the_way(&self, above: &OwnedFd, name: &[u8], path: &str) -> Result<()> {
        let rules = &self.shared.rules;
        let failed = |error| UploaderError::entry(path, "make a directory in place of", error);
        let there = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if rules.skip_existing || !rules.may_replace(FileType::from_raw_mode(there.st_mode)) {
            return Err(failed(Errno::EXIST));
        }
        rustix::fs::unlinkat(above, name, AtFlags::empty()).map_err(failed)
    }

    /// Writes files and links; runs on a worker.
    pub fn write(&self, batch: Batch<'_>) -> Result<()> {
        batch.into_iter().try_for_each(|job| {
            self.shared.cancel.check()?;
            let path = job.path();
            let written = job.place(&path).write(&self.shared);
            if let (Ok(true), Some(is_whole)) = (&written, &job.is_whole) {
                is_whole.store(true, Ordering::Release);
            }
            self.notes.tolerate(&path, written.map(drop))
        })
    }

    /// Makes the other names of files that are one, when all files are written. Where the first name does not have the file,
    /// the next one gets it.
    pub fn link_all(&self, links: Links<'_>) -> Result<()> {
        let Links { mut first, others } = links;
        for job in others {
            self.shared.cancel.check()?;
            let path = job.path();
            let place = job.place(&path);
            let one = linked(&job.entry).and_then(|id| first.get_mut(&id));
            let done = match one {
                Some(one) if one.is_whole.load(Ordering::Acquire) => self.link(one, &place),
                one => place.write(&self.shared).map(|written| {
                    if let Some(one) = one.filter(|_| written) {
                        (one.directory, one.name) = (job.directory.clone(), job.name.clone());
                        one.is_whole.store(true, Ordering::Release);
                    }
                }),
            };
            self.notes.tolerate(&path, done)?;
        }
        Ok(())
    }

    /// Makes `place` another name of a file that is whole.
    fn link(&self, one: &FirstName<'_>, place: &Place<'_>) -> Result<()> {
        let there = place.look(&self.shared.rules)?;
        let is_the_file = || is_one(&one.directory.descriptor, &one.name, place);
        if there == There::Free || (there == There::Done && !is_the_file()) {
            let unfinished = self.shared.unfinished.name();
            let (from, here, flags) = (&one.directory.descriptor, place.directory, AtFlags::empty());
            rustix::fs::linkat(from, &one.name, here, unfinished.as_slice(), flags).map_err(|error| {
                UploaderError::entry(place.path, "make another name for a file as", error)
            })?;
            let taken = place.take_name(&unfinished);
            // It is still there after a failure, and where both names are of one file already: then the kernel leaves both.
            let _ = rustix::fs::unlinkat(here, unfinished.as_slice(), flags);
            taken?;
        }
        place.leave(&self.shared);
        Ok(())
    }
}

/// Fails at a directory that is there and must not be filled.
pub(crate) fn may_fill(rules: &RestoreRules, there: &OwnedFd, path: &str) -> Result<()> {
    match rules.may_fill() || is_empty(there) {
        true => Ok(()),
        false => Err(UploaderError::entry(path, "restore into", Errno::NOTEMPTY)),
    }
}

/// Lets its owner write into a directory that is there, until it gets its own mode at the end: an earlier run may have finished
/// it read-only.
pub(crate) fn open_to_owner(rules: &RestoreRules, there: &OwnedFd) {
    let mode = rustix::fs::fstat(there).map(|stat| Mode::from_raw_mode(stat.st_mode));
    if let Ok(mode) = mode
        && !mode.contains(Mode::RWXU)
        && !rules.skip_permissions
    {
        // Where it is somebody else's, writing into it says so.
        let _ = rustix::fs::fchmod(there, mode | Mode::RWXU);
    }
}

/// Whether both are names of one file.
fn is_one(directory: &OwnedFd, name: &[u8], place: &Place<'_>) -> bool {
    let look = |directory: BorrowedFd<'_>, name: &[u8]| {
        let there = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        there.ok().map(|there| (there.st_dev, there.st_ino))
    };
    let one = look(directory.as_fd(), name);
    one.is_some() && one == look(place.directory, place.name)
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
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;
    use crate::UploadRules;
    use crate::rules_tests::save;
    use crate::tests::World;

    #[test]
    fn a_name_that_leaves_its_directory_is_refused() {
        for name in ["", ".", "..", "a/b", "/etc/passwd", "a\0b"] {
            assert!(check_name(name.as_bytes()).is_err(), "{name:?}");
        }
        for name in ["a", "...", " ", "<&>", "ünï", "-rf"] {
            assert!(check_name(name.as_bytes()).is_ok(), "{name:?}");
        }
    }

    /// Who is not root could not go on in a directory that the restore before had finished.
    #[test]
    fn a_directory_that_is_there_is_opened_to_its_owner_and_gets_its_mode_at_the_end() {
        let world = World::new();
        let source = world.folder("source");
        fs::create_dir(source.join("sub")).expect("a folder");
        fs::write(source.join("sub/file"), "text").expect("a file");
        let read_only = fs::Permissions::from_mode(0o555);
        fs::set_permissions(source.join("sub"), read_only).expect("a mode");
        let saved = save(&world, &source, UploadRules::default());
        let back = world.folder("back");
        let mode = || fs::metadata(back.join("sub")).expect("a folder").mode() & 0o7777;
        for _ in 0..2 {
            world.restore(&saved.snapshot_id, &back).expect("a restore");
            assert_eq!(mode(), 0o555);
        }
        let there = File::open(back.join("sub")).expect("a folder").into();
        open_to_owner(&RestoreRules::default(), &there);
        assert_eq!(mode(), 0o755);
    }
}
