//! How many repositories are maintained at once, and whose turn it is.
//!
//! Velero's worker waits for its Job, so there is one at a time in the cluster; each is a pod with the index of its
//! repository in memory. Here it is [`AT_ONCE`], and who has been due for the longest time comes first. What a user asks for
//! does not wait for others.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::reconcile::Key;

/// Maintenance Jobs of all repositories that are at work side by side.
pub(in super::super) const AT_ONCE: usize = 2;
/// One that was not looked at for so long does not keep its turn: it is gone, or its looks fail.
const KEPT_FOR: SignedDuration = SignedDuration::from_mins(2);

/// Those that are due and wait for others.
#[derive(Debug, Default)]
pub(in super::super) struct Turns(Mutex<BTreeMap<Key, Waiting>>);

#[derive(Clone, Copy, Debug)]
struct Waiting {
    due: Timestamp,
    seen: Timestamp,
}

impl Turns {
    /// This one is due since then, and was looked at now. True: it has not waited before.
    pub fn join(&self, key: &Key, due: Timestamp, now: Timestamp) -> bool {
        let waiting = Waiting { due, seen: now };
        self.0.lock().insert(key.clone(), waiting).is_none()
    }

    /// It begins, or need not any more.
    pub fn leave(&self, key: &Key) {
        self.0.lock().remove(key);
    }

    /// The first so many, in the order in which they became due; by name where that is the same.
    pub fn first(&self, count: usize, now: Timestamp) -> Vec<Key> {
        let all = self.0.lock();
        let mut waiting: Vec<_> = all
            .iter()
            .filter(|(_, waiting)| now.duration_since(waiting.seen) <= KEPT_FOR)
            .map(|(key, waiting)| (waiting.due, key.clone()))
            .collect();
        drop(all);
        waiting.sort();
        waiting.truncate(count);
        waiting.into_iter().map(|(_, key)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    fn key(name: &str) -> Key {
        Key::new("velero", name)
    }

    #[test]
    fn who_has_been_due_for_the_longest_time_comes_first() {
        let turns = Turns::default();
        assert!(turns.join(&key("a"), at(9), at(10)));
        assert!(turns.join(&key("b"), at(1), at(10)));
        assert!(turns.join(&key("c"), at(5), at(10)));
        assert!(!turns.join(&key("b"), at(1), at(10)));
        assert_eq!(turns.first(2, at(10)), [key("b"), key("c")]);
        turns.leave(&key("b"));
        assert_eq!(turns.first(2, at(10)), [key("c"), key("a")]);
        assert!(turns.first(0, at(10)).is_empty());
    }

    #[test]
    fn one_that_is_not_looked_at_any_more_is_in_nobodys_way() {
        let turns = Turns::default();
        turns.join(&key("gone"), at(0), at(0));
        turns.join(&key("here"), at(1), at(3));
        assert_eq!(turns.first(1, at(3)), [key("here")]);
    }
}
