//! Which index blobs make up the repository right now (kopia-format.md 7.5, 7.6), and which epoch a writer
//! writes into (7.7). Neighbours: `names.rs` (what the names of `x` blobs say), `legacy.rs` (how it was before there
//! were epochs).
//!
//! ```text
//! xr0_7 ─ xs8 ─ xs9 ─ … ─ xn<W-1> xn<W> xn<W+1>        + xw (watermark)
//! range   one settled       unsettled: every blob
//!         epoch each        counts on its own
//! ```

pub(crate) mod compact;
pub(crate) mod legacy;
mod names;
pub mod report;
pub(crate) mod upkeep;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use names::Kind;
use names::{IndexBlob, SetMember};

use caravel_storage::BlobMetadata;

use crate::{blob::Blobs, crypto::Sealer, error::Result};

/// How a repository keeps its index blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexManager {
    /// `xn`, `xs`, `xr`, `xe`, `xw`: format versions 2 and 3.
    Epochs,
    /// `n`, `m`, `l`: format version 1.
    Legacy,
}

/// Lists the blobs of a prefix.
pub(crate) type List<'l> = &'l dyn Fn(&str) -> Result<Vec<BlobMetadata>>;

/// The index blobs that count right now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexSet {
    pub blobs: BTreeSet<String>,
    /// Tombstones up to this second no longer count (0: none).
    pub watermark: i64,
}

impl IndexManager {
    /// The index blobs that count by what `list` says of the storage.
    pub(crate) fn active(self, list: List<'_>, blobs: &Blobs, sealer: &Sealer) -> Result<IndexSet> {
        match self {
            IndexManager::Legacy => legacy::active(list, blobs, sealer),
            IndexManager::Epochs => {
                let listing = list("x")?;
                let state = EpochState::of(listing.iter().map(|blob| blob.id.as_str()));
                Ok(IndexSet {
                    blobs: state.index_blobs.into_iter().collect(),
                    watermark: state.watermark,
                })
            }
        }
    }
}

/// What one listing of the `x` blobs says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EpochState {
    /// The epoch that writers write into.
    pub write_epoch: u64,
    /// Tombstones up to this second no longer count (0: none).
    pub watermark: i64,
    /// Every index blob to read.
    pub index_blobs: Vec<String>,
}

impl EpochState {
    /// From the names of all blobs that start with `x`. Malformed names are ignored, as Kopia does.
    ///
    /// One listing in order of names sees `xn` before `xr` and `xs`, so a blob that was compacted away in the
    /// meantime is seen in its compacted form, never in neither.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let blobs: Vec<IndexBlob<'a>> = names.filter_map(IndexBlob::parse).collect();
        let last = |kind: Kind| blobs.iter().filter(|b| b.kind == kind).map(|b| b.first).max();
        let write_epoch = last(Kind::Marker).unwrap_or(0);
        let watermark = last(Kind::Watermark)
            .and_then(|w| i64::try_from(w).ok())
            .unwrap_or(0);
        Self {
            write_epoch,
            watermark,
            index_blobs: complete_set(&blobs, write_epoch),
        }
    }
}

fn complete_set(blobs: &[IndexBlob<'_>], write_epoch: u64) -> Vec<String> {
    let ranges = complete_sets(blobs, Kind::Range);
    let compacted = complete_sets(blobs, Kind::Compacted);
    let mut uncompacted: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for blob in blobs.iter().filter(|b| b.kind == Kind::Uncompacted) {
        uncompacted.entry(blob.first).or_default().push(blob.name);
    }
    let mut chosen = Vec::new();
    let mut start = 0;
    for (key, set) in longest_chain(&ranges) {
        // As Kopia has it; hence a range of one epoch is never used.
        if key.1 > start {
            chosen.extend(set.iter().copied());
            start = key.1 + 1;
        }
    }
    // Epochs are numbered by markers, so this loop ends; absent epochs cost nothing.
    let settled = |epoch: u64| epoch + 2 <= write_epoch;
    let present = compacted.keys().map(|k| k.0).chain(uncompacted.keys().copied());
    let mut epochs: Vec<u64> = present
        .filter(|e| *e >= start && *e <= write_epoch.saturating_add(1))
        .collect();
    epochs.sort_unstable();
    epochs.dedup();
    for epoch in epochs {
        match compacted.get(&(epoch, epoch)).filter(|_| settled(epoch)) {
            Some(set) => chosen.extend(set.iter().copied()),
            None => chosen.extend(uncompacted.get(&epoch).into_iter().flatten().copied()),
        }
    }
    chosen.into_iter().map(str::to_owned).collect()
}

type Sets<'a> = BTreeMap<(u64, u64), Vec<&'a str>>;

/// The first complete set of each epoch or range: all its `-c<N>` blobs are there.
fn complete_sets<'a>(blobs: &[IndexBlob<'a>], kind: Kind) -> Sets<'a> {
    /// By set id: how many blobs complete it, and those that are there.
    type Candidates<'a> = BTreeMap<&'a str, (u64, Vec<&'a str>)>;
    let mut grouped: BTreeMap<(u64, u64), Candidates<'a>> = BTreeMap::new();
    for blob in blobs.iter().filter(|b| b.kind == kind) {
        let SetMember { id, count } = blob.set();
        let sets = grouped.entry((blob.first, blob.last)).or_default();
        sets.entry(id)
            .or_insert_with(|| (count, Vec::new()))
            .1
            .push(blob.name);
    }
    let complete = |sets: Candidates<'a>| {
        sets.into_values()
            .find(|(count, names)| names.len() as u64 == *count)
            .map(|(_, names)| names)
    };
    grouped
        .into_iter()
        .filter_map(|(key, sets)| Some((key, complete(sets)?)))
        .collect()
}

/// The ranges that follow each other from epoch 0 and reach furthest, fewest first on ties.
fn longest_chain<'s, 'a>(ranges: &'s Sets<'a>) -> Vec<((u64, u64), &'s [&'a str])> {
    // best[next epoch] = (number of ranges, last range of the chain); keys ascend by first epoch, so every
    // chain that a range can extend is known when it comes up.
    let mut best: BTreeMap<u64, (usize, Option<(u64, u64)>)> = BTreeMap::from([(0, (0, None))]);
    for key in ranges.keys().filter(|key| key.1 >= key.0) {
        let (Some((length, _)), Some(next)) = (best.get(&key.0).copied(), key.1.checked_add(1)) else {
            continue;
        };
        let known = best.get(&next).map_or(usize::MAX, |(length, _)| *length);
        if length + 1 < known {
            best.insert(next, (length + 1, Some(*key)));
        }
    }
    let mut chain = Vec::new();
    let mut at = best.keys().next_back().copied().unwrap_or(0);
    while let Some((_, Some(key))) = best.get(&at) {
        chain.push((*key, ranges[key].as_slice()));
        at = key.0;
    }
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests;
