//! Contents of short packs are moved into full ones; the short packs are then unreferenced (kopia-format.md 11.5). A
//! pack is short when what the index still knows of it is: that covers packs of small uploads and packs of which most
//! was dropped. Kopia leaves a short pack alone when there is no other; we move what is left of one that is mostly
//! garbage all the same, or its space would never return.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::Safety;
use crate::{
    content::ContentId,
    error::Result,
    index::{Entry, merged::MergedIndex},
    repository::Repository,
};

/// A pack with less of its size than this is short.
const SHORT_PERCENT: u64 = 60;
/// Garbage worth moving the rest for, in bytes; also more than this part of the pack.
const MIN_GARBAGE: u64 = 1 << 20;
const GARBAGE_PERCENT: u64 = 40;
/// What a pack holds beside its contents: padding, and an entry of its own index for each.
const PACK_OVERHEAD: u64 = 8192;
const CONTENT_OVERHEAD: u64 = 64;
/// Bytes moved between two commits: what a crash may cost is that much work.
const BATCH_BYTES: u64 = 512 << 20;

/// Figures of a move, with Kopia's names. Sizes are sealed bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rewrite {
    pub to_rewrite_content_count: u64,
    pub to_rewrite_content_size: u64,
    pub rewritten_content_count: u64,
    pub rewritten_content_size: u64,
    /// Too young to be moved.
    pub retained_content_count: u64,
    pub retained_content_size: u64,
}

/// A content and where it was when that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub id: ContentId,
    pub pack: std::sync::Arc<str>,
    offset: u32,
    /// Whether the pack is mostly garbage.
    garbage: bool,
}

/// When things are, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub now: i64,
    /// Tombstones up to here are about to be dropped: moving them is for nothing. 0: none.
    pub dropped: i64,
}

/// Packs as they are stored: how long a full one is, and how long those are that exist.
pub struct Packs {
    pub full: u64,
    pub lengths: HashMap<String, u64>,
}

impl Packs {
    fn is_mostly_garbage(&self, name: &str, bytes: u64, contents: u64) -> bool {
        let length = self.lengths.get(name).copied().unwrap_or(0);
        let needed = bytes + contents * CONTENT_OVERHEAD + PACK_OVERHEAD;
        let garbage = length.saturating_sub(needed);
        garbage >= MIN_GARBAGE && garbage * 100 > length * GARBAGE_PERCENT
    }
}

/// Which contents to move, in the order of their packs. Plain: no storage.
///
/// Fewer than two short packs of a kind with something to move are left alone: nothing would be gained.
pub fn decide(index: &MergedIndex, packs: &Packs, times: Times, safety: &Safety) -> (Rewrite, Vec<Move>) {
    let mut sizes: BTreeMap<u32, (u64, u64, bool)> = BTreeMap::new();
    for entry in index.all() {
        let (bytes, contents, _) = sizes.entry(entry.pack).or_default();
        *bytes += u64::from(entry.packed_length);
        *contents += 1;
    }
    for entry in index.all() {
        if let Some((bytes, contents, garbage)) = sizes.get_mut(&entry.pack) {
            *garbage = packs.is_mostly_garbage(index.pack_name(&entry), *bytes, *contents);
        }
    }
    sizes.retain(|_, (bytes, _, garbage)| *garbage || *bytes < packs.full * SHORT_PERCENT / 100);
    let young = |entry: &Entry| times.now - i64::from(entry.timestamp) < safety.rewrite_min_age;
    let dropped = |entry: &Entry| entry.deleted && i64::from(entry.timestamp) <= times.dropped;

    let mut figures = Rewrite::default();
    let mut moves: Vec<(Move, u64)> = Vec::new();
    for entry in index.all().filter(|entry| sizes.contains_key(&entry.pack)) {
        let size = u64::from(entry.packed_length);
        if young(&entry) {
            figures.retained_content_count += 1;
            figures.retained_content_size += size;
        } else if !dropped(&entry) {
            let pack = index.pack_name(&entry).clone();
            let offset = entry.pack_offset;
            let garbage = sizes.get(&entry.pack).is_some_and(|(_, _, garbage)| *garbage);
            let id = entry.id;
            moves.push((
                Move {
                    id,
                    pack,
                    offset,
                    garbage,
                },
                size,
            ));
        }
    }
    let mut sources: BTreeMap<u8, BTreeSet<&str>> = BTreeMap::new();
    for (one, _) in &moves {
        sources.entry(kind(&one.pack)).or_default().insert(&one.pack);
    }
    let several = sources.iter().filter(|(_, of)| of.len() >= 2);
    let several: Vec<u8> = several.map(|(kind, _)| *kind).collect();
    moves.retain(|(one, _)| one.garbage || several.contains(&kind(&one.pack)));
    moves.sort_by(|(a, _), (b, _)| (&a.pack, a.offset).cmp(&(&b.pack, b.offset)));
    figures.to_rewrite_content_count = moves.len() as u64;
    figures.to_rewrite_content_size = moves.iter().map(|(_, size)| size).sum();
    (figures, moves.into_iter().map(|(one, _)| one).collect())
}

