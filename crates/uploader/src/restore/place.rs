//! One file or link of a snapshot, into a name of an open directory. A file is written beside its place and renamed, so that
//! nobody sees half of it.

use std::os::fd::{BorrowedFd, OwnedFd};

use caravel_repository::{DirectoryEntry, EntryType, FileMode, ObjectReader, Repository};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::unfinished::Unfinished;
use super::{attributes, write};
use crate::error::{Result, UploaderError};
use crate::progress::{CancelToken, Progress};
use crate::request::RestoreRules;

/// The longest link target that Linux has.
const LINK_BYTES: u64 = 4096;

/// What all entries of one restore have in common.
pub(crate) struct Options<'run> {
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

/// Where one entry goes.
pub(crate) struct Place<'run> {
    pub directory: BorrowedFd<'run>,
    pub name: &'run [u8],
    pub entry: &'run DirectoryEntry,
    /// For messages.
    pub path: &'run str,
}

impl Place<'_> {
    /// Writes a file or link, unless what is there stays. Its bytes count as done in both cases.
    pub fn write(&self, options: &Options<'_>) -> Result<()> {
        if !self.makes_way(&options.rules)? {
            if self.entry.kind == EntryType::File {
                options.progress.finished(self.entry.size);
            }
            return Ok(());
        }
        let opened = options.repository.open_object(self.entry.object);
        let reader = opened.map_err(|error| {
            UploaderError::repository(format!("opening `{}` of the snapshot", self.path), error)
        })?;
        if self.entry.kind == EntryType::Symlink {
            return self.link(reader, &options.rules);
        }
        let unfinished = options.unfinished.name();
        self.file(reader, &unfinished, options).inspect_err(|_| {
            // What is left of it is of no use; that it cannot be removed changes nothing about the failure.
            let _ = rustix::fs::unlinkat(self.directory, unfinished.as_slice(), AtFlags::empty());
        })
    }

    /// Whether the entry is to be written: false when what is there stays.
    ///
    /// Errors: something is there that must not be replaced.
    pub fn makes_way(&self, rules: &RestoreRules) -> Result<bool> {
        if *rules == RestoreRules::default() {
            return Ok(true);
        }
        let there = match rustix::fs::statat(self.directory, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => there,
            Err(Errno::NOENT) => return Ok(true),
            Err(error) => return Err(self.failed("look at", error)),
        };
        let kind = FileType::from_raw_mode(there.st_mode);
        let is_done = kind == FileType::RegularFile && is_done(&there, self.entry);
        if rules.skip_existing || (rules.resume && is_done) {
            return Ok(false);
        }
        let may = match kind {
            FileType::Symlink => rules.overwrite_symlinks,
            _ => rules.overwrite_files,
        };
        match may || rules.resume {
            true => Ok(true),
            false => Err(self.failed("replace", Errno::EXIST)),
        }
    }

    /// Gives a whole file its name, in place of what has it.
    pub fn take(&self, unfinished: &[u8]) -> Result<()> {
        rustix::fs::renameat(self.directory, unfinished, self.directory, self.name)
            .map_err(|error| self.failed("replace", error))
    }

    /// Writes a file under the name that it has until it is whole, then gives it its own.
    fn file(&self, reader: ObjectReader<'_>, unfinished: &[u8], options: &Options<'_>) -> Result<()> {
        let file = self.create(unfinished)?;
        let run = write::Run {
            path: self.path,
            progress: options.progress,
            cancel: options.cancel,
            hole_bytes: options.hole_bytes,
        };
        let written = run.copy(reader, &file)?;
        if written != self.entry.size {
            return Err(UploaderError::Mismatch(format!(
                "`{}` has {written} bytes in the repository where its directory says {}",
                self.path, self.entry.size
            )));
        }
        attributes::set(&options.rules, &file, self.entry, self.path)?;
        if options.sync_each {
            rustix::fs::fsync(&file).map_err(|error| self.failed("sync", error))?;
        }
        self.take(unfinished)
    }

    /// Creates a file of size zero beside the place, where there is nothing of that name.
    fn create(&self, unfinished: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.directory, unfinished, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| self.failed("create", error))
    }

    /// Makes a symbolic link with its owner and times, in place of what has its name.
    fn link(&self, reader: ObjectReader<'_>, rules: &RestoreRules) -> Result<()> {
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

    fn failed(&self, action: &'static str, error: Errno) -> UploaderError {
        UploaderError::entry(self.path, action, error)
    }
}

/// Whether a file is what an entry says, as far as its attributes tell: they are set before it gets its name.
fn is_done(there: &Stat, entry: &DirectoryEntry) -> bool {
    let times = attributes::times(entry).last_modification;
    let nanoseconds = i64::try_from(there.st_mtime_nsec).unwrap_or(-1);
    entry.kind == EntryType::File
        && u64::try_from(there.st_size) == Ok(entry.size)
        && (there.st_mtime, nanoseconds) == (times.tv_sec, times.tv_nsec)
        && FileMode::from_unix(there.st_mode) == entry.mode
        && (there.st_uid, there.st_gid) == (entry.uid, entry.gid)
}
