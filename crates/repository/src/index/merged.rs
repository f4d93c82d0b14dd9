//! All index blobs together: one sorted list, the winning entry of each content, tombstones under the
//! watermark gone (kopia-format.md 6.5, 7.6).

use std::collections::BTreeSet;

use super::{Entry, PackNames, precedence};
use crate::content::id::ContentId;

/// The committed contents as of one reading of the index blobs.
#[derive(Debug, Default)]
pub struct MergedIndex {
    entries: Vec<Entry>,
    packs: PackNames,
    /// Unix seconds; tombstones up to it no longer count, their packs may be gone.
    watermark: i64,
    blobs: BTreeSet<String>,
    /// By pack number: where the last content of the pack ends.
    pack_ends: Vec<u32>,
}

impl MergedIndex {
    /// Merges `entries` (any order, any duplicates) read from `blobs`.
    pub fn new(mut entries: Vec<Entry>, packs: PackNames, watermark: i64, blobs: BTreeSet<String>) -> Self {
        entries.sort_unstable_by(|a, b| a.id.cmp(&b.id).then_with(|| precedence(b, a, &packs)));
        entries.dedup_by_key(|entry| entry.id);
        entries.shrink_to_fit();
        let mut pack_ends = vec![0; packs.len()];
        for entry in &entries {
            let end: &mut u32 = &mut pack_ends[entry.pack as usize];
            *end = (*end).max(entry.pack_offset.saturating_add(entry.packed_length));
        }
        Self {
            entries,
            packs,
            watermark,
            blobs,
            pack_ends,
        }
    }

    /// The names of the index blobs this was made from.
    pub fn blobs(&self) -> &BTreeSet<String> {
        &self.blobs
    }

    /// Parts to build the next reading on, when only blobs were added.
    pub fn parts(&self) -> (Vec<Entry>, PackNames) {
        (self.entries.clone(), self.packs.clone())
    }

    fn counts(&self, entry: &Entry) -> bool {
        !(entry.deleted && i64::from(entry.timestamp) <= self.watermark)
    }

    /// The entry of a content, tombstones above the watermark included.
    pub fn find(&self, id: &ContentId) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| entry.id.cmp(id)).ok()?;
        Some(&self.entries[at]).filter(|entry| self.counts(entry))
    }

    /// The name of the pack that holds an entry of this index.
    pub fn pack_name(&self, entry: &Entry) -> &std::sync::Arc<str> {
        self.packs.name(entry.pack)
    }

    /// Where the last known content of the entry's pack ends, in bytes.
    pub fn pack_end(&self, entry: &Entry) -> u64 {
        self.pack_ends[entry.pack as usize].into()
    }

    /// Tombstones up to this second do not count (0: none).
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// Every entry that counts, in order: live ones and tombstones above the watermark.
    pub fn all(&self) -> impl Iterator<Item = Entry> + '_ {
        self.entries.iter().filter(|entry| self.counts(entry)).copied()
    }

    /// Live entries, in order.
    pub fn live(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.deleted)
    }

    /// Live entries whose id has this prefix letter.
    pub fn live_with_prefix(&self, prefix: u8) -> impl Iterator<Item = &Entry> {
        let start = self.entries.partition_point(|entry| entry.id.key()[0] < prefix);
        self.entries[start..]
            .iter()
            .take_while(move |e| e.id.key()[0] == prefix)
            .filter(|e| !e.deleted)
    }
}