/// The first letter of a pack's name.
fn kind(pack: &str) -> u8 {
    pack.bytes().next().unwrap_or_default()
}

/// What a move would do now.
pub fn plan(
    repository: &Repository,
    dropped: Option<Timestamp>,
    safety: &Safety,
) -> Result<(Rewrite, Vec<Move>)> {
    let inner = &repository.inner;
    let reading = inner.committed.refresh()?;
    let times = Times {
        now: inner.environment.now_secs(),
        dropped: dropped.map_or(0, Timestamp::as_second),
    };
    let mut packs = Packs {
        full: inner.format.config.pack_size() as u64,
        lengths: HashMap::new(),
    };
    for letter in ["p", "q"] {
        let listed = inner.blobs.list(letter)?;
        packs.lengths.extend(
            listed
                .into_iter()
                .map(|blob| (blob.id.as_str().to_owned(), blob.length)),
        );
    }
    Ok(decide(&reading.index, &packs, times, safety))
}

/// Moves. A content that is elsewhere by now, or has another mark, is left alone.
pub fn act(repository: &Repository, mut figures: Rewrite, moves: &[Move]) -> Result<Rewrite> {
    let mut writer = repository.write()?;
    let mut bytes = 0;
    let mut index = repository.inner.committed.refresh()?.index.clone();
    for one in moves {
        let Some(entry) = index.find(&one.id) else {
            continue;
        };
        if *index.pack_name(&entry) != one.pack {
            continue;
        }
        let place = (&entry, &one.pack, index.pack_end(&entry));
        writer
            .contents()
            .copy(&repository.inner.contents, place, entry.deleted)?;
        bytes += u64::from(entry.packed_length);
        figures.rewritten_content_count += 1;
        figures.rewritten_content_size += u64::from(entry.packed_length);
        if bytes >= BATCH_BYTES {
            writer.commit()?;
            writer = repository.write()?;
            bytes = 0;
            index = repository.inner.committed.refresh()?.index.clone();
        }
    }
    writer.commit()?;
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::PackNames;

    const NOW: i64 = 1_800_000_000;

    /// Contents of 100 bytes: pack, age in seconds, marked as deleted.
    fn index(contents: &[(&str, i64, bool)]) -> MergedIndex {
        let mut packs = PackNames::default();
        let entries = contents
            .iter()
            .enumerate()
            .map(|(n, (pack, age, deleted))| Entry {
                id: format!("{n:032x}").parse().unwrap(),
                deleted: *deleted,
                format_version: 3,
                compression: 0,
                timestamp: (NOW - age) as u32,
                pack: packs.number(pack),
                pack_offset: 32,
                packed_length: 100,
                original_length: 72,
            });
        let entries = entries.collect();
        MergedIndex::new(entries, packs, 0, BTreeSet::new()).unwrap()
    }

    /// The packs that contents are moved out of, when a full one has `pack_size` bytes.
    fn moved(contents: &[(&str, i64, bool)], pack_size: u64, dropped: i64) -> Vec<String> {
        let packs = Packs {
            full: pack_size,
            lengths: HashMap::from([("pgarbage".into(), 3 << 20)]),
        };
        let times = Times { now: NOW, dropped };
        let (figures, moves) = decide(&index(contents), &packs, times, &Safety::full());
        assert_eq!(figures.to_rewrite_content_count, moves.len() as u64);
        moves.iter().map(|one| one.pack.to_string()).collect()
    }

    const OLD: i64 = 7200;

    #[test]
    fn two_short_packs_of_a_kind_are_joined_and_one_is_not() {
        assert_eq!(
            moved(&[("p1", OLD, false), ("p2", OLD, false)], 1000, 0),
            ["p1", "p2"]
        );
        assert!(moved(&[("p1", OLD, false), ("q2", OLD, false)], 1000, 0).is_empty());
    }

    #[test]
    fn pack_that_is_mostly_garbage_is_emptied_even_alone() {
        assert_eq!(moved(&[("pgarbage", OLD, false)], 1000, 0), ["pgarbage"]);
        assert!(moved(&[("p1", OLD, false)], 1000, 0).is_empty());
    }

    #[test]
    fn pack_with_sixty_percent_of_its_size_is_not_short() {
        let three = [("p1", OLD, false), ("p2", OLD, false), ("p2", OLD, false)];
        assert_eq!(moved(&three, 340, 0).len(), 3);
        assert!(
            moved(&three, 333, 0).is_empty(),
            "p2 has 200 of 333 bytes, p1 is alone"
        );
    }

    #[test]
    fn young_contents_stay_and_tombstones_about_to_be_dropped_are_not_moved() {
        assert!(moved(&[("p1", OLD, false), ("p2", OLD - 1, false)], 1000, 0).is_empty());
        let tombs = [("p1", OLD, false), ("p2", OLD, false), ("p3", OLD, true)];
        assert_eq!(moved(&tombs, 1000, 0), ["p1", "p2", "p3"]);
        assert_eq!(moved(&tombs, 1000, NOW - OLD), ["p1", "p2"]);
    }
}
