//! Keys waiting to be looked at, each at most once; some not before a moment.
//!
//! As `k8s.io/client-go` v0.34 `util/workqueue`, for one worker.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The first wait after a failure; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A work queue for one worker.
pub struct Queue<K> {
    inner: Mutex<Inner<K>>,
    added: Notify,
}

struct Inner<K> {
    ready: VecDeque<K>,
    waiting: BTreeSet<K>,
    /// Keys by the moment they are due; the number keeps those of one moment in order.
    later: BTreeMap<(Instant, u64), K>,
    /// Where a key is in `later`; each is there once, at its earliest.
    places: BTreeMap<K, (Instant, u64)>,
    count: u64,
    failures: BTreeMap<K, u32>,
}

impl<K: Ord + Clone> Queue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                ready: VecDeque::new(),
                waiting: BTreeSet::new(),
                later: BTreeMap::new(),
                places: BTreeMap::new(),
                count: 0,
                failures: BTreeMap::new(),
            }),
            added: Notify::new(),
        }
    }

    /// Adds a key, unless it waits already.
    pub fn add(&self, key: K) {
        self.inner.lock().add(key);
        self.added.notify_one();
    }

    /// Adds a key when this time has passed, or earlier if it was to come earlier.
    pub fn add_after(&self, key: K, wait: Duration) {
        self.inner.lock().add_at(key, Instant::now() + wait);
        self.added.notify_one();
    }

    /// Adds a key that failed, later each time; the wait.
    pub fn retry(&self, key: K) -> Duration {
        let failures = {
            let mut inner = self.inner.lock();
            let failures = inner.failures.entry(key.clone()).or_insert(0);
            *failures += 1;
            *failures
        };
        let wait = FIRST_WAIT
            .saturating_mul(1 << failures.saturating_sub(1).min(20))
            .min(LONGEST_WAIT);
        self.add_after(key, wait);
        wait
    }

    /// The key did not fail: its next failure waits shortly again.
    pub fn succeeded(&self, key: &K) {
        self.inner.lock().failures.remove(key);
    }

    /// The next key, when there is one.
    pub async fn next(&self) -> K {
        loop {
            let added = self.added.notified();
            let due = {
                let mut inner = self.inner.lock();
                inner.promote(Instant::now());
                if let Some(key) = inner.ready.pop_front() {
                    inner.waiting.remove(&key);
                    return key;
                }
                inner.later.first_key_value().map(|((due, _), _)| *due)
            };
            match due {
                Some(due) => {
                    tokio::select! {
                        biased;
                        () = added => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
                None => added.await,
            }
        }
    }
}

impl<K: Ord + Clone> Inner<K> {
    fn add(&mut self, key: K) {
        if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn add_at(&mut self, key: K, due: Instant) {
        if let Some(place) = self.places.get(&key).copied() {
            if place.0 <= due {
                return;
            }
            self.later.remove(&place);
        }
        self.count += 1;
        let place = (due, self.count);
        self.places.insert(key.clone(), place);
        self.later.insert(place, key);
    }

    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry()
            && entry.key().0 <= now
        {
            let key = entry.remove();
            self.places.remove(&key);
            self.add(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_added_twice_is_looked_at_once() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("b");
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        assert_eq!(queue.next().await, "b");
        let third = tokio::time::timeout(Duration::from_secs(60), queue.next()).await;
        assert!(third.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_comes_once_and_at_its_earliest() {
        let queue = Queue::new();
        let begun = Instant::now();
        queue.add_after("a", Duration::from_secs(9));
        queue.add_after("a", Duration::from_secs(3));
        queue.add_after("a", Duration::from_secs(6));
        queue.next().await;
        assert_eq!(begun.elapsed().as_secs(), 3);
        let again = tokio::time::timeout(Duration::from_secs(60), queue.next()).await;
        assert!(again.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_keeps_failing_waits_longer_each_time() {
        let queue = Queue::new();
        let waits: Vec<_> = (0..4).map(|_| queue.retry("a").as_millis()).collect();
        assert_eq!(waits, [5, 10, 20, 40]);
        queue.succeeded(&"a");
        assert_eq!(queue.retry("a").as_millis(), 5);
    }
}
