//! A block device under a restore: data is written, zeros are made.
//!
//! Runs of zeros are handed to the device as such (`fallocate` with a hole: the kernel discards and zeroes what it can,
//! and answers that it cannot where a device would not read back zeros), so a restore of a mostly empty volume takes no
//! room on thin storage; where that is refused they are zeroed in place, and else written. None of them is skipped
//! (guarantee 6). Source: `fallocate(2)` and Linux `block/fops.c` (`blkdev_fallocate`); sizes are in bytes.

use std::os::fd::OwnedFd;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{self, Errno};

use super::straight::write_all;

/// Shorter runs of zeros are written like data: it is quicker than another call.
pub(crate) const ZEROS_WORTH_BYTES: usize = 64 << 10;
/// Zeros between two looks at the cancel token.
const STEP_BYTES: u64 = 256 << 20;
/// The same where they have to be written.
const WRITTEN_STEP_BYTES: u64 = 16 << 20;
/// What every disk's blocks divide, as far as is known here; a device with larger ones refuses and gets zeros written.
const ALIGNMENT: u64 = 4096;

/// How zeros are made on this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Give the blocks back: they read as zeros.
    PunchHole,
    /// Let the device zero them.
    ZeroRange,
    Write,
}

/// A device that is filled from its begin on.
pub(crate) struct Device<'d> {
    file: &'d OwnedFd,
    /// Up to here all is on the device.
    position: u64,
    /// Zeros that come next.
    waiting: u64,
    way: Way,
}

impl<'d> Device<'d> {
    pub fn new(file: &'d OwnedFd) -> Self {
        Self {
            file,
            position: 0,
            waiting: 0,
            way: Way::PunchHole,
        }
    }

    /// The next bytes; zeros that wait must be settled.
    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        debug_assert_eq!(self.waiting, 0);
        write_all(self.file, data, self.position)?;
        self.position += data.len() as u64;
        Ok(())
    }

    /// The next bytes are so many zeros; they wait, so that neighbours go together.
    pub fn zeros(&mut self, count: u64) {
        self.waiting += count;
    }

    /// Whether zeros wait.
    pub fn has_zeros(&self) -> bool {
        self.waiting > 0
    }

    /// Makes some of the zeros that wait, and says how many.
    pub fn settle_some(&mut self) -> io::Result<u64> {
        let to_border = self.position.next_multiple_of(ALIGNMENT) - self.position;
        let whole = (self.waiting.saturating_sub(to_border) / ALIGNMENT) * ALIGNMENT;
        let count = match self.way {
            _ if to_border > 0 => self.written(to_border.min(self.waiting))?,
            _ if whole == 0 => self.written(self.waiting)?,
            Way::Write => self.written(self.waiting.min(WRITTEN_STEP_BYTES))?,
            Way::PunchHole | Way::ZeroRange => self.made(whole.min(STEP_BYTES))?,
        };
        self.position += count;
        self.waiting -= count;
        Ok(count)
    }

    /// Zeros without sending them; 0 when the device refuses, and the next way is tried.
    fn made(&mut self, count: u64) -> io::Result<u64> {
        let (flags, next) = match self.way {
            Way::PunchHole => (FallocateFlags::PUNCH_HOLE, Way::ZeroRange),
            Way::ZeroRange | Way::Write => (FallocateFlags::ZERO_RANGE, Way::Write),
        };
        match fallocate(self.file, flags | FallocateFlags::KEEP_SIZE, self.position, count) {
            Ok(()) => Ok(count),
            Err(Errno::INTR) => Ok(0),
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::NODEV) => {
                self.way = next;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    fn written(&self, count: u64) -> io::Result<u64> {
        static ZEROS: [u8; ZEROS_WORTH_BYTES] = [0; ZEROS_WORTH_BYTES];
        let mut done = 0;
        while done < count {
            let some = (count - done).min(ZEROS.len() as u64);
            write_all(self.file, &ZEROS[..some as usize], self.position + done)?;
            done += some;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    const OLD: u8 = 0xaa;

    fn used(bytes: usize) -> (tempfile::NamedTempFile, OwnedFd) {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), vec![OLD; bytes]).unwrap();
        let file = std::fs::File::options().write(true).open(path.path()).unwrap();
        (path, file.into())
    }

    fn settle(device: &mut Device<'_>) -> u64 {
        let mut done = 0;
        while device.has_zeros() {
            done += device.settle_some().unwrap();
        }
        done
    }

    #[test]
    fn guarantee_6_zeros_replace_what_was_there_in_every_way_and_at_every_border() {
        for way in [Way::PunchHole, Way::ZeroRange, Way::Write] {
            for (before, zeros) in [
                (0, 1 << 20),
                (3, 5),
                (3, 4093),
                (4096, 4096),
                (100, 3 << 20),
                (5, 70_001),
            ] {
                let (path, file) = used((4 << 20) + 7);
                let mut device = Device {
                    way,
                    ..Device::new(&file)
                };
                device.write(&vec![1; before]).unwrap();
                device.zeros(zeros);
                assert_eq!(settle(&mut device), zeros);
                device.write(&[2]).unwrap();
                let mut expected = vec![1; before];
                expected.resize(before + zeros as usize, 0);
                expected.push(2);
                expected.resize((4 << 20) + 7, OLD);
                assert!(
                    std::fs::read(path.path()).unwrap() == expected,
                    "{way:?} {before} {zeros}"
                );
            }
        }
    }

    #[test]
    fn long_runs_of_zeros_take_no_room_where_the_storage_can_give_it_back() {
        let (path, file) = used(8 << 20);
        let mut device = Device::new(&file);
        device.zeros(8 << 20);
        settle(&mut device);
        if device.way == Way::PunchHole {
            assert!(path.path().metadata().unwrap().blocks() * 512 < 1 << 20);
        }
    }
}
