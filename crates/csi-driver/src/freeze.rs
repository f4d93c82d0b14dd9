//! A filesystem that is frozen for as long as a [`Frozen`] lives, so that a copy of its image is one point in time.
//! Thawing happens in `Drop`: on success, error and panic alike. What a killed driver left frozen is
//! thawed at its next start ([`thaw_leftover`]).

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::ioctl;

/// A frozen filesystem; thawed when dropped.
#[derive(Debug)]
pub struct Frozen {
    mount_point: PathBuf,
    directory: File,
}

impl Frozen {
    /// Freezes the filesystem mounted at `mount_point`: dirty data is written, later writers wait.
    pub fn new(mount_point: &Path) -> Result<Self> {
        let directory = File::open(mount_point).map_err(Error::io("open to freeze", mount_point))?;
        ioctl::freeze(&directory).map_err(|e| Error::io("freeze", mount_point)(e.into()))?;
        Ok(Self {
            mount_point: mount_point.to_owned(),
            directory,
        })
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(cause) = ioctl::thaw(&self.directory) {
            tracing::error!(mount_point = %self.mount_point.display(), %cause, "The filesystem could not be thawed; run `fsfreeze --unfreeze` on it");
        }
    }
}

/// Thaws a filesystem that an earlier driver process may have left frozen. True if it was.
pub fn thaw_leftover(mount_point: &Path) -> Result<bool> {
    let directory = File::open(mount_point).map_err(Error::io("open to thaw", mount_point))?;
    match ioctl::thaw(&directory) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(cause) => Err(Error::io("thaw", mount_point)(cause.into())),
    }
}
