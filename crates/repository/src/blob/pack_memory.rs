//! The memory of data packs while they are filled and sent: so many packs and no more, each used again for a later one.
//! Neighbour: `upload.rs`, which sends them.
//!
//! A pack is some 20 MiB and at most 3 more. Asking the allocator for each costs more than the encryption of its bytes
//! (the kernel clears every page), and an allocator that keeps what was given back holds several at once.

use std::{
    mem,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

/// Data packs in memory at the same time: one that is sent while the other is filled, or both on their way. Filling one
/// takes some 20 ms, sending one to a bucket ten times that, so a third would hide little and cost 23 MiB.
const PACKS: usize = 2;
/// A pack longer than this will become a full one.
const LONG: usize = 1 << 20;

/// Where the data packs of one writer get their memory.
#[derive(Default)]
pub(super) struct PackMemories(Arc<Shared>);

#[derive(Default)]
struct Shared {
    room: Mutex<Room>,
    given_back: Condvar,
}

#[derive(Default)]
struct Room {
    taken: usize,
    spare: Vec<Vec<u8>>,
}

impl PackMemories {
    /// Memory for one more pack. Where it `may_wait`, it waits until there are fewer than [`PACKS`].
    pub fn take(&self, may_wait: bool) -> PackMemory {
        let mut room = self.0.room.lock();
        while may_wait && room.taken >= PACKS {
            self.0.given_back.wait(&mut room);
        }
        room.taken += 1;
        PackMemory {
            bytes: room.spare.pop().unwrap_or_default(),
            of: Some(self.0.clone()),
        }
    }
}

/// The bytes of one pack. Dropping it makes room for the next.
#[derive(Default)]
pub struct PackMemory {
    bytes: Vec<u8>,
    /// None: of a metadata pack, which is short most of the time and not counted.
    of: Option<Arc<Shared>>,
}

impl PackMemory {
    /// Makes room for `more` bytes in a pack that has `full` bytes in the end: all at once as soon as it is clear that
    /// it will be a full one, since growing by doubling would need the memory twice.
    pub fn make_room(&mut self, more: usize, full: usize) {
        if self.bytes.len() + more > LONG && self.bytes.capacity() < full {
            self.bytes.reserve_exact(full.saturating_sub(self.bytes.len()));
        }
    }

    /// Lends the bytes to `put`, and gives the memory back when it is done.
    pub(super) fn lend<T>(mut self, put: impl FnOnce(Bytes) -> T) -> T {
        let bytes = Bytes::from(mem::take(&mut self.bytes));
        let mut kept = bytes.clone();
        let done = put(bytes);
        // A storage may have kept the bytes themselves, as the one in memory does.
        if kept.is_unique() {
            kept.clear();
            self.bytes = Vec::from(kept);
        }
        done
    }
}

impl Deref for PackMemory {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for PackMemory {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for PackMemory {
    fn drop(&mut self) {
        let Some(shared) = self.of.take() else {
            return;
        };
        let mut bytes = mem::take(&mut self.bytes);
        let mut room = shared.room.lock();
        room.taken -= 1;
        if bytes.capacity() > LONG {
            bytes.clear();
            room.spare.push(bytes);
        }
        shared.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_next_pack_gets_the_memory_of_one_that_was_sent() {
        let memories = PackMemories::default();
        let mut first = memories.take(true);
        first.make_room(LONG, 4 * LONG);
        first.resize(3 * LONG, 7);
        let place = first.as_ptr();
        let length = first.lend(|bytes| bytes.len());
        assert_eq!(length, 3 * LONG);
        let second = memories.take(true);
        assert!(second.is_empty() && second.as_ptr() == place);
    }

    #[test]
    fn bytes_that_a_storage_keeps_are_not_written_over() {
        let memories = PackMemories::default();
        let mut first = memories.take(true);
        first.resize(2 * LONG, 7);
        let kept = first.lend(|bytes| bytes);
        let mut second = memories.take(true);
        second.resize(2 * LONG, 8);
        assert!(kept.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn one_pack_too_many_waits_for_another_to_go() {
        let memories = PackMemories::default();
        let mut taken: Vec<_> = (0..PACKS).map(|_| memories.take(true)).collect();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| memories.take(true).len());
            assert!(memories.0.room.lock().taken >= PACKS);
            drop(taken.pop());
            assert_eq!(waiting.join().unwrap(), 0);
        });
        assert_eq!(memories.0.room.lock().taken, PACKS - 1);
        // Where nobody else could give one back, nothing waits.
        let more: Vec<_> = (0..PACKS).map(|_| memories.take(false)).collect();
        assert_eq!(more.len(), PACKS);
    }
}
