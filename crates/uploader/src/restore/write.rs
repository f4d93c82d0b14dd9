//! One file's bytes out of the repository: data by writing, long runs of zeros by not writing.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use caravel_repository::{DirectoryEntry, EntryType, Environment, FileMode, ObjectReader, RepositoryError};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::attributes;
use super::device::{self, Device};
use super::straight::Output;
use crate::error::{Result, UploaderError};
use crate::progress::{CancelToken, Progress};
use crate::request::RestoreRules;

/// The longest link target that Linux has.
const LINK_BYTES: u64 = 4096;
/// How the names of files begin that are not whole yet.
const UNFINISHED: &str = ".restoring.";

/// Names for files that are not whole yet, of this run alone: what an earlier run left behind may be in the snapshot, and
/// must not meet what this one is writing.
pub(crate) struct Unfinished {
    beginning: String,
    next: AtomicU64,
}

impl Unfinished {
    pub fn new(environment: &Environment) -> Self {
        let mut token = [0; 16];
        environment.randomness.fill(&mut token);
        Self {
            beginning: format!("{UNFINISHED}{:032x}.", u128::from_be_bytes(token)),
            next: AtomicU64::new(0),
        }
    }

    /// The next one.
    pub fn name(&self) -> Vec<u8> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}{number}", self.beginning).into_bytes()
    }

    /// Removes what a run that was killed left in a directory.
    pub fn clear(&self, directory: &OwnedFd, path: &str) -> Result<()> {
        let failed = |error| UploaderError::entry(path, "list", error);
        for listed in Dir::read_from(directory).map_err(failed)? {
            let listed = listed.map_err(failed)?;
            let name = listed.file_name().to_bytes();
            let of_another_run = name.starts_with(UNFINISHED.as_bytes())
                && name.len() > self.beginning.len()
                && name.get(self.beginning.len() - 1) == Some(&b'.')
                && !name.starts_with(self.beginning.as_bytes());
            if of_another_run {
                rustix::fs::unlinkat(directory, name, AtFlags::empty())
                    .map_err(|error| UploaderError::entry(path, "remove an unfinished file in", error))?;
            }
        }
        Ok(())
    }
}

/// Gives a whole file its name, in place of what has it.
pub(crate) fn take_name(directory: impl AsFd, unfinished: &[u8], name: &[u8], path: &str) -> Result<()> {
    let directory = directory.as_fd();
    rustix::fs::renameat(directory, unfinished, directory, name)
        .map_err(|error| UploaderError::entry(path, "replace", error))
}

/// Whether an entry is to be written: false when what is there stays.
///
/// Errors: something is there that must not be replaced.
pub(crate) fn makes_way(
    rules: &RestoreRules,
    directory: impl AsFd,
    name: &[u8],
    entry: &DirectoryEntry,
    path: &str,
) -> Result<bool> {
    if *rules == RestoreRules::default() {
        return Ok(true);
    }
    let there = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => there,
        Err(Errno::NOENT) => return Ok(true),
        Err(error) => return Err(UploaderError::entry(path, "look at", error)),
    };
    let is_file = FileType::from_raw_mode(there.st_mode) == FileType::RegularFile;
    if rules.skip_existing || (rules.resume && is_file && is_done(&there, entry)) {
        return Ok(false);
    }
    let may = match FileType::from_raw_mode(there.st_mode) {
        FileType::Symlink => rules.overwrite_symlinks,
        _ => rules.overwrite_files,
    };
    match may || rules.resume {
        true => Ok(true),
        false => Err(UploaderError::entry(path, "replace", Errno::EXIST)),
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

/// Creates a file of size zero in `directory`, where there is nothing of that name.
pub(crate) fn create(directory: impl AsFd, name: &[u8], path: &str) -> Result<OwnedFd> {
    let directory = directory.as_fd();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| UploaderError::entry(path, "create", error))
}

/// Makes a symbolic link with its owner and times, in place of what has its name.
pub(crate) fn symlink(
    rules: &RestoreRules,
    directory: impl AsFd,
    name: &[u8],
    entry: &DirectoryEntry,
    reader: ObjectReader<'_>,
    path: &str,
) -> Result<()> {
    let directory = directory.as_fd();
    let target = reader
        .read_to_end(LINK_BYTES)
        .map_err(|error| reading(path, error))?;
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(UploaderError::entry(path, "replace", error)),
    }
    rustix::fs::symlinkat(target.as_slice(), directory, name)
        .map_err(|error| UploaderError::entry(path, "create the link", error))?;
    attributes::set_link(rules, directory, name, entry, path)
}

