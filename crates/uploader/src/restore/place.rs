//! One file or link of a snapshot, into a name of an open directory. A file is written beside its place and renamed, so that
//! nobody sees half of it.

use std::os::fd::{BorrowedFd, OwnedFd};

use caravel_repository::{DirectoryEntry, EntryType, FileMode, ObjectReader, Repository};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::unfinished::Unfinished;
use super::{attributes, write};
use crate::error::{Result, UploaderError};
use crate::progress::{CancelToken, Progress};
use crate::request::RestoreRules;

/// The longest link target that Linux has.
const LINK_BYTES: u64 = 4096;

/// What all entries of one restore share.
pub(crate) struct Shared<'run> {
    pub repository: &'run Repository,
    pub progress: &'run Progress,
    pub cancel: &'run CancelToken,
    /// Runs of zeros of at least this many bytes become holes.
    pub hole_bytes: usize,
    pub rules: RestoreRules,
    pub unfinished: Unfinished,
    /// Whether each file is on the disk before it gets its name; else the caller syncs the whole file system.
    pub sync_each: bool,
}

/// What is in an entry's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum There {
    /// Nothing, or something that may be replaced.
    Free,
    /// The entry, as far as its attributes tell: an earlier run that was killed wrote it.
    Done,
    /// Something that stays, whatever it holds.
    Kept,
}

/// Where one entry goes.
pub(crate) struct Place<'run> {
    pub directory: BorrowedFd<'run>,
    pub name: &'run [u8],
    pub entry: &'run DirectoryEntry,
    /// For messages.
    pub path: &'run str,
}

impl Place<'_> {
    /// Writes a file or link, unless what is there stays. Its bytes count as done in both cases. Returns whether the entry
    /// is what is there now.
    pub fn write(&self, shared: &Shared<'_>) -> Result<bool> {
        let there = self.look(&shared.rules)?;
        if there != There::Free {
            self.leave(shared);
            return Ok(there == There::Done);
        }
        let opened = shared.repository.open_object(self.entry.object);
        let reader = opened.map_err(|error| {
            UploaderError::repository(format!("opening `{}` of the snapshot", self.path), error)
        })?;
        if self.entry.kind == EntryType::Symlink {
            self.symlink(reader, &shared.rules)?;
            return Ok(true);
        }
        let unfinished = shared.unfinished.name();
        self.file(reader, &unfinished, shared).inspect_err(|_| {
            // What is left of it is of no use; that it cannot be removed changes nothing about the failure.
            let _ = rustix::fs::unlinkat(self.directory, unfinished.as_slice(), AtFlags::empty());
        })?;
        Ok(true)
    }

    /// What is there, by the rules.
    ///
    /// Errors: something is there that must not be replaced.
    pub fn look(&self, rules: &RestoreRules) -> Result<There> {
        if *rules == RestoreRules::default() {
            return Ok(There::Free);
        }
        let there = match rustix::fs::statat(self.directory, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => there,
            Err(Errno::NOENT) => return Ok(There::Free),
            Err(error) => return Err(self.failed("look at", error)),
        };
        if rules.resume && self.is_done(&there) {
            return Ok(There::Done);
        }
        if rules.skip_existing {
            return Ok(There::Kept);
        }
        match rules.may_replace(FileType::from_raw_mode(there.st_mode)) {
            true => Ok(There::Free),
            false => Err(self.failed("replace", Errno::EXIST)),
        }
    }

    /// Counts as done what stays.
    pub fn leave(&self, shared: &Shared<'_>) {
        if self.entry.kind == EntryType::File {
            shared.progress.finished(self.entry.size);
        }
    }

    /// Gives a whole file its name, in place of what has it.
    pub fn take_name(&self, unfinished: &[u8]) -> Result<()> {
        rustix::fs::renameat(self.directory, unfinished, self.directory, self.name)
            .map_err(|error| self.failed("replace", error))
    }

    /// Writes a file under the name that it has until it is whole, then gives it its own.
    fn file(&self, reader: ObjectReader<'_>, unfinished: &[u8], shared: &Shared<'_>) -> Result<()> {
        let file = self.create(unfinished)?;
        let run = write::Run {
            path: self.path,
            progress: shared.progress,
            cancel: shared.cancel,
            hole_bytes: shared.hole_bytes,
        };
        let written = run.copy(reader, &file)?;
        if written != self.entry.size {
            return Err(UploaderError::Mismatch(format!(
                "`{}` has {written} bytes in the repository where its directory says {}",
                self.path, self.entry.size
            )));
        }
        attributes::set(&shared.rules, &file, self.entry, self.path)?;
        if shared.sync_each {
            rustix::fs::fsync(&file).map_err(|error| self.failed("sync", error))?;
        }
        self.take_name(unfinished)
    }

    /// Creates a file of size zero beside the place, where there is nothing of that name.
    fn create(&self, unfinished: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.directory, unfinished, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| self.failed("create", error))
    }

    /// Makes a symbolic link with its owner and times, in place of what has its name.
    fn symlink(&self, reader: ObjectReader<'_>, rules: &RestoreRules) -> Result<()> {
        let target = reader
            .read_to_end(LINK_BYTES)
            .map_err(|error| write::reading(self.path, error))?;
        match rustix::fs::unlinkat(self.directory, self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(self.failed("replace", error)),
        }
        rustix::fs::symlinkat(target.as_slice(), self.directory, self.name)
            .map_err(|error| self.failed("create the link", error))?;
        attributes::set_link(rules, self.directory, self.name, self.entry, self.path)
    }

    /// Whether a file is what the entry says, as far as its attributes tell: they are set before it gets its name.
    ///
    /// One with a hole is not believed. After a power failure a file may have its name, length and times while data that was
    /// on its way is missing, and then there is a hole where it belongs.
    fn is_done(&self, there: &Stat) -> bool {
        let times = attributes::times(self.entry).last_modification;
        let nanoseconds = i64::try_from(there.st_mtime_nsec).unwrap_or(-1);
        self.entry.kind == EntryType::File
            && FileType::from_raw_mode(there.st_mode) == FileType::RegularFile
            && u64::try_from(there.st_size) == Ok(self.entry.size)
            && (there.st_mtime, nanoseconds) == (times.tv_sec, times.tv_nsec)
            && FileMode::from_unix(there.st_mode) == self.entry.mode
            && (there.st_uid, there.st_gid) == (self.entry.uid, self.entry.gid)
            && !self.has_a_hole()
    }

    /// Whether the file that is there has one, or cannot be asked.
    fn has_a_hole(&self) -> bool {
        if self.entry.size == 0 {
            return false;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let first = rustix::fs::openat(self.directory, self.name, flags, Mode::empty())
            .and_then(|file| rustix::fs::seek(file, SeekFrom::Hole(0)));
        first != Ok(self.entry.size)
    }

    fn failed(&self, action: &'static str, error: Errno) -> UploaderError {
        UploaderError::entry(self.path, action, error)
    }
}
