//! The bytes of a large file straight to the disk (`O_DIRECT`) while they come without a hole: a restore is synced before it
//! is done anyway, and the copy into fresh pages of the page cache costs more than reading and decrypting. From the first
//! hole on, for the last bytes, and where the file system takes no such writes, they are written in the usual way.

use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{self, Errno};

/// Shorter files are not worth it.
pub(crate) const WORTH_BYTES: u64 = 4 << 20;
/// What every disk's blocks and every memory page divide.
const ALIGNMENT: usize = 4096;
/// Bytes of one write.
const STEP: usize = 2 << 20;

/// Where the bytes of one file go.
pub(crate) struct Output<'f> {
    file: &'f OwnedFd,
    /// None: in the usual way.
    straight: Option<Straight>,
    /// Where the last bytes end.
    end: u64,
}

/// Bytes that wait until they are a step.
struct Straight {
    memory: Vec<u8>,
    /// Where the aligned part of the memory begins.
    start: usize,
    filled: usize,
    /// Where in the file they go.
    position: u64,
}

impl<'f> Output<'f> {
    /// For an empty file that will have so many bytes, where that is known.
    pub fn new(file: &'f OwnedFd, length: Option<u64>) -> Self {
        let worth = length.is_some_and(|length| length >= WORTH_BYTES);
        Self {
            file,
            straight: worth.then(|| Straight::begin(file)).flatten(),
            end: 0,
        }
    }

    /// How long the file is when everything that was given is written.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Writes bytes; positions only grow.
    pub fn write(&mut self, data: &[u8], position: u64) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.end = position + data.len() as u64;
        let continues = |straight: &Straight| straight.position + straight.filled as u64 == position;
        match &mut self.straight {
            Some(straight) if continues(straight) => {
                if straight.add(self.file, data)? {
                    return Ok(());
                }
                // What it held is written; the rest of `data` is not.
                let done = straight.position - position.min(straight.position);
                self.straight = None;
                write_all(self.file, &data[done as usize..], position + done)
            }
            Some(_) => {
                self.finish()?;
                write_all(self.file, data, position)
            }
            None => write_all(self.file, data, position),
        }
    }

    /// Writes what still waits. To be called once, at the end.
    pub fn finish(&mut self) -> io::Result<()> {
        let Some(straight) = self.straight.take() else {
            return Ok(());
        };
        usual(self.file)?;
        let waiting = &straight.memory[straight.start..straight.start + straight.filled];
        write_all(self.file, waiting, straight.position)
    }
}

impl Straight {
    /// None where it cannot be.
    fn begin(file: &OwnedFd) -> Option<Self> {
        let memory = vec![0; STEP + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        if start > ALIGNMENT {
            return None;
        }
        let flags = fcntl_getfl(file).ok()?;
        fcntl_setfl(file, flags | OFlags::DIRECT).ok()?;
        Some(Self {
            memory,
            start,
            filled: 0,
            position: 0,
        })
    }

    /// Takes bytes; `false` when the file system refuses such writes after all: then what waited is written, and
    /// `position` says up to where.
    fn add(&mut self, file: &OwnedFd, mut data: &[u8]) -> io::Result<bool> {
        while !data.is_empty() {
            let room = (STEP - self.filled).min(data.len());
            let (some, rest) = data.split_at(room);
            let at = self.start + self.filled;
            self.memory[at..at + room].copy_from_slice(some);
            self.filled += room;
            data = rest;
            if self.filled < STEP {
                continue;
            }
            let step = &self.memory[self.start..self.start + STEP];
            let written = write_all(file, step, self.position);
            let refused = matches!(written, Err(Errno::INVAL | Errno::OPNOTSUPP));
            if refused {
                usual(file)?;
                write_all(file, step, self.position)?;
            } else {
                written?;
            }
            self.position += STEP as u64;
            self.filled = 0;
            if refused {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Back to the page cache.
fn usual(file: &OwnedFd) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    fcntl_setfl(file, flags - OFlags::DIRECT)
}

/// Writes all of `data` at a position.
pub(crate) fn write_all(file: &OwnedFd, mut data: &[u8], mut position: u64) -> io::Result<()> {
    while !data.is_empty() {
        let written = match io::pwrite(file, data, position) {
            Err(Errno::INTR) => continue,
            written => written?,
        };
        data = &data[written..];
        position += written as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes pieces of these lengths, `None` being a hole of 128 KiB, and compares.
    fn comes_back(pieces: &[Option<usize>]) {
        let path = tempfile::NamedTempFile::new().unwrap();
        let file: OwnedFd = std::fs::File::options()
            .write(true)
            .open(path.path())
            .unwrap()
            .into();
        let mut output = Output::new(&file, Some(WORTH_BYTES));
        let mut expected: Vec<u8> = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            match piece {
                Some(length) => {
                    let data: Vec<u8> = (0..*length).map(|n| (n * 7 + number) as u8 | 1).collect();
                    output.write(&data, expected.len() as u64).unwrap();
                    expected.extend(data);
                }
                None => expected.resize(expected.len() + (128 << 10), 0),
            }
        }
        output.finish().unwrap();
        rustix::fs::ftruncate(&file, expected.len() as u64).unwrap();
        assert!(std::fs::read(path.path()).unwrap() == expected, "{pieces:?}");
    }

    #[test]
    fn every_row_of_pieces_comes_back() {
        comes_back(&[]);
        comes_back(&[Some(1)]);
        comes_back(&[Some(STEP), Some(STEP)]);
        comes_back(&[Some(3 * STEP + 1), Some(5), Some(STEP - 7)]);
        comes_back(&[Some(STEP + 100), None, Some(STEP), Some(3)]);
        comes_back(&[None, Some(5 * STEP)]);
        comes_back(&[Some(4096), None, None, Some(10), None]);
    }
}
