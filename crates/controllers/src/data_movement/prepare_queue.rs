//! What one node agent knows of the movements in preparation (`loadConcurrency.prepareQueueLength`).
//!
//! A movement in preparation has its volume, snapshot and pod already and does not run yet; with many volumes and few
//! nodes those would be there for hours. Who has a place says so in the label `velero.io/expose-on-going`. What is here
//! comes from watches, is always a little late, and decides only who tries, and when: in the order of creation, as many
//! as there seems to be room. That there are never more than the length is `place.rs`.
//! Source: Velero v1.18.3 `pkg/exposer/vgdp_counter.go` (it looks again every 5 seconds, and may go beyond the length by
//! as many as there are nodes: design `node-agent-load-soothing.md`).

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::decide::Direction;
use crate::reconcile::Key;

/// One movement in the eyes of the queue.
pub(super) type Holder = (u8, Key);

/// What one node agent knows of the queue.
#[derive(Debug)]
pub struct PrepareQueue {
    inner: Mutex<Inner>,
    /// Counts the moments in which somebody should look again.
    changed: watch::Sender<u64>,
}

/// What became of the write that reserves a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The API server has it.
    Reserved,
    /// Somebody else has changed the object meanwhile.
    Overtaken,
    /// Refused, or without an answer.
    Failed,
}

/// What may come of a change.
enum Change {
    Nothing,
    /// There is one more who has a place.
    Joined,
    /// There may be room.
    Left,
}

#[derive(Debug, Default)]
struct Inner {
    limit: Option<usize>,
    /// Who has a place, as far as the watches have told.
    members: BTreeSet<Holder>,
    /// Who waits for a place, the oldest first.
    waiting: BTreeSet<(Timestamp, Holder)>,
    /// Those of the waiting that are about to reserve one, in this agent.
    trying: BTreeSet<Holder>,
    /// Who has reserved one and waits for others to step back.
    contending: BTreeSet<Holder>,
}

impl Inner {
    fn room(&self) -> usize {
        let taken = self.members.union(&self.trying).count();
        self.limit.map_or(usize::MAX, |limit| limit.saturating_sub(taken))
    }

    /// Neither waits nor tries any more; whether it did.
    fn leaves_the_line(&mut self, holder: &Holder) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|(_, waiting)| waiting != holder);
        self.trying.remove(holder) || self.waiting.len() < before
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
            if has_changed {
                Change::Left
            } else {
                Change::Nothing
            }
        });
    }

    /// Whether this movement's turn has come to try for a place: there is more room than older ones that wait. Until
    /// then, and until [`attempted`](Self::attempted), it is remembered as waiting.
    pub fn ask(&self, created: Timestamp, direction: Direction, key: &Key) -> bool {
        let mut inner = self.inner.lock();
        let holder = holder(direction, key);
        let waits = (created, holder.clone());
        inner.waiting.insert(waits.clone());
        if inner.trying.contains(&holder) {
            return true;
        }
        let older = inner.waiting.range(..waits);
        let ahead = older.filter(|(_, older)| !inner.trying.contains(older)).count();
        ahead < inner.room() && inner.trying.insert(holder)
    }

    /// There was no room after all: it goes on waiting.
    pub fn was_full(&self, direction: Direction, key: &Key) {
        self.inner.lock().trying.remove(&holder(direction, key));
    }

    /// What became of its try. Who failed comes back by itself and keeps nobody waiting until then.
    pub fn attempted(&self, direction: Direction, key: &Key, attempt: Attempt) {
        match attempt {
            Attempt::Reserved => self.seen(direction, key, true),
            Attempt::Overtaken => self.was_full(direction, key),
            Attempt::Failed => self.leave(direction, key),
        }
    }

    /// This movement waits for no place (any more).
    pub fn leave(&self, direction: Direction, key: &Key) {
        let holder = holder(direction, key);
        self.change(|inner| {
            if inner.leaves_the_line(&holder) {
                Change::Left
            } else {
                Change::Nothing
            }
        });
    }

    /// This movement has reserved a place and is to be looked at whenever another one comes or goes; `false`: no more.
    pub fn contends(&self, direction: Direction, key: &Key, contends: bool) {
        let holder = holder(direction, key);
        let mut inner = self.inner.lock();
        if contends {
            inner.contending.insert(holder);
        } else {
            inner.contending.remove(&holder);
        }
    }

    /// A watch has shown a movement; `is_member`: it has a place.
    pub fn seen(&self, direction: Direction, key: &Key, is_member: bool) {
        let holder = holder(direction, key);
        self.change(|inner| {
            if is_member {
                inner.leaves_the_line(&holder);
                if inner.members.insert(holder) {
                    return Change::Joined;
                }
            } else if inner.members.remove(&holder) {
                inner.contending.remove(&holder);
                return Change::Left;
            }
            Change::Nothing
        });
    }

    /// A movement has ended, or is gone.
    pub fn forget(&self, direction: Direction, key: &Key) {
        let holder = holder(direction, key);
        self.change(|inner| {
            let waited = inner.leaves_the_line(&holder);
            inner.contending.remove(&holder);
            if inner.members.remove(&holder) || waited {
                Change::Left
            } else {
                Change::Nothing
            }
        });
    }

    /// Those of this direction who should look again, each time there may be a reason.
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
        let waiting = inner.waiting.iter().map(|(_, holder)| holder);
        let first = waiting
            .filter(|holder| !inner.trying.contains(holder))
            .take(inner.room());
        let all = inner.contending.iter().chain(first);
        all.filter(|(kind, _)| *kind == direction as u8)
            .map(|(_, key)| key.clone())
            .collect()
    }

    /// Changes something; those who should look again are told.
    fn change(&self, change: impl FnOnce(&mut Inner) -> Change) {
        let is_news = {
            let mut inner = self.inner.lock();
            match change(&mut inner) {
                Change::Nothing => false,
                Change::Joined => !inner.contending.is_empty(),
                Change::Left => {
                    !inner.contending.is_empty() || (!inner.waiting.is_empty() && inner.room() > 0)
                }
            }
        };
        if is_news {
            self.changed.send_modify(|count| *count += 1);
        }
    }
}

