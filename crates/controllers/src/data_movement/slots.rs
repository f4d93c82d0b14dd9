//! How many data movers may run on this node at once, and who waits for one to end.
//!
//! Velero's load concurrency (`loadConcurrency` of the node agent's ConfigMap, default 1; velero-behaviour.md 5.7).
//! Uploads and downloads of one node agent share the slots. Fewer slots than are held take nothing from who holds one. Kept in memory: at start every running movement of the node takes its
//! slot again as it is observed. Who waits is woken in the order in which they came, so that nobody starves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::decide::{Direction, Slot};
use crate::reconcile::Key;

/// One movement in the eyes of the slots.
type Holder = (u8, Key);

/// The slots of one node agent.
#[derive(Debug)]
pub struct Slots {
    inner: Mutex<Inner>,
    /// Counts releases.
    released: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    limit: usize,
    held: BTreeSet<Holder>,
    /// Who waits, and as which one they came.
    waiting: BTreeMap<Holder, u64>,
    /// How many have ever come to wait.
    came: u64,
}

impl Inner {
    /// It waits, since now or since before.
    fn waits(&mut self, holder: Holder) {
        let came = &mut self.came;
        self.waiting.entry(holder).or_insert_with(|| {
            *came += 1;
            *came
        });
    }
}

impl Slots {
    /// Slots for this many data movers; none at all would stop everything, so it is at least one.
    pub fn new(limit: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                limit: limit.max(1),
                ..Inner::default()
            }),
            released: watch::Sender::new(0),
        }
    }

    /// Another number of slots, at least one; who waits is told when there are more.
    pub fn set_limit(&self, limit: usize) {
        let grown = {
            let mut inner = self.inner.lock();
            let before = std::mem::replace(&mut inner.limit, limit.max(1));
            inner.limit > before
        };
        if grown {
            self.released.send_modify(|count| *count += 1);
        }
    }

    /// Whether this movement could run; if not, it is remembered as waiting.
    pub fn look(&self, direction: Direction, key: &Key) -> Slot {
        let mut inner = self.inner.lock();
        let holder = holder(direction, key);
        if inner.held.contains(&holder) || inner.held.len() < inner.limit {
            return Slot::Free;
        }
        inner.waits(holder);
        Slot::Full
    }

    /// Takes a slot, or says that none is free.
    pub fn take(&self, direction: Direction, key: &Key) -> bool {
        let mut inner = self.inner.lock();
        let holder = holder(direction, key);
        if inner.held.contains(&holder) {
            return true;
        }
        if inner.held.len() >= inner.limit {
            inner.waits(holder);
            return false;
        }
        inner.waiting.remove(&holder);
        inner.held.insert(holder)
    }

    /// A movement that runs already holds its slot, even beyond the limit.
    pub fn hold(&self, direction: Direction, key: &Key) {
        self.inner.lock().held.insert(holder(direction, key));
    }

    /// Gives the slot back.
    pub fn release(&self, direction: Direction, key: &Key) {
        let holder = holder(direction, key);
        let was_held = {
            let mut inner = self.inner.lock();
            inner.waiting.remove(&holder);
            inner.held.remove(&holder)
        };
        if was_held {
            self.released.send_modify(|count| *count += 1);
        }
    }

    /// Those of this direction who wait, each time a slot is given back by anybody.
    pub fn freed(self: &Arc<Self>, direction: Direction) -> impl Stream<Item = Key> + Send + 'static {
        let state = (self.released.subscribe(), Arc::clone(self));
        stream::unfold(state, move |(mut released, slots)| async move {
            released.changed().await.ok()?;
            let ready = slots.ready(direction);
            Some((stream::iter(ready), (released, slots)))
        })
        .flatten()
    }

    /// Who waits in this direction while a slot is free: to be looked at again, whoever has waited longest first.
    fn ready(&self, direction: Direction) -> Vec<Key> {
        let inner = self.inner.lock();
        if inner.held.len() >= inner.limit {
            return Vec::new();
        }
        let mut waiting: Vec<(u64, &Key)> = inner
            .waiting
            .iter()
            .filter(|((kind, _), _)| *kind == direction as u8)
            .map(|((_, key), came)| (*came, key))
            .collect();
        waiting.sort();
        waiting.into_iter().map(|(_, key)| key.clone()).collect()
    }
}

fn holder(direction: Direction, key: &Key) -> Holder {
    (direction as u8, key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_movement_waits_until_the_first_has_ended() {
        let slots = Slots::new(1);
        let (a, b) = (Key::new("velero", "a"), Key::new("velero", "b"));
        assert!(slots.take(Direction::Upload, &a));
        assert_eq!(slots.look(Direction::Download, &b), Slot::Full);
        assert!(slots.ready(Direction::Download).is_empty());
        slots.release(Direction::Upload, &a);
        assert_eq!(slots.ready(Direction::Download), std::slice::from_ref(&b));
        assert!(slots.take(Direction::Download, &b));
    }

    #[tokio::test]
    async fn a_download_that_ends_wakes_the_upload_that_waits() {
        let slots = Arc::new(Slots::new(1));
        let (download, upload) = (Key::new("velero", "d"), Key::new("velero", "u"));
        slots.hold(Direction::Download, &download);
        let mut freed = Box::pin(slots.freed(Direction::Upload));
        assert!(!slots.take(Direction::Upload, &upload));
        slots.release(Direction::Download, &download);
        assert_eq!(freed.next().await, Some(upload));
    }

    #[tokio::test]
    async fn more_slots_wake_who_waits_and_fewer_take_nothing_away() {
        let slots = Arc::new(Slots::new(2));
        let [a, b, c] = ["a", "b", "c"].map(|name| Key::new("velero", name));
        assert!(slots.take(Direction::Upload, &a) && slots.take(Direction::Upload, &b));
        slots.set_limit(1);
        assert_eq!(slots.look(Direction::Upload, &a), Slot::Free, "it has its slot");
        assert!(!slots.take(Direction::Upload, &c));
        slots.release(Direction::Upload, &a);
        assert!(!slots.take(Direction::Upload, &c), "b fills the only one");
        let mut freed = Box::pin(slots.freed(Direction::Upload));
        slots.set_limit(2);
        assert_eq!(freed.next().await, Some(c));
    }

    #[test]
    fn whoever_has_waited_longest_is_woken_first_whatever_its_name() {
        let slots = Slots::new(1);
        let [a, b, c] = ["a", "b", "c"].map(|name| Key::new("velero", name));
        assert!(slots.take(Direction::Upload, &b));
        assert_eq!(slots.look(Direction::Upload, &c), Slot::Full);
        assert_eq!(slots.look(Direction::Upload, &a), Slot::Full);
        assert_eq!(slots.look(Direction::Upload, &c), Slot::Full, "asked again");
        slots.release(Direction::Upload, &b);
        assert_eq!(slots.ready(Direction::Upload), [c, a]);
    }

    #[test]
    fn a_movement_found_running_after_a_restart_holds_its_slot() {
        let slots = Slots::new(1);
        slots.hold(Direction::Upload, &Key::new("velero", "a"));
        assert_eq!(
            slots.look(Direction::Upload, &Key::new("velero", "b")),
            Slot::Full
        );
    }
}
