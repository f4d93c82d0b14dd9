//! One file or link of a snapshot, under a name of its own.

use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use caravel_repository::DirectoryEntry;
use rustix::fs::{Mode, OFlags};

use super::place::{Place, Shared};
use crate::error::{Result, UploaderError};

/// Writes `entry` to `to`, whose folder exists.
pub(crate) fn restore(entry: &DirectoryEntry, to: &Path, shared: &Shared<'_>) -> Result<()> {
    let path = to.display().to_string();
    let name = to.file_name().ok_or_else(|| UploaderError::Unsafe {
        path: path.clone(),
        why: "is restored to a path that names no file",
    })?;
    let folder = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())
        .map_err(|error| UploaderError::entry(&path, "open the folder of", error))?;
    let place = Place {
        directory: folder.as_fd(),
        name: name.as_bytes(),
        entry,
        path: &path,
    };
    place.write(shared)?;
    // Its name too is to outlive the machine.
    rustix::fs::fsync(&folder).map_err(|error| UploaderError::entry(&path, "sync the folder of", error))
}
