//! Owner, mode and times of what was restored, in the order in which the kernel keeps them: a change of owner clears
//! setuid, and a change of mode does not touch the times.

use std::os::fd::AsFd;

use caravel_repository::DirectoryEntry;
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid};

use crate::error::{Result, UploaderError};

/// Sets all attributes of an open file or directory.
pub(crate) fn set(file: impl AsFd, entry: &DirectoryEntry, path: &str) -> Result<()> {
    let file = file.as_fd();
    rustix::fs::fchown(
        file,
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
    .map_err(|error| UploaderError::entry(path, "set the owner of", error))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode.to_unix()))
        .map_err(|error| UploaderError::entry(path, "set the mode of", error))?;
    rustix::fs::futimens(file, &times(entry))
        .map_err(|error| UploaderError::entry(path, "set the times of", error))
}

/// Sets what a symbolic link has: an owner and times, no mode.
pub(crate) fn set_link(directory: impl AsFd, name: &[u8], entry: &DirectoryEntry, path: &str) -> Result<()> {
    let directory = directory.as_fd();
    let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
    rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| UploaderError::entry(path, "set the owner of", error))?;
    rustix::fs::utimensat(directory, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| UploaderError::entry(path, "set the times of", error))
}

fn times(entry: &DirectoryEntry) -> Timestamps {
    // jiff keeps sign and magnitude together; the kernel wants nanoseconds that are never negative.
    let nanoseconds = entry.mtime.as_nanosecond();
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let time = Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(0),
        tv_nsec: i64::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