/// What one copy needs to know besides its two ends.
pub(crate) struct Run<'run> {
    pub path: &'run str,
    pub progress: &'run Progress,
    pub cancel: &'run CancelToken,
    pub hole_bytes: usize,
}

impl Run<'_> {
    /// Copies everything into an empty file and returns how much that was.
    pub fn copy(&self, mut reader: ObjectReader<'_>, file: &OwnedFd) -> Result<u64> {
        let mut position = 0;
        let mut output = Output::new(file, reader.length());
        let mut zeros: Option<Bytes> = None;
        while let Some(piece) = self.next(&mut reader)? {
            // A long hole is the same piece again and again; looking at its bytes once is enough.
            if !zeros.as_ref().is_some_and(|zeros| is_the_same(zeros, &piece)) {
                self.write_data(&mut output, &piece, position)?;
                zeros = is_zero(&piece).then(|| piece.clone());
            }
            position += piece.len() as u64;
            self.progress.finished(piece.len() as u64);
        }
        output.finish().map_err(|error| self.writing(error))?;
        // A hole at the end has to be said; writing would have extended the file.
        if output.end() < position {
            rustix::fs::ftruncate(file, position)
                .map_err(|error| UploaderError::entry(self.path, "extend", error))?;
        }
        Ok(position)
    }

    /// Copies everything onto a device, zeros too: what was there before must not shine through (guarantee 6). What is
    /// counted as done is on the device.
    pub fn overwrite(&self, mut reader: ObjectReader<'_>, mut device: Device<'_>) -> Result<u64> {
        let mut position = 0;
        let mut zeros: Option<Bytes> = None;
        while let Some(piece) = self.next(&mut reader)? {
            if zeros.as_ref().is_some_and(|zeros| is_the_same(zeros, &piece)) {
                device.zeros(piece.len() as u64);
            } else {
                self.write_to(&mut device, &piece)?;
                zeros = is_zero(&piece).then(|| piece.clone());
            }
            position += piece.len() as u64;
        }
        self.settle(&mut device)?;
        Ok(position)
    }

    fn write_to(&self, device: &mut Device<'_>, piece: &[u8]) -> Result<()> {
        for chunk in piece.chunks(device::ZEROS_WORTH_BYTES) {
            if is_zero(chunk) {
                device.zeros(chunk.len() as u64);
            } else {
                self.settle(device)?;
                device.write(chunk).map_err(|error| self.writing(error))?;
                self.progress.finished(chunk.len() as u64);
            }
        }
        Ok(())
    }

    /// Puts the zeros that wait onto the device, step by step.
    fn settle(&self, device: &mut Device<'_>) -> Result<()> {
        while device.has_zeros() {
            if self.cancel.is_canceled() {
                return Err(UploaderError::Canceled);
            }
            let done = device.settle_some().map_err(|error| self.writing(error))?;
            self.progress.finished(done);
        }
        Ok(())
    }

    fn next(&self, reader: &mut ObjectReader<'_>) -> Result<Option<Bytes>> {
        if self.cancel.is_canceled() {
            return Err(UploaderError::Canceled);
        }
        reader.next_piece().map_err(|error| reading(self.path, error))
    }

    /// Writes the pieces of `data` that are not zeros, in steps of `hole_bytes`; neighbours go out together.
    fn write_data(&self, output: &mut Output<'_>, data: &[u8], position: u64) -> Result<()> {
        let mut start = 0;
        while start < data.len() {
            let zeros = data[start..]
                .chunks(self.hole_bytes)
                .take_while(|piece| is_zero(piece))
                .count();
            start = (start + zeros * self.hole_bytes).min(data.len());
            let pieces = data[start..]
                .chunks(self.hole_bytes)
                .take_while(|piece| !is_zero(piece))
                .count();
            let end = (start + pieces * self.hole_bytes).min(data.len());
            output
                .write(&data[start..end], position + start as u64)
                .map_err(|error| self.writing(error))?;
            start = end;
        }
        Ok(())
    }

    fn writing(&self, error: Errno) -> UploaderError {
        UploaderError::entry(self.path, "write", error)
    }
}

fn reading(path: &str, error: RepositoryError) -> UploaderError {
    UploaderError::repository(format!("reading `{path}` from the repository"), error)
}

/// Whether both are the same memory. Neither is given back while the other one is compared with it.
fn is_the_same(a: &Bytes, b: &Bytes) -> bool {
    a.as_ptr() == b.as_ptr() && a.len() == b.len()
}

/// Whether there is nothing but zeros.
pub(crate) fn is_zero(data: &[u8]) -> bool {
    // Sixteen bytes at a time; the compiler makes wide loads of it.
    let (chunks, rest) = data.as_chunks::<16>();
    chunks.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0) && rest.iter().all(|byte| *byte == 0)
}
