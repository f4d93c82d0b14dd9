//! Stretches of packs kept in memory: windows around small contents, whose neighbours are wanted next, and metadata packs
//! that a disk cache keeps whole. Bounded; each stretch is fetched once however many threads want it.

use std::{collections::HashMap, ops::Range, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::error::Result;

/// Kept in memory, in bytes, where packs come by windows: a data mover has little memory, and eight windows let it read
/// from as many packs in turn.
pub(super) const OF_WINDOWS: usize = 16 << 20;
/// Kept in memory, in bytes, where metadata packs come whole: two full ones and some.
pub(super) const OF_PACKS: usize = 48 << 20;

/// A pack, and where in it a kept stretch starts.
type Key = (Arc<str>, u64);
/// Empty until the first reader has fetched the stretch; others wait for it.
type Slot = Arc<Mutex<Option<Bytes>>>;

/// The stretches.
pub(super) struct PackCache {
    /// Most bytes that are kept.
    capacity: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    stretches: HashMap<Key, (u64, Slot)>,
    uses: u64,
}

impl PackCache {
    /// An empty one that keeps at most so many bytes, and always the newest stretch.
    pub fn of(capacity: usize) -> Self {
        Self {
            capacity,
            kept: Mutex::default(),
        }
    }

    /// The stretch of `pack` that starts at `start`, fetched if it is not here.
    pub fn get(&self, pack: &Arc<str>, start: u64, fetch: impl FnOnce() -> Result<Bytes>) -> Result<Bytes> {
        let key = (pack.clone(), start);
        let slot = self.kept.lock().slot(&key);
        let mut fetched = slot.lock();
        if let Some(bytes) = &*fetched {
            return Ok(bytes.clone());
        }
        let bytes = fetch()?;
        *fetched = Some(bytes.clone());
        drop(fetched);
        self.kept.lock().evict(self.capacity, &key);
        Ok(bytes)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.kept.lock().stretches.clear();
    }
}

impl Kept {
    fn slot(&mut self, key: &Key) -> Slot {
        self.uses += 1;
        let (used, slot) = self.stretches.entry(key.clone()).or_default();
        *used = self.uses;
        slot.clone()
    }

    /// Drops what was used longest ago until the rest fits; never `newest`, and nothing that is being fetched.
    fn evict(&mut self, capacity: usize, newest: &Key) {
        let size = |slot: &Slot| {
            slot.try_lock()
                .and_then(|s| s.as_ref().map(Bytes::len))
                .unwrap_or(0)
        };
        let mut total: usize = self.stretches.values().map(|(_, slot)| size(slot)).sum();
        while total > capacity {
            let others = self
                .stretches
                .iter()
                .filter(|(key, (_, slot))| *key != newest && size(slot) > 0);
            let oldest = others.min_by_key(|(_, (used, _))| *used);
            let Some((key, bytes)) = oldest.map(|(key, (_, slot))| (key.clone(), size(slot))) else {
                return;
            };
            self.stretches.remove(&key);
            total -= bytes;
        }
    }
}

/// The windows of `size` bytes that a stretch touches, each cut off at `end`.
pub(super) fn windows(stretch: Range<u64>, size: u64, end: u64) -> impl Iterator<Item = Range<u64>> {
    let (first, last) = (
        stretch.start / size,
        stretch.end.saturating_sub(1).max(stretch.start) / size,
    );
    (first..=last).map(move |n| n * size..((n + 1) * size).min(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_stretch_and_end_with_the_pack() {
        let all = |stretch, end| {
            windows(stretch, 10, end)
                .map(|w| (w.start, w.end))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(3..7, 100), [(0, 10)]);
        assert_eq!(all(3..10, 100), [(0, 10)]);
        assert_eq!(all(8..12, 15), [(0, 10), (10, 15)]);
        assert_eq!(all(20..30, 30), [(20, 30)]);
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_is_fetched_again() {
        let cache = PackCache::of(OF_PACKS);
        let pack: Arc<str> = "q1".into();
        let get = |start: u64| {
            let mut fetched = false;
            let fetch = || {
                fetched = true;
                Ok(Bytes::from(vec![0; 20 << 20]))
            };
            cache.get(&pack, start, fetch).unwrap();
            fetched
        };
        assert!(get(0) && get(1) && !get(0));
        assert!(get(2) && !get(0) && get(1));
    }
}
