//! Which pack holds which content (kopia-format.md 6.4, 6.5, 7). Neighbours: `v2.rs` and `v1.rs` (bytes of
//! an index blob), `table.rs` (one blob, read where it lies), `mapped.rs` (where that is, for a large one), `merged.rs`
//! (all of them together, as a reader sees them), `walk.rs` (their entries in order).

pub(crate) mod mapped;
pub mod merged;
mod table;
pub mod v1;
pub mod v2;
mod walk;

pub(crate) use table::Table;

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use crate::{content::id::ContentId, error::Result};

/// Where one content lies. Millions are kept as the bytes of their index blobs ([`merged::MergedIndex`]); this is one
/// taken out. Pack names are kept once in [`PackNames`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: ContentId,
    /// Set for a tombstone: the content was found unreferenced and will be dropped.
    pub deleted: bool,
    /// The repository's format version when it was written.
    pub format_version: u8,
    /// Compression header id (kopia-format.md 5.1), 0 for none.
    pub compression: u32,
    /// Unix seconds; a u32 lasts until 2106, which is also what index v2 stores.
    pub timestamp: u32,
    /// Index into [`PackNames`].
    pub pack: u32,
    /// Where the sealed segment starts in the pack, in bytes.
    pub pack_offset: u32,
    /// Bytes of the sealed segment.
    pub packed_length: u32,
    /// Bytes of the content itself.
    pub original_length: u32,
}

/// Pack names, each once; entries refer to them by number.
#[derive(Clone, Debug, Default)]
pub struct PackNames {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl PackNames {
    /// The number of `name`, new or not.
    pub fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("fewer than 2^32 packs");
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    /// How many there are; numbers are smaller.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name behind a number that this table gave.
    pub fn name(&self, number: u32) -> &Arc<str> {
        &self.names[number as usize]
    }
}

/// Which of two entries of one content counts (6.5): the newer; at equal seconds the live one; then the greater
/// pack name. `Greater` when `a` wins.
pub fn precedence(a: &Entry, b: &Entry, packs: &PackNames) -> Ordering {
    a.timestamp
        .cmp(&b.timestamp)
        .then_with(|| b.deleted.cmp(&a.deleted))
        .then_with(|| packs.name(a.pack).cmp(packs.name(b.pack)))
}

/// Decodes the plaintext of an index blob of either version, appending its entries in key order.
///
/// Errors: `Damaged` when lengths or counts contradict the bytes, `Unsupported` for other versions, key sizes
/// or encryption keys.
pub fn decode(bytes: &[u8], packs: &mut PackNames, entries: &mut Vec<Entry>) -> Result<()> {
    match bytes.first() {
        Some(1) => v1::decode(bytes, packs, entries),
        _ => v2::decode(bytes, packs, entries),
    }
}

/// The bytes of an index of `version` (1 or 2) with these entries, which are sorted by id and unique.
///
/// Errors: `Invalid` when the version cannot hold them, or there is none (an empty index is not written at all).
pub fn encode(version: u8, entries: &[Entry], packs: &PackNames) -> Result<Vec<u8>> {
    let length = entries.first().map_or(0, |first| first.id.key().len());
    if length == 0 || entries.iter().any(|entry| entry.id.key().len() != length) {
        return Err(crate::RepositoryError::invalid(
            "an index needs entries, and names of one length",
        ));
    }
    match version {
        1 => v1::encode(entries, packs),
        _ => v2::encode(entries, packs),
    }
}

/// Sorts entries by id and leaves the winner of each, by [`precedence`].
pub fn keep_winners(entries: &mut Vec<Entry>, packs: &PackNames) {
    entries.sort_unstable_by(|a, b| a.id.cmp(&b.id).then_with(|| precedence(b, a, packs)));
    entries.dedup_by_key(|entry| entry.id);
}

/// One index blob holds at most this many entries; more are divided by the hash of their names (7.4).
const MAX_SHARD: usize = 16_000_000;

/// The entries of each blob that an index of `entries` is written as.
pub(crate) fn shards(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let count = entries.len().div_ceil(MAX_SHARD);
    if count <= 1 {
        return vec![entries];
    }
    let mut shards = vec![Vec::new(); count];
    for entry in entries {
        let hash = fnv1a(entry.id.to_string().as_bytes()) as usize;
        shards[hash % count].push(entry);
    }
    shards.retain(|shard| !shard.is_empty());
    shards
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod kopia_tests;
#[cfg(test)]
mod tests;
