//! For how long a listing of the index blobs is believed (Kopia `internal/listcache` and `internal/ownwrites` v0.22.3).
//!
//! A kept list is as old as the moment its listing *began*, and is believed for Kopia's 30 s at most, and only when a
//! repository is opened: whoever asks for the present state lists anew (`content/committed.rs`). A list that began before
//! this machine's last change of an index blob is not believed at all, so that nobody misses what he wrote himself.

use std::{sync::Arc, time::Duration};

use caravel_storage::{BlobId, BlobMetadata};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Part;
use crate::environment::Clock;

/// Bytes of all lists: half a million names.
pub(super) const LIMIT: u64 = 64 << 20;
/// The prefixes that are listed: of epochs, and of what was before them.
const PREFIXES: [&str; 3] = ["x", "n", "m"];
/// Under which name the time of the last change is kept.
const LAST_CHANGE: &str = "index";

/// The lists of one opened repository.
pub(crate) struct Lists {
    kept: Part,
    own_writes: Part,
    duration: Duration,
    clock: Arc<dyn Clock>,
    /// Of this process; holds also where nothing can be written.
    last_change: Mutex<Option<Timestamp>>,
}

#[derive(Serialize, Deserialize)]
struct List {
    began: Timestamp,
    /// Name, length, time.
    blobs: Vec<(String, u64, Timestamp)>,
}

impl Lists {
    pub fn new(kept: Part, own_writes: Part, duration: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            kept,
            own_writes,
            duration,
            clock,
            last_change: Mutex::new(None),
        }
    }

    /// The blobs of this prefix and when they were listed, if that may be believed now.
    pub fn believed(&self, prefix: &str) -> Option<(Vec<BlobMetadata>, Timestamp)> {
        if self.duration.is_zero() {
            return None;
        }
        let list: List = serde_json::from_slice(&self.kept.get(prefix)?).ok()?;
        let age = self.clock.now().duration_since(list.began);
        // A list of the future was made by another clock.
        if age < SignedDuration::ZERO || age.unsigned_abs() >= self.duration {
            return None;
        }
        if self.last_change().is_some_and(|change| list.began <= change) {
            return None;
        }
        let blobs = list
            .blobs
            .into_iter()
            .map(|(id, length, timestamp)| BlobMetadata {
                id: BlobId::from(id),
                length,
                timestamp,
            });
        Some((blobs.collect(), list.began))
    }

    /// Keeps a listing that began then, for those who open the repository next.
    pub fn keep(&self, prefix: &str, began: Timestamp, blobs: &[BlobMetadata]) {
        if self.duration.is_zero() {
            return;
        }
        let blobs = blobs
            .iter()
            .map(|blob| (blob.id.as_str().to_owned(), blob.length, blob.timestamp));
        let list = List {
            began,
            blobs: blobs.collect(),
        };
        if let Ok(json) = serde_json::to_vec(&list) {
            self.kept.put(prefix, &json);
        }
    }

    /// A blob was written or deleted just now, or may have been.
    pub fn changed(&self, blobs: &[&str]) {
        let mut concerned = PREFIXES
            .iter()
            .filter(|prefix| blobs.iter().any(|blob| blob.starts_with(**prefix)))
            .peekable();
        if concerned.peek().is_none() {
            return;
        }
        let now = self.clock.now();
        *self.last_change.lock() = Some(now);
        concerned.for_each(|prefix| self.kept.forget(prefix));
        self.own_writes.put(LAST_CHANGE, now.to_string().as_bytes());
    }

    /// By this process or another one on this machine.
    fn last_change(&self) -> Option<Timestamp> {
        let own = *self.last_change.lock();
        let text = self.own_writes.get(LAST_CHANGE);
        let of_others = text.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
        own.max(of_others)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::{
        cache::{CacheSettings, DiskCache, Protection},
        environment::Environment,
    };

    struct Stopped(AtomicI64);

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
        }
    }

    struct World {
        folder: tempfile::TempDir,
        clock: Arc<Stopped>,
    }

    impl World {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
                clock: Arc::new(Stopped(AtomicI64::new(1_790_000_000))),
            }
        }

        fn process(&self) -> DiskCache {
            let environment = Environment {
                clock: self.clock.clone(),
                ..Environment::system()
            };
            let settings = CacheSettings::in_folder(self.folder.path());
            DiskCache::new(&settings, Protection::new(b"secret", b"id"), &environment)
        }

        fn at(&self, second: i64) -> Timestamp {
            self.clock.0.store(1_790_000_000 + second, Ordering::Relaxed);
            self.clock.now()
        }
    }

    fn blobs() -> Vec<BlobMetadata> {
        vec![BlobMetadata {
            id: "xn0_a".into(),
            length: 7,
            timestamp: Timestamp::from_second(1_700_000_000).unwrap(),
        }]
    }

    #[test]
    fn a_list_is_believed_for_thirty_seconds_from_when_it_began_by_every_process() {
        let world = World::new();
        let (one, other) = (world.process().lists, world.process().lists);
        let began = world.at(0);
        world.at(5);
        one.keep("x", began, &blobs());
        assert_eq!(other.believed("x"), Some((blobs(), began)));
        assert!(other.believed("n").is_none());
        world.at(29);
        assert!(other.believed("x").is_some());
        world.at(30);
        assert!(other.believed("x").is_none(), "Kopia's would be 35 s old");
        world.at(-1);
        assert!(other.believed("x").is_none(), "it is of the future");
    }

    #[test]
    fn a_listing_that_was_under_way_while_another_process_wrote_is_not_believed() {
        let world = World::new();
        let (one, other) = (world.process().lists, world.process().lists);
        let began = world.at(0);
        world.at(1);
        other.changed(&["xn0_b"]);
        world.at(2);
        one.keep("x", began, &blobs());
        assert!(one.believed("x").is_none() && other.believed("x").is_none());
        let began = world.at(3);
        one.keep("x", began, &blobs());
        assert!(other.believed("x").is_some());
        other.changed(&["p00112233"]);
        assert!(other.believed("x").is_some(), "packs are not listed");
    }

    #[test]
    fn one_who_cannot_write_down_his_change_does_not_miss_it_himself() {
        let world = World::new();
        let lists = world.process().lists;
        let began = world.at(0);
        lists.keep("x", began, &blobs());
        let copy = world.folder.path().join("copy");
        let kept = world.folder.path().join("blob-list");
        std::fs::rename(&kept, &copy).unwrap();
        // As if the folder took no writes: what was kept stays, the mark cannot be made.
        std::fs::remove_dir_all(world.folder.path().join("own-writes")).ok();
        std::fs::write(world.folder.path().join("own-writes"), "").unwrap();
        lists.changed(&["xn0_b"]);
        std::fs::rename(&copy, &kept).unwrap();
        world.at(1);
        assert!(lists.believed("x").is_none());
    }
}
