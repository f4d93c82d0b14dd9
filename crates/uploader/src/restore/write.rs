//! One file's bytes out of the repository: data by writing, long runs of zeros by not writing.

use std::os::fd::{AsFd, OwnedFd};

use caravel_repository::ObjectReader;
use caravel_repository::snapshot::DirectoryEntry;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::attributes;
use crate::error::{Result, UploaderError};
use crate::filesystem::read::BUFFER_BYTES;
use crate::progress::{CancelToken, Progress};

/// The longest link target that Linux has.
const LINK_BYTES: usize = 4096;

/// Creates a file of size zero in `directory`. What stands in its place and is not a file is removed; a file keeps its
/// name but loses its content, and other names of it (hard links) keep theirs.
pub(crate) fn create(directory: impl AsFd, name: &str, path: &str) -> Result<OwnedFd> {
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
    entry: &DirectoryEntry,
    reader: &mut ObjectReader,
    path: &str,
) -> Result<()> {
    let directory = directory.as_fd();
    let mut target = vec![0; LINK_BYTES];
    let length = fill(reader, &mut target, path)?;
    target.truncate(length);
    match rustix::fs::unlinkat(directory, entry.name.as_str(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(UploaderError::entry(path, "replace", error)),
    }
    rustix::fs::symlinkat(target.as_slice(), directory, entry.name.as_str())
        .map_err(|error| UploaderError::entry(path, "create the link", error))?;
    attributes::set_link(directory, entry, path)
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
    pub fn copy(&self, reader: &mut ObjectReader, file: &OwnedFd) -> Result<u64> {
        let size = usize::try_from(reader.len()).unwrap_or(BUFFER_BYTES).clamp(1, BUFFER_BYTES);
        let mut buffer = vec![0; size];
        let mut position = 0;
        loop {
            if self.cancel.is_canceled() {
                return Err(UploaderError::Canceled);
            }
            let got = fill(reader, &mut buffer, self.path)?;
            if got == 0 {
                break;
            }
            self.write_data(file, &buffer[..got], position)?;
            position += got as u64;
            self.progress.finished(got as u64);
        }
        // A hole at the end has to be said; writing would have extended the file.
        rustix::fs::ftruncate(file, position).map_err(|error| UploaderError::entry(self.path, "extend", error))?;
        Ok(position)
    }

    /// Writes the pieces of `data` that are not zeros, in steps of `hole_bytes`; neighbours go out together.
    fn write_data(&self, file: &OwnedFd, data: &[u8], position: u64) -> Result<()> {
        let mut start = 0;
        while start < data.len() {
            let zeros = data[start..].chunks(self.hole_bytes).take_while(|piece| is_zero(piece)).count();
            start = (start + zeros * self.hole_bytes).min(data.len());
            let pieces = data[start..].chunks(self.hole_bytes).take_while(|piece| !is_zero(piece)).count();
            let end = (start + pieces * self.hole_bytes).min(data.len());
            self.write_all(file, &data[start..end], position + start as u64)?;
            start = end;
        }
        Ok(())
    }

    fn write_all(&self, file: &OwnedFd, mut data: &[u8], mut position: u64) -> Result<()> {
        while !data.is_empty() {
            let written = match rustix::io::pwrite(file, data, position) {
                Ok(written) => written,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(UploaderError::entry(self.path, "write", error)),
            };
            data = &data[written..];
            position += written as u64;
        }
        Ok(())
    }
}

/// Reads until the buffer is full or the object ends.
pub(crate) fn fill(reader: &mut ObjectReader, buffer: &mut [u8], path: &str) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let got = reader
            .read(&mut buffer[filled..])
            .map_err(|error| UploaderError::repository(format!("reading `{path}` from the repository"), error))?;
        if got == 0 {
            break;
        }
        filled += got;
    }
    Ok(filled)
}

fn is_zero(data: &[u8]) -> bool {
    // Sixteen bytes at a time; the compiler makes wide loads of it.
    let (chunks, rest) = data.as_chunks::<16>();
    chunks.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0) && rest.iter().all(|byte| *byte == 0)
}
