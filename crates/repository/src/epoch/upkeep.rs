//! What maintenance does with `x` blobs (kopia-format.md 7.8): plain functions over one listing. Neighbour:
//! `maintenance/epochs.rs` acts on them; `compact.rs` merges.
//!
//! ```text
//! xn0 xn0 xn0 │ xn1 xn1 │ xn2 │ xn3        xe1 xe2 xe3: we write into 3
//! settled (≤ 1)         │ unsettled
//! └▶ xs0 └▶ xs1  … eight of them └▶ xr0_7
//! ```

use caravel_storage::BlobMetadata;
use jiff::{SignedDuration, Timestamp};

use super::{IndexBlob, Kind, complete_sets, longest_chain};
use crate::format::EpochParameters;

/// One listing of the `x` blobs.
pub struct Listing<'a> {
    blobs: Vec<(IndexBlob<'a>, &'a BlobMetadata)>,
    pub write_epoch: u64,
    pub watermark: u64,
}

/// Index blobs to merge into one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    pub first: u64,
    /// The same for one epoch.
    pub last: u64,
    pub blobs: Vec<String>,
    /// Bytes of them.
    pub bytes: u64,
}

/// Markers that no longer say anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OldMarkers {
    pub epochs: Vec<String>,
    pub watermarks: Vec<String>,
}

impl<'a> Listing<'a> {
    pub fn of(listed: &'a [BlobMetadata]) -> Self {
        let parse = |m: &'a BlobMetadata| Some((IndexBlob::parse(m.id.as_str())?, m));
        let blobs: Vec<_> = listed.iter().filter_map(parse).collect();
        let last = |kind| {
            let numbers = blobs.iter().filter(|(b, _)| b.kind == kind);
            numbers.map(|(b, _)| b.first).max().unwrap_or(0)
        };
        Self {
            write_epoch: last(Kind::Marker),
            watermark: last(Kind::Watermark),
            blobs,
        }
    }

