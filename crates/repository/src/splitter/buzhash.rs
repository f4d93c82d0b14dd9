//! Kopia's `buzhash32` (kopia-format.md 4.2): the last 64 bytes, each byte's word rotated by its age.
//! Neighbour: `mod.rs`, which owns the window and rolls what is too short for this.
//!
//! The plain loop looks every byte up twice, entering and leaving, and each step waits for the one before. In a
//! long slice there is a shorter way. Let nothing leave: the running hash of all bytes so far. After 64 bytes a
//! 32-bit word has turned twice, so what has left lies in the running hash as it lay 64 bytes earlier, and the
//! hash of the window is the exclusive or of the two. The running hash takes one look-up a byte, and comparing
//! it with itself is a second loop, without a branch, that the compiler makes four words wide.

use std::array;

use super::{Splitter, WINDOW, table::TABLE};

/// Bytes hashed between two turns of the running hash.
const GROUP: usize = 8;
/// How many groups back the running hash is compared with.
const LAG: usize = WINDOW / GROUP;
/// Groups hashed before they are compared: a few KiB of hashes, which stay in the first cache.
const STEP: usize = 64;

/// The running hash after each byte of a group; the one at `n` has still to be rotated left by `n`.
type Hashes = [u32; GROUP];

/// The hash after `entering` has followed and `leaving` has left.
#[inline]
pub(super) fn roll(hash: u64, leaving: u8, entering: u8) -> u64 {
    let hash = (hash as u32).rotate_left(1);
    (hash ^ TABLE[leaving as usize] ^ TABLE[entering as usize]).into()
}

impl Splitter {
    /// [`Splitter::next_cut`] of a buzhash. Rolls until a cut is allowed and `data` holds a whole window, scans
    /// the bulk, and rolls the few bytes that remain; so nothing else knows of the scan.
    pub(super) fn next_buzhash_cut(&mut self, data: &[u8], average: usize) -> Option<usize> {
        let (min, max, mask) = (average / 2, 2 * average, average as u32 - 1);
        let lead = (min - 1).saturating_sub(self.count).max(WINDOW);
        // Warming up costs a window: not for what is hardly longer.
        let lead = if data.len() < lead + 2 * WINDOW {
            data.len()
        } else {
            lead
        };
        let cut = self.next_rolling_cut(&data[..lead], average, roll);
        if cut.is_some() || lead == data.len() {
            return cut;
        }
        // The byte that reaches the maximum is left to the rolling: it cuts whatever the hash.
        let bulk = (data.len() - lead).min(max - 1 - self.count) / GROUP * GROUP;
        let found = first_match(&data[lead - WINDOW..lead + bulk], mask);
        let at = lead + found.unwrap_or(bulk);
        self.refill(&data[lead..at], &roll);
        if found.is_some() {
            self.count = 0;
            return Some(at);
        }
        self.count += bulk;
        let cut = self.next_rolling_cut(&data[at..], average, roll)?;
        Some(at + cut)
    }
}

/// How many bytes after the first [`WINDOW`] the first window ends whose hash is 0 under `mask`. The first
/// window itself is not asked, nor are bytes after the last whole group.
fn first_match(data: &[u8], mask: u32) -> Option<usize> {
    let (first_window, rest) = data.as_chunks().0.split_at(LAG);
    let mut hashes = [[0; GROUP]; LAG + STEP];
    let mut running = run(0, first_window, &mut hashes[STEP..]);
    for (step, groups) in rest.chunks(STEP).enumerate() {
        hashes.copy_within(STEP.., 0);
        running = run(running, groups, &mut hashes[LAG..]);
        if let Some(found) = first_zero(&hashes[..LAG + groups.len()], mask) {
            return Some(step * STEP * GROUP + found + 1);
        }
    }
    None
}

/// Writes the running hashes after each byte, and gives the last. Only one rotation and one exclusive or a group
/// wait for the group before: inside it, each byte's word is turned back instead of the hash forth.
fn run(mut running: u32, groups: &[[u8; GROUP]], hashes: &mut [Hashes]) -> u32 {
    for (bytes, hashes) in groups.iter().zip(hashes) {
        let before = running.rotate_left(GROUP as u32);
        let mut own = 0;
        for at in 0..GROUP {
            own ^= TABLE[bytes[at] as usize].rotate_right(at as u32);
            hashes[at] = before ^ own;
        }
        running = hashes[GROUP - 1];
    }
    running
}

/// The first byte after the [`LAG`] groups at which the window's hash is 0 under `mask`.
fn first_zero(hashes: &[Hashes], mask: u32) -> Option<usize> {
    // The mask is turned back once in place of every hash forth.
    let masks: Hashes = array::from_fn(|at| mask.rotate_right(at as u32));
    let pairs = || hashes[LAG..].iter().zip(hashes);
    let is_zero = |new: &Hashes, old: &Hashes, at: usize| (new[at] ^ old[at]) & masks[at] == 0;
    let mut seen = [false; GROUP];
    for (new, old) in pairs() {
        for (at, seen) in seen.iter_mut().enumerate() {
            *seen |= is_zero(new, old, at);
        }
    }
    if !seen.contains(&true) {
        return None;
    }
    // Rare: one byte in `mask`, about.
    pairs()
        .flat_map(|(new, old)| (0..GROUP).map(move |at| is_zero(new, old, at)))
        .position(|zero| zero)
}
