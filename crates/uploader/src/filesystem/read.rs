//! One file's bytes into the repository: data by reading, holes without.

use std::os::fd::OwnedFd;

use caravel_repository::RepositoryError;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::error::{Result, UploaderError};
use crate::progress::Progress;
use crate::restore::write::is_zero;

/// One read, one check of the token. Large enough that system calls do not count, small enough to stay in L2.
pub(crate) const BUFFER_BYTES: usize = 512 * 1024;
/// Zeros between two checks of the token; they cost hashing and nothing else.
const ZEROS_BYTES: u64 = 64 << 20;

/// Where a file's bytes go.
pub(crate) trait Sink {
    /// The next bytes.
    fn data(&mut self, bytes: &[u8]) -> Result<(), RepositoryError>;
    /// The next bytes are so many zeros.
    fn zeros(&mut self, count: u64) -> Result<(), RepositoryError>;
    /// Called before each of them; an error ends the copy.
    fn pause(&mut self) -> Result<()>;
}

/// Copies `file` and returns how many bytes it had. Holes are not read; they are zeros to everyone.
pub(crate) fn copy(file: &OwnedFd, into: &mut dyn Sink, path: &str, progress: &Progress) -> Result<u64> {
    let length = rustix::fs::fstat(file)
        .map_err(|error| UploaderError::entry(path, "look at", error))?
        .st_size;
    copy_bytes(file, u64::try_from(length).unwrap_or(0), into, path, progress)
}

/// The same with the first `length` bytes of something that does not tell its own, as a device.
pub(crate) fn copy_bytes(
    file: &OwnedFd,
    length: u64,
    into: &mut dyn Sink,
    path: &str,
    progress: &Progress,
) -> Result<u64> {
    let mut copy = Copy {
        file,
        into,
        path,
        progress,
        position: 0,
        buffer: vec![0; buffer_size(length)],
    };
    while let Some(data) = copy.next_data(length)? {
        copy.zeros(data)?;
        copy.data(length)?;
    }
    copy.zeros(length)?;
    Ok(copy.position)
}

fn buffer_size(length: u64) -> usize {
    usize::try_from(length)
        .unwrap_or(BUFFER_BYTES)
        .clamp(1, BUFFER_BYTES)
}

struct Copy<'run> {
    file: &'run OwnedFd,
    into: &'run mut dyn Sink,
    path: &'run str,
    progress: &'run Progress,
    position: u64,
    buffer: Vec<u8>,
}

impl Copy<'_> {
    /// Where data goes on at or after the position; `None` when only a hole is left.
    fn next_data(&self, length: u64) -> Result<Option<u64>> {
        if self.position >= length {
            return Ok(None);
        }
        match rustix::fs::seek(self.file, SeekFrom::Data(self.position)) {
            Ok(start) => Ok(Some(start)),
            Err(Errno::NXIO) => Ok(None),
            // A file system that cannot tell holes from data has only data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(self.position)),
            Err(error) => Err(UploaderError::entry(self.path, "find the data of", error)),
        }
    }

    /// Zeros up to `end`.
    fn zeros(&mut self, end: u64) -> Result<()> {
        while self.position < end {
            self.into.pause()?;
            let count = (end - self.position).min(ZEROS_BYTES);
            self.into.zeros(count).map_err(|error| self.storing(error))?;
            self.advance(count);
        }
        Ok(())
    }

    /// Data up to the next hole or `length`.
    fn data(&mut self, length: u64) -> Result<()> {
        let end = match rustix::fs::seek(self.file, SeekFrom::Hole(self.position)) {
            Ok(end) => end.min(length),
            Err(_) => length,
        };
        while self.position < end {
            self.into.pause()?;
            let wanted = usize::try_from(end - self.position)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let got = rustix::io::pread(self.file, &mut self.buffer[..wanted], self.position)
                .map_err(|error| UploaderError::entry(self.path, "read", error))?;
            if got == 0 {
                let error = std::io::Error::new(
                    std::io::ErrorKind::UnexpectedEof,
                    format!(
                        "it became shorter while it was read: {length} bytes at first, now {}",
                        self.position
                    ),
                );
                return Err(UploaderError::entry(self.path, "read", error));
            }
            // A disk image may have zeros where it could have holes; naming them costs less than hashing them.
            let read = &self.buffer[..got];
            let stored = match is_zero(read) {
                true => self.into.zeros(got as u64),
                false => self.into.data(read),
            };
            stored.map_err(|error| self.storing(error))?;
            self.advance(got as u64);
        }
        Ok(())
    }

    fn storing(&self, error: RepositoryError) -> UploaderError {
        UploaderError::repository(format!("storing `{}`", self.path), error)
    }

    fn advance(&mut self, bytes: u64) {
        self.position += bytes;
        self.progress.finished(bytes);
    }
}
