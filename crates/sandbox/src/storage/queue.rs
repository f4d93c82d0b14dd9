//! What is to be looked at, in order, each object once; and what later, after a failure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// An object that a controller decides about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Claim(String, String),
    Volume(String),
    Snapshot(String, String),
    Content(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(namespace, name) => write!(f, "PersistentVolumeClaim {namespace}/{name}"),
            Self::Volume(name) => write!(f, "PersistentVolume {name}"),
            Self::Snapshot(namespace, name) => write!(f, "VolumeSnapshot {namespace}/{name}"),
            Self::Content(name) => write!(f, "VolumeSnapshotContent {name}"),
        }
    }
}

/// First wait after the driver failed; it doubles up to [`LONGEST`], as the sidecars do (`--retry-interval-start`).
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Queue {
    ready: VecDeque<Key>,
    queued: BTreeSet<Key>,
    later: BTreeSet<(Instant, Key)>,
    failures: BTreeMap<Key, u32>,
}

impl Queue {
    pub fn add(&mut self, key: Key) {
        if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// The next object, whichever may be looked at now.
    pub fn take(&mut self, may: impl Fn(&Key) -> bool) -> Option<Key> {
        let at = self.ready.iter().position(may)?;
        let key = self.ready.remove(at)?;
        self.queued.remove(&key);
        Some(key)
    }

    pub fn has(&self, may: impl Fn(&Key) -> bool) -> bool {
        self.ready.iter().any(may)
    }

    /// Looks again after a time that doubles with each failure of the driver in a row.
    pub fn retry(&mut self, key: Key) {
        let failures = self.failures.entry(key.clone()).or_default();
        let wait = FIRST.saturating_mul(1 << (*failures).min(16)).min(LONGEST);
        *failures += 1;
        self.wait(key, wait);
    }

    /// Looks again after this time.
    pub fn wait(&mut self, key: Key, wait: Duration) {
        self.later.insert((Instant::now() + wait, key));
    }

    /// It went well.
    pub fn forget(&mut self, key: &Key) {
        self.failures.remove(key);
    }

    /// Whether it waits for a retry.
    pub fn is_later(&self, key: &Key) -> bool {
        self.later.iter().any(|(_, waiting)| waiting == key)
    }

    /// When the next retry is due.
    pub fn due(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    /// Makes due retries ready.
    pub fn wake(&mut self, now: Instant) {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.add(key);
            }
        }
    }
}
