//! One file's bytes out of the repository: data by writing, long runs of zeros by not writing.

use std::os::fd::OwnedFd;

use bytes::Bytes;
use caravel_repository::{ObjectReader, RepositoryError};
use rustix::io::Errno;

use super::device::{self, Device};
use super::straight::Output;
use crate::error::{Result, UploaderError};
use crate::progress::{CancelToken, Progress};

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
            self.cancel.check()?;
            let done = device.settle_some().map_err(|error| self.writing(error))?;
            self.progress.finished(done);
        }
        Ok(())
    }

    fn next(&self, reader: &mut ObjectReader<'_>) -> Result<Option<Bytes>> {
        self.cancel.check()?;
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

/// What failed when an object was read.
pub(crate) fn reading(path: &str, error: RepositoryError) -> UploaderError {
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