    fn uncompacted(&self, epoch: u64) -> impl Iterator<Item = &'a BlobMetadata> {
        let found = self
            .blobs
            .iter()
            .filter(move |(b, _)| b.kind == Kind::Uncompacted && b.first == epoch);
        found.map(|(_, metadata)| *metadata)
    }

    fn parsed(&self) -> Vec<IndexBlob<'a>> {
        self.blobs.iter().map(|(b, _)| *b).collect()
    }

    fn last_settled(&self) -> Option<u64> {
        self.write_epoch.checked_sub(2)
    }

    /// The first epoch that no range covers.
    fn after_ranges(&self) -> u64 {
        let parsed = self.parsed();
        let ranges = complete_sets(&parsed, Kind::Range);
        longest_chain(&ranges).last().map_or(0, |(key, _)| key.1 + 1)
    }

    /// The epoch to begin, when this one is old and full enough.
    pub fn next_epoch(&self, parameters: &EpochParameters) -> Option<u64> {
        let blobs: Vec<_> = self.uncompacted(self.write_epoch).collect();
        let first = blobs.iter().map(|b| b.timestamp).min()?;
        let last = blobs.iter().map(|b| b.timestamp).max()?;
        let bytes: u64 = blobs.iter().map(|b| b.length).sum();
        let old_enough =
            last.duration_since(first) >= SignedDuration::from_nanos(parameters.min_epoch_duration);
        let full_enough = blobs.len() as i64 >= parameters.epoch_advance_on_count_threshold
            || bytes as i64 >= parameters.epoch_advance_on_total_size_bytes_threshold;
        (old_enough && full_enough).then_some(self.write_epoch + 1)
    }

    /// The oldest settled epoch that is not compacted yet. None when it has no blobs at all: its range will cover it.
    pub fn epoch_to_compact(&self) -> Option<Compaction> {
        let parsed = self.parsed();
        let compacted = complete_sets(&parsed, Kind::Compacted);
        let last = self.last_settled()?;
        let mut epochs = self.after_ranges()..=last;
        let epoch =
            epochs.find(|e| !compacted.contains_key(&(*e, *e)) && self.uncompacted(*e).next().is_some())?;
        Some(self.compaction(epoch, epoch, self.uncompacted(epoch)))
    }

    /// The settled epochs after the last range, when there are enough of them.
    pub fn range_to_compact(&self, parameters: &EpochParameters) -> Option<Compaction> {
        let (first, last) = (self.after_ranges(), self.last_settled()?);
        let enough = u64::try_from(parameters.full_checkpoint_frequency).ok()?.max(1);
        if last.checked_sub(first)? < enough {
            return None;
        }
        let parsed = self.parsed();
        let compacted = complete_sets(&parsed, Kind::Compacted);
        let mut chosen: Vec<&BlobMetadata> = Vec::new();
        for epoch in first..=last {
            match compacted.get(&(epoch, epoch)) {
                Some(set) => chosen.extend(self.named(set)),
                None => chosen.extend(self.uncompacted(epoch)),
            }
        }
        (!chosen.is_empty()).then(|| self.compaction(first, last, chosen.into_iter()))
    }

    fn named<'s>(&'s self, names: &'s [&'a str]) -> impl Iterator<Item = &'a BlobMetadata> + 's {
        let wanted = self.blobs.iter().filter(|(b, _)| names.contains(&b.name));
        wanted.map(|(_, metadata)| *metadata)
    }

    fn compaction(&self, first: u64, last: u64, of: impl Iterator<Item = &'a BlobMetadata>) -> Compaction {
        let (mut blobs, mut bytes) = (Vec::new(), 0);
        for blob in of {
            blobs.push(blob.id.as_str().to_owned());
            bytes += blob.length;
        }
        Compaction {
            first,
            last,
            blobs,
            bytes,
        }
    }

    /// The storage's clock as far as index blobs show it, less the margin: what replaced something before then has
    /// been seen by everyone. None when nothing was written lately.
    pub fn seen_before(&self, parameters: &EpochParameters) -> Option<Timestamp> {
        let unsettled = self.write_epoch.saturating_sub(1)..=self.write_epoch + 1;
        let newest = unsettled
            .flat_map(|epoch| self.uncompacted(epoch))
            .map(|b| b.timestamp)
            .max()?;
        let margin = SignedDuration::from_nanos(parameters.cleanup_safety_margin);
        newest.checked_sub(margin).ok()
    }

    /// Markers of epochs long past, and watermarks that a higher one replaced some time ago.
    pub fn old_markers(&self, parameters: &EpochParameters) -> OldMarkers {
        let Some(seen) = self.seen_before(parameters) else {
            return OldMarkers::default();
        };
        let mut old = OldMarkers::default();
        for (blob, metadata) in &self.blobs {
            match blob.kind {
                Kind::Marker if blob.first + 1 < self.write_epoch => old.epochs.push(blob.name.into()),
                Kind::Watermark if blob.first != self.watermark && metadata.timestamp < seen => {
                    old.watermarks.push(blob.name.into());
                }
                _ => {}
            }
        }
        old
    }

    /// Index blobs of single flushes whose epoch was compacted some time ago, and their bytes.
    pub fn superseded(&self, parameters: &EpochParameters) -> (Vec<String>, u64) {
        let Some(seen) = self.seen_before(parameters) else {
            return (Vec::new(), 0);
        };
        let parsed = self.parsed();
        let compacted = complete_sets(&parsed, Kind::Compacted);
        let replaced = |epoch: u64| {
            let set = compacted.get(&(epoch, epoch));
            let newest = set.and_then(|set| self.named(set).map(|b| b.timestamp).max());
            // Readers ignore compactions of unsettled epochs, so their blobs are still needed.
            self.last_settled().is_some_and(|last| epoch <= last) && newest.is_some_and(|time| time < seen)
        };
        let (mut names, mut bytes) = (Vec::new(), 0);
        for (blob, metadata) in &self.blobs {
            if blob.kind == Kind::Uncompacted && replaced(blob.first) {
                names.push(blob.name.to_owned());
                bytes += metadata.length;
            }
        }
        (names, bytes)
    }
}

#[cfg(test)]
mod tests {
    use caravel_storage::BlobId;

    use super::*;

    const HOUR: i64 = 3600;

    fn parameters() -> EpochParameters {
        EpochParameters::standard()
    }

    /// Blobs of 1000 bytes, by name and hour of writing.
    fn listed(blobs: &[(&str, i64)]) -> Vec<BlobMetadata> {
        let blob = |(name, hour): &(&str, i64)| BlobMetadata {
            id: BlobId::from(*name),
            length: 1000,
            timestamp: Timestamp::from_second(1_800_000_000 + hour * HOUR).unwrap(),
        };
        blobs.iter().map(blob).collect()
    }

    fn flushes(epoch: u64, count: usize, hours: (i64, i64)) -> Vec<BlobMetadata> {
        let name = |n| format!("xn{epoch}_{n:032x}-s1-c1");
        let hour = |n| {
            if n + 1 == count { hours.1 } else { hours.0 }
        };
        (0..count).flat_map(|n| listed(&[(&name(n), hour(n))])).collect()
    }

