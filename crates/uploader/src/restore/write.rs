//! One file's bytes out of the repository: data by writing, long runs of zeros by not writing.

use std::os::fd::{AsFd, OwnedFd};

use caravel_repository::{DirectoryEntry, ObjectReader, RepositoryError};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::attributes;
use super::straight::{self, Output};
use crate::error::{Result, UploaderError};
use crate::progress::{CancelToken, Progress};

/// The longest link target that Linux has.
const LINK_BYTES: u64 = 4096;

/// Creates a file of size zero in `directory`. What stands in its place and is not a file is removed; a file keeps its
/// name but loses its content, and other names of it (hard links) keep theirs.
pub(crate) fn create(directory: impl AsFd, name: &[u8], path: &str) -> Result<OwnedFd> {
    let directory = directory.as_fd();
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(UploaderError::entry(path, "replace", error)),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| UploaderError::entry(path, "create", error))
}

/// Makes a symbolic link with its owner and times.
pub(crate) fn symlink(
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
    attributes::set_link(directory, name, entry, path)
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
        while let Some(piece) = self.next(&mut reader)? {
            self.write_data(&mut output, &piece, position)?;
            position += piece.len() as u64;
            self.progress.finished(piece.len() as u64);
        }
        output.finish().map_err(|error| self.writing(error))?;
        // A hole at the end has to be said; writing would have extended the file.
        rustix::fs::ftruncate(file, position)
            .map_err(|error| UploaderError::entry(self.path, "extend", error))?;
        Ok(position)
    }

    /// Copies everything onto a device, zeros too: what was there before must not shine through (guarantee 6).
    pub fn overwrite(&self, mut reader: ObjectReader<'_>, device: &OwnedFd) -> Result<u64> {
        let mut position = 0;
        while let Some(piece) = self.next(&mut reader)? {
            straight::write_all(device, &piece, position).map_err(|error| self.writing(error))?;
            position += piece.len() as u64;
            self.progress.finished(piece.len() as u64);
        }
        Ok(position)
    }

    fn next(&self, reader: &mut ObjectReader<'_>) -> Result<Option<Vec<u8>>> {
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

/// Whether there is nothing but zeros.
pub(crate) fn is_zero(data: &[u8]) -> bool {
    // Sixteen bytes at a time; the compiler makes wide loads of it.
    let (chunks, rest) = data.as_chunks::<16>();
    chunks.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0) && rest.iter().all(|byte| *byte == 0)
}
