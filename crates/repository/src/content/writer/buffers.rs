//! Memory in which the pieces of long objects are put together, used again and again: pieces have up to 8 MiB, and every
//! long file would else ask the allocator for that, several times while it grows.

use parking_lot::Mutex;

/// Longer than this, a piece gets memory for the longest that there is.
pub(crate) const LONG: usize = 1 << 20;
/// What is not in use and kept: one each for as many threads as usually write.
const SPARE: usize = 4;

/// The memory that nobody uses now.
#[derive(Default)]
pub(crate) struct LongBuffers(Mutex<Vec<Vec<u8>>>);

impl LongBuffers {
    /// An empty one, of at least `capacity` bytes.
    pub fn take(&self, capacity: usize) -> Vec<u8> {
        let mut buffer = self.0.lock().pop().unwrap_or_default();
        buffer.reserve_exact(capacity);
        buffer
    }

    /// Takes it back, if it is one of these.
    pub fn give_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= LONG {
            return;
        }
        buffer.clear();
        let mut spare = self.0.lock();
        if spare.len() < SPARE {
            spare.push(buffer);
        }
    }
}