    #[test]
    fn epoch_advances_when_a_day_old_and_with_twenty_blobs_or_ten_mebibytes() {
        let next = |blobs: &[BlobMetadata]| Listing::of(blobs).next_epoch(&parameters());
        assert_eq!(next(&[]), None);
        assert_eq!(next(&flushes(0, 19, (0, 24))), None);
        assert_eq!(next(&flushes(0, 20, (0, 23))), None);
        assert_eq!(next(&flushes(0, 20, (0, 24))), Some(1));
        let mut big = flushes(0, 2, (0, 24));
        big[0].length = 10 << 20;
        assert_eq!(next(&big), Some(1));
        let mut third = flushes(3, 20, (0, 24));
        third.extend(listed(&[("xe3", 0)]));
        assert_eq!(next(&third), Some(4));
    }

    #[test]
    fn oldest_settled_epoch_without_compaction_is_next() {
        let compact = |blobs: &[(&str, i64)]| {
            let blobs = listed(blobs);
            Listing::of(&blobs).epoch_to_compact().map(|c| (c.first, c.blobs))
        };
        assert_eq!(compact(&[("xn0_a-s1-c1", 0), ("xe1", 0)]), None, "0 is unsettled");
        let two = [("xn0_a-s1-c1", 0), ("xn0_b-s2-c1", 0), ("xe2", 0)];
        assert_eq!(
            compact(&two),
            Some((0, vec!["xn0_a-s1-c1".into(), "xn0_b-s2-c1".into()]))
        );
        let next = [
            ("xn0_a-s1-c1", 0),
            ("xs0_c-s3-c1", 0),
            ("xn1_b-s2-c1", 0),
            ("xe3", 0),
        ];
        assert_eq!(compact(&next), Some((1, vec!["xn1_b-s2-c1".into()])));
        let ranged = [
            ("xr0_4_c-s3-c1", 0),
            ("xn4_a-s1-c1", 0),
            ("xn5_b-s2-c1", 0),
            ("xe7", 0),
        ];
        assert_eq!(compact(&ranged), Some((5, vec!["xn5_b-s2-c1".into()])));
        let half = [("xn0_a-s1-c1", 0), ("xs0_c-s3-c2", 0), ("xe2", 0)];
        assert!(compact(&half).is_some(), "an incomplete compaction is none");
    }

    #[test]
    fn range_takes_eight_settled_epochs_compacted_or_not() {
        let mut blobs = listed(&[("xe9", 0), ("xs3_z-s9-c1", 0)]);
        for epoch in 0..10 {
            blobs.extend(flushes(epoch, 1, (0, 0)));
        }
        let range = Listing::of(&blobs).range_to_compact(&parameters()).unwrap();
        assert_eq!((range.first, range.last, range.blobs.len()), (0, 7, 8));
        assert!(range.blobs.contains(&"xs3_z-s9-c1".into()));
        blobs.extend(listed(&[("xr0_7_q-s8-c1", 0)]));
        assert_eq!(Listing::of(&blobs).range_to_compact(&parameters()), None);
        assert_eq!(
            Listing::of(&blobs[1..]).range_to_compact(&parameters()),
            None,
            "no epoch is settled"
        );
    }

    #[test]
    fn markers_and_watermarks_go_when_replaced_for_four_hours() {
        let blobs = listed(&[
            ("xe1", 0),
            ("xe2", 0),
            ("xe3", 0),
            ("xw10", 0),
            ("xw20", 5),
            ("xw30", 9),
            ("xn3_a-s1-c1", 9),
        ]);
        let old = Listing::of(&blobs).old_markers(&parameters());
        assert_eq!(
            (old.epochs, old.watermarks),
            (vec!["xe1".into()], vec!["xw10".into()])
        );
        let silent = listed(&[("xe1", 0), ("xe2", 0), ("xe3", 0)]);
        assert_eq!(
            Listing::of(&silent).old_markers(&parameters()),
            OldMarkers::default()
        );
    }

    #[test]
    fn flushes_go_when_their_compaction_is_four_hours_old() {
        let superseded = |compacted: i64| {
            let blobs = listed(&[
                ("xe2", 0),
                ("xn0_a-s1-c1", 0),
                ("xs0_c-s3-c1", compacted),
                ("xn2_b-s2-c1", 10),
            ]);
            Listing::of(&blobs).superseded(&parameters()).0
        };
        assert_eq!(superseded(5), ["xn0_a-s1-c1"]);
        assert!(superseded(6).is_empty());
    }
}
