//! The names that files have until they are whole.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use caravel_repository::Environment;
use rustix::fs::{AtFlags, Dir};

use crate::error::{Result, UploaderError};

/// How they begin.
const UNFINISHED: &str = ".restoring.";

/// Names of this run alone: what an earlier run left behind may be in the snapshot, and must not meet what this one is
/// writing.
pub(crate) struct Unfinished {
    beginning: String,
    next: AtomicU64,
}

impl Unfinished {
    pub fn new(environment: &Environment) -> Self {
        let mut token = [0; 16];
        environment.randomness.fill(&mut token);
        Self {
            beginning: format!("{UNFINISHED}{:032x}.", u128::from_be_bytes(token)),
            next: AtomicU64::new(0),
        }
    }

    /// The next one.
    pub fn name(&self) -> Vec<u8> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}{number}", self.beginning).into_bytes()
    }

    /// Removes what a run that was killed left in a directory.
    pub fn clear(&self, directory: &OwnedFd, path: &str) -> Result<()> {
        let failed = |error| UploaderError::entry(path, "list", error);
        for listed in Dir::read_from(directory).map_err(failed)? {
            let listed = listed.map_err(failed)?;
            let name = listed.file_name().to_bytes();
            let of_another_run = name.starts_with(UNFINISHED.as_bytes())
                && name.len() > self.beginning.len()
                && name.get(self.beginning.len() - 1) == Some(&b'.')
                && !name.starts_with(self.beginning.as_bytes());
            if of_another_run {
                rustix::fs::unlinkat(directory, name, AtFlags::empty())
                    .map_err(|error| UploaderError::entry(path, "remove an unfinished file in", error))?;
            }
        }
        Ok(())
    }
}