pub(super) fn holder(direction: Direction, key: &Key) -> Holder {
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
        assert!(!queue.ask(at(2), UPLOAD, &key("a")));
        assert!(!queue.ask(at(1), UPLOAD, &key("b")));
        queue.seen(Direction::Download, &key("d"), false);
        assert_eq!(uploads.next().await, Some(key("b")));
        assert_eq!(queue.next(UPLOAD), [key("b")], "there is one place");
    }

    #[tokio::test]
    async fn a_longer_queue_wakes_as_many_as_fit() {
        let queue = queue(1);
        queue.seen(UPLOAD, &key("x"), true);
        for (second, name) in [(1, "a"), (2, "b"), (3, "c")] {
            assert!(!queue.ask(at(second), UPLOAD, &key(name)));
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
        assert!(!queue.ask(at(1), UPLOAD, &key("a")));
        let before = *queue.changed.borrow();
        queue.seen(UPLOAD, &key("runs"), false);
        queue.seen(UPLOAD, &key("x"), true);
        assert_eq!(*queue.changed.borrow(), before);
        queue.seen(UPLOAD, &key("x"), false);
        assert_eq!(*queue.changed.borrow(), before + 1);
    }

    #[test]
    fn somebody_who_waited_and_is_gone_makes_room_for_the_next() {
        let queue = queue(1);
        queue.seen(UPLOAD, &key("x"), true);
        assert!(!queue.ask(at(1), UPLOAD, &key("a")));
        assert!(!queue.ask(at(2), UPLOAD, &key("b")));
        queue.seen(UPLOAD, &key("x"), false);
        assert!(!queue.ask(at(2), UPLOAD, &key("b")), "a was there before");
        queue.forget(UPLOAD, &key("a"));
        assert_eq!(queue.next(UPLOAD), [key("b")]);
        assert!(queue.ask(at(2), UPLOAD, &key("b")));
    }

    #[test]
    fn workers_of_one_agent_do_not_try_for_the_same_place() {
        let queue = queue(2);
        queue.seen(UPLOAD, &key("x"), true);
        assert!(queue.ask(at(1), UPLOAD, &key("a")));
        assert!(
            !queue.ask(at(2), UPLOAD, &key("b")),
            "a is about to take the last one"
        );
        assert!(queue.ask(at(1), UPLOAD, &key("a")), "asked again");
        queue.was_full(UPLOAD, &key("a"));
        assert!(!queue.ask(at(2), UPLOAD, &key("b")), "a still waits before it");
        queue.attempted(UPLOAD, &key("a"), Attempt::Failed);
        assert!(
            queue.ask(at(2), UPLOAD, &key("b")),
            "an error keeps nobody waiting"
        );
        queue.attempted(UPLOAD, &key("b"), Attempt::Reserved);
        assert!(!queue.ask(at(1), UPLOAD, &key("a")));
    }

    #[test]
    fn whoever_has_reserved_a_place_looks_again_when_another_comes_or_goes() {
        let queue = queue(1);
        queue.attempted(UPLOAD, &key("a"), Attempt::Reserved);
        queue.contends(UPLOAD, &key("a"), true);
        let before = *queue.changed.borrow();
        queue.seen(Direction::Download, &key("b"), true);
        assert_eq!(*queue.changed.borrow(), before + 1);
        assert_eq!(queue.next(UPLOAD), [key("a")]);
        queue.seen(Direction::Download, &key("b"), false);
        assert_eq!(*queue.changed.borrow(), before + 2);
        queue.contends(UPLOAD, &key("a"), false);
        assert!(queue.next(UPLOAD).is_empty());
    }
}
