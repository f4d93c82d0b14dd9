//! Order of the keys: first come first served, no duplicates, one worker a key. No async, no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::time::Instant;

use super::Key;

/// Keys that wait, run, or come back later. Every rule of the work queue is here; `reconcile.rs` only drives it.
#[derive(Debug, Default)]
pub struct Queue {
    /// To be handed out, in order of arrival.
    ready: VecDeque<Key>,
    /// The keys of `ready`.
    waiting: BTreeSet<Key>,
    /// Handed out and not given back.
    running: BTreeSet<Key>,
    /// Reported again while running: handed out once more afterwards.
    again: BTreeSet<Key>,
    /// Come back at a time; the number keeps arrival order among equal times.
    later: BTreeMap<(Instant, u64), Key>,
    /// Where in `later` a key is.
    later_of: BTreeMap<Key, (Instant, u64)>,
    arrivals: u64,
    failures: BTreeMap<Key, u32>,
}

impl Queue {
    /// A watch reported `key`. A key that fails at the moment keeps its backoff only if nothing newer is known: new
    /// news are looked at at once.
    pub fn add(&mut self, key: Key) {
        if self.running.contains(&key) {
            self.again.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.forget_later(&key);
            self.ready.push_back(key);
        }
    }

    /// The next key to work on; it belongs to the caller until [`Queue::done`] or [`Queue::failed`].
    pub fn take(&mut self, now: Instant) -> Option<Key> {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.later_of.remove(&key);
            self.add(key);
        }
        let key = self.ready.pop_front()?;
        self.waiting.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    /// `key` succeeded; look at it again at `next`, if given, or when it is added.
    pub fn done(&mut self, key: &Key, next: Option<Instant>) {
        self.failures.remove(key);
        self.give_back(key, next);
    }

    /// `key` failed; look at it again at `next`, even if it was reported meanwhile (a failure that reports itself by
    /// a status write would else never back off).
    pub fn failed(&mut self, key: &Key, next: Instant) {
        *self.failures.entry(key.clone()).or_default() += 1;
        self.again.remove(key);
        self.give_back(key, Some(next));
    }

    /// How often `key` failed in a row.
    pub fn failures(&self, key: &Key) -> u32 {
        self.failures.get(key).copied().unwrap_or(0)
    }

    /// When [`Queue::take`] has something that it does not have now. `None`: nothing comes back by itself.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.later.first_key_value().map(|((at, _), _)| *at)
    }

    fn give_back(&mut self, key: &Key, next: Option<Instant>) {
        self.running.remove(key);
        if self.again.remove(key) {
            self.add(key.clone());
        } else if let Some(at) = next {
            self.arrivals += 1;
            self.forget_later(key);
            self.later.insert((at, self.arrivals), key.clone());
            self.later_of.insert(key.clone(), (at, self.arrivals));
        }
    }

    fn forget_later(&mut self, key: &Key) {
        if let Some(at) = self.later_of.remove(key) {
            self.later.remove(&at);
        }
    }
}
