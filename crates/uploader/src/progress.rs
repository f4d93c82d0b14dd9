//! What the caller sees of a running upload or restore, and how it stops one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::error::{Result, UploaderError};

/// Counters that the caller reads whenever it likes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Bytes saved or restored so far, reused ones included.
    pub fn bytes_done(&self) -> u64 {
        self.counters.done.load(Ordering::Relaxed)
    }

    /// Bytes in all, as far as known: it grows while an upload still looks at the volume.
    pub fn total_bytes(&self) -> u64 {
        self.counters.total.load(Ordering::Relaxed).max(self.bytes_done())
    }

    pub(crate) fn finished(&self, bytes: u64) {
        self.counters.done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn found(&self, bytes: u64) {
        self.counters.total.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Stops an upload or restore; looked at for every chunk. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    canceled: Arc<AtomicBool>,
    /// What stops this one too.
    above: Option<Arc<AtomicBool>>,
}

impl CancelToken {
    /// Asks to stop.
    pub fn cancel(&self) {
        self.canceled.store(true, Ordering::Relaxed);
    }

    /// Whether someone asked.
    pub fn is_canceled(&self) -> bool {
        let asked = |flag: &Arc<AtomicBool>| flag.load(Ordering::Relaxed);
        asked(&self.canceled) || self.above.as_ref().is_some_and(asked)
    }

    /// One that stops with this one, and can be stopped alone: for the threads of one run, of which one failed.
    pub(crate) fn of_a_run(&self) -> Self {
        Self {
            canceled: Arc::default(),
            above: Some(self.canceled.clone()),
        }
    }

    /// An error once someone asked.
    pub(crate) fn check(&self) -> Result<()> {
        match self.is_canceled() {
            true => Err(UploaderError::Canceled),
            false => Ok(()),
        }
    }
}
