//! The lock that keeps two processes of one machine from maintaining at the same time (kopia-format.md 11.3). Across
//! machines nothing locks: ownership and the waiting times do.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use crate::error::{RepositoryError, Result};

/// Held until dropped.
pub struct Lock(#[allow(dead_code)] Option<File>);

/// Takes the lock, which is an advisory one on the whole file as Kopia's; `None` when another process holds it.
pub fn acquire(path: Option<&Path>) -> Result<Option<Lock>> {
    let Some(path) = path else {
        return Ok(Some(Lock(None)));
    };
    let failed = |e: std::io::Error| {
        RepositoryError::invalid(format!(
            "cannot lock file {} for maintenance: {e}",
            path.display()
        ))
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(Some(file)))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_holder_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("repository.config.mlock");
        let first = acquire(Some(&path)).unwrap();
        assert!(first.is_some() && acquire(Some(&path)).unwrap().is_none());
        drop(first);
        assert!(acquire(Some(&path)).unwrap().is_some());
        assert!(acquire(None).unwrap().is_some());
    }
}
