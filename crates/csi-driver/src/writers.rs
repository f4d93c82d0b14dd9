//! The writer's lock of a volume that is a folder: what freezing is for a filesystem.
//!
//! A program holds [`Writers::write`] while it makes a change that a snapshot must show whole or not at all; many may
//! do so at once. The driver holds [`Writers::still`] while it copies. The lock is fair: a snapshot waits for the
//! changes under way, and later ones wait for the snapshot. It belongs to the folder (device and inode), so that any
//! part of this process finds it by path, as with `flock(2)`; other processes do not take part.
//!
//! ```no_run
//! # async fn transfer(folder: &std::path::Path) -> std::io::Result<()> {
//! let whole = caravel_csi_driver::Writers::of(folder)?.write().await;
//! std::fs::write(folder.join("from"), "40")?;
//! std::fs::write(folder.join("to"), "60")?;
//! drop(whole);
//! # Ok(()) }
//! ```

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// How long a snapshot waits for changes under way; a fsfreeze of a busy disk takes no longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Device and inode of a folder.
type Folder = (u64, u64);

static LOCKS: LazyLock<Mutex<BTreeMap<Folder, Weak<RwLock<()>>>>> = LazyLock::new(Mutex::default);

/// All who write to one volume.
#[derive(Clone, Debug)]
pub struct Writers(Arc<RwLock<()>>);

/// A change that is being made; a snapshot waits until it is dropped.
#[derive(Debug)]
pub struct Writing {
    _shared: OwnedRwLockReadGuard<()>,
}

/// Nobody writes until this is dropped.
#[derive(Debug)]
pub(crate) struct Still {
    _exclusive: OwnedRwLockWriteGuard<()>,
}

impl Writers {
    /// Those of the volume with this folder.
    ///
    /// # Errors
    /// When the folder cannot be looked at.
    pub fn of(folder: &Path) -> std::io::Result<Self> {
        let found = std::fs::metadata(folder)?;
        let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (found.dev(), found.ino());
        if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
            return Ok(Self(lock));
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(RwLock::new(()));
        locks.insert(key, Arc::downgrade(&lock));
        Ok(Self(lock))
    }

    /// Begins a change; waits while a snapshot is taken. Hold it briefly, and never two of one volume at once.
    pub async fn write(&self) -> Writing {
        Writing {
            _shared: self.0.clone().read_owned().await,
        }
    }

    /// As [`Self::write`], on a thread that may block (`spawn_blocking`); it must not be one that drives tasks.
    pub fn write_blocking(&self) -> Writing {
        Writing {
            _shared: futures::executor::block_on(self.0.clone().read_owned()),
        }
    }

    /// Waits until no change is under way, and keeps others from beginning. `None`: not within the time given.
    pub(crate) async fn still(&self, patience: Duration) -> Option<Still> {
        let exclusive = tokio::time::timeout(patience, self.0.clone().write_owned()).await;
        exclusive.ok().map(|guard| Still { _exclusive: guard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_snapshot_waits_for_the_change_under_way_and_later_changes_wait_for_the_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let writers = Writers::of(folder.path()).unwrap();
        let change = writers.write().await;
        assert!(writers.still(Duration::from_millis(10)).await.is_none());
        drop(change);
        let again = Writers::of(&folder.path().join(".")).unwrap();
        let still = again.still(PATIENCE).await.unwrap();
        let later = tokio::time::timeout(Duration::from_millis(10), writers.write()).await;
        assert!(later.is_err());
        drop(still);
        writers.write().await;
    }

    #[tokio::test]
    async fn a_thread_that_blocks_gets_the_same_lock() {
        let folder = tempfile::tempdir().unwrap();
        let writers = Writers::of(folder.path()).unwrap();
        let there = writers.clone();
        let change = tokio::task::spawn_blocking(move || there.write_blocking())
            .await
            .unwrap();
        assert!(writers.still(Duration::from_millis(10)).await.is_none());
        drop(change);
        assert!(writers.still(PATIENCE).await.is_some());
    }
}
