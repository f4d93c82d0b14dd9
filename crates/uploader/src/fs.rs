//! The few calls on directories and files that both directions need: always relative to an open directory,
//! never through a symlink.

use std::os::fd::OwnedFd;

use jiff::Timestamp;
use rustix::{
    fs::{self, AtFlags, Mode, OFlags, Stat},
    io,
};

/// Opens the directory `name` in `parent`.
pub(crate) fn open_directory(parent: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty())
}

/// Metadata of `name` in `parent` itself, not of what it points to.
pub(crate) fn stat(parent: &OwnedFd, name: &[u8]) -> io::Result<Stat> {
    fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// The modification time, whole. Times that Kopia cannot hold are cut to the year range of timestamps.
pub(crate) fn mtime(stat: &Stat) -> Timestamp {
    let nanos = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Timestamp::new(stat.st_mtime, nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The path of `name` under `parent` for people: relative to the volume, odd bytes replaced.
pub(crate) fn joined(parent: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if parent.is_empty() { name.into_owned() } else { format!("{parent}/{name}") }
}
