//! How many movements of the whole cluster may be exposed without running yet (`loadConcurrency.prepareQueueLength`).
//!
//! An Accepted or Prepared movement carries the label `velero.io/expose-on-going` and has its volume, snapshot and pod
//! already; with many volumes and few nodes those would be there for hours. Each agent knows by its watches who carries
//! the label; before it accepts one it asks the API server. Those who ask at the same moment (four an
//! agent) do not see each other and may together go beyond the length by as many as they are. Who waits is woken in the order of creation, as many as there is room.
//! Source: Velero v1.18.3 `pkg/exposer/vgdp_counter.go` (it looks again every 5 seconds).

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::decide::Direction;
use crate::reconcile::Key;

/// One movement in the eyes of the queue.
type Holder = (u8, Key);

/// What one node agent knows of the queue.
#[derive(Debug)]
pub struct PrepareQueue {
    inner: Mutex<Inner>,
    /// Counts the moments in which there may have come room.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    limit: Option<usize>,
    /// Who is in the queue, as far as the watches have told.
    members: BTreeSet<Holder>,
    /// Who waits for a place, the oldest first.
    waiting: BTreeSet<(Timestamp, Holder)>,
}

impl Inner {
    fn room(&self) -> usize {
        self.limit
            .map_or(usize::MAX, |limit| limit.saturating_sub(self.members.len()))
    }
}

impl Default for PrepareQueue {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl PrepareQueue {
    /// How long it may be; None: as long as it likes.
    pub fn limit(&self) -> Option<usize> {
        self.inner.lock().limit
    }

    /// Another length.
    pub fn set_limit(&self, limit: Option<usize>) {
        self.change(|inner| {
            let has_changed = inner.limit != limit;
            inner.limit = limit;
            has_changed
        });
    }

    /// Whether there is room, as far as the watches have told.
    pub fn has_room(&self) -> bool {
        self.inner.lock().room() > 0
    }

    /// This movement waits for a place.
    pub fn wait(&self, created: Timestamp, direction: Direction, key: &Key) {
        self.inner
            .lock()
            .waiting
            .insert((created, holder(direction, key)));
    }

    /// A watch has shown a movement; `is_member`: it carries the label.
    pub fn seen(&self, direction: Direction, key: &Key, is_member: bool) {
        let holder = holder(direction, key);
        self.change(|inner| {
            if is_member {
                inner.waiting.retain(|(_, waiting)| *waiting != holder);
                inner.members.insert(holder);
                return false;
            }
            inner.members.remove(&holder)
        });
    }

    /// A movement has ended, or is gone.
    pub fn forget(&self, direction: Direction, key: &Key) {
        let holder = holder(direction, key);
        self.change(|inner| {
            let before = inner.waiting.len();
            inner.waiting.retain(|(_, waiting)| *waiting != holder);
            inner.members.remove(&holder) || inner.waiting.len() < before
        });
    }

    /// Those of this direction who wait and would have room, each time there may be some.
    pub fn freed(self: &Arc<Self>, direction: Direction) -> impl Stream<Item = Key> + Send + 'static {
        let state = (self.changed.subscribe(), Arc::clone(self));
        stream::unfold(state, move |(mut changed, queue)| async move {
            changed.changed().await.ok()?;
            let next = queue.next(direction);
            Some((stream::iter(next), (changed, queue)))
        })
        .flatten()
    }

    fn next(&self, direction: Direction) -> Vec<Key> {
        let inner = self.inner.lock();
        let first = inner.waiting.iter().take(inner.room());
        first
            .filter(|(_, (kind, _))| *kind == direction as u8)
            .map(|(_, (_, key))| key.clone())
            .collect()
    }

    /// Changes something; when that may have made room for somebody, they are told.
    fn change(&self, change: impl FnOnce(&mut Inner) -> bool) {
        let may_be_room = {
            let mut inner = self.inner.lock();
            change(&mut inner) && !inner.waiting.is_empty() && inner.room() > 0
        };
        if may_be_room {
            self.changed.send_modify(|count| *count += 1);
        }
    }
}

fn holder(direction: Direction, key: &Key) -> Holder {
    (direction as u8, key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPLOAD: Direction = Direction::Upload;

    fn key(name: &str) -> Key {
        Key::new("velero", name)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn queue(limit: usize) -> Arc<PrepareQueue> {
        let queue = Arc::new(PrepareQueue::default());
        queue.set_limit(Some(limit));
        queue
    }

    #[tokio::test]
    async fn whoever_has_waited_longest_is_woken_when_another_one_starts() {
        let queue = queue(1);
        let mut uploads = Box::pin(queue.freed(UPLOAD));
        queue.seen(Direction::Download, &key("d"), true);
        assert!(!queue.has_room());
        queue.wait(at(2), UPLOAD, &key("a"));
        queue.wait(at(1), UPLOAD, &key("b"));
        queue.seen(Direction::Download, &key("d"), false);
        assert_eq!(uploads.next().await, Some(key("b")));
        assert_eq!(queue.next(UPLOAD), [key("b")], "there is one place");
    }

    #[tokio::test]
    async fn a_longer_queue_wakes_as_many_as_fit() {
        let queue = queue(1);
        queue.seen(UPLOAD, &key("x"), true);
        for (second, name) in [(1, "a"), (2, "b"), (3, "c")] {
            queue.wait(at(second), UPLOAD, &key(name));
        }
        assert!(queue.next(UPLOAD).is_empty());
        queue.set_limit(Some(3));
        assert_eq!(queue.next(UPLOAD), [key("a"), key("b")]);
        queue.set_limit(None);
        assert_eq!(queue.next(UPLOAD).len(), 3);
    }

    #[test]
    fn progress_of_those_who_run_wakes_nobody() {
        let queue = queue(1);
        queue.seen(UPLOAD, &key("x"), true);
        queue.wait(at(1), UPLOAD, &key("a"));
        let before = *queue.changed.borrow();
        queue.seen(UPLOAD, &key("runs"), false);
        assert_eq!(*queue.changed.borrow(), before);
        queue.seen(UPLOAD, &key("x"), false);
        assert_eq!(*queue.changed.borrow(), before + 1);
    }

    #[test]
    fn somebody_who_waited_and_is_gone_makes_room_for_the_next() {
        let queue = queue(1);
        queue.wait(at(1), UPLOAD, &key("a"));
        queue.wait(at(2), UPLOAD, &key("b"));
        queue.forget(UPLOAD, &key("a"));
        assert_eq!(queue.next(UPLOAD), [key("b")]);
    }
}
