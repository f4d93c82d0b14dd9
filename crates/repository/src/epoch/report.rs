//! The epochs for people: which blobs each consists of (kopia-format.md 7.5, 7.6). Reading decides by the same rules in
//! the parent module.

use caravel_storage::BlobMetadata;
use jiff::Timestamp;

use super::{
    EpochState,
    names::{IndexBlob, Kind},
};

/// One epoch, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochBlobs {
    /// The first epoch.
    pub first: u64,
    /// The last one; the same except for a range.
    pub last: u64,
    /// Its index blobs, by name.
    pub blobs: Vec<BlobMetadata>,
}

impl EpochBlobs {
    /// Bytes of all blobs.
    pub fn total_length(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.length).sum()
    }

    /// When the storage wrote the first blob and when the last.
    pub fn times(&self) -> Option<(Timestamp, Timestamp)> {
        let times = || self.blobs.iter().map(|blob| blob.timestamp);
        Some((times().min()?, times().max()?))
    }
}

/// What one listing of the `x` blobs says about epochs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochReport {
    /// The epoch that writers write into.
    pub write_epoch: u64,
    /// When it began; unknown for epoch 0, which has no marker.
    pub started: Option<Timestamp>,
    /// Blobs as they were written, by epoch.
    pub uncompacted: Vec<EpochBlobs>,
    /// Single epochs that were compacted.
    pub compacted: Vec<EpochBlobs>,
    /// Ranges of epochs that were compacted and are in use.
    pub ranges: Vec<EpochBlobs>,
}

impl EpochReport {
    /// From a listing of all blobs that start with `x`.
    pub fn of(listing: &[BlobMetadata]) -> Self {
        let state = EpochState::of(listing.iter().map(|blob| blob.id.as_str()));
        let mut report = Self {
            write_epoch: state.write_epoch,
            ..Self::default()
        };
        for blob in listing {
            let Some(parsed) = IndexBlob::parse(blob.id.as_str()) else {
                continue;
            };
            let in_use = state.index_blobs.iter().any(|name| name == parsed.name);
            let group = match parsed.kind {
                Kind::Marker if parsed.first == state.write_epoch => {
                    report.started = Some(blob.timestamp);
                    continue;
                }
                Kind::Uncompacted => &mut report.uncompacted,
                Kind::Compacted => &mut report.compacted,
                Kind::Range if in_use => &mut report.ranges,
                Kind::Range | Kind::Marker | Kind::Watermark => continue,
            };
            add(group, &parsed, blob);
        }
        for group in [&mut report.uncompacted, &mut report.compacted, &mut report.ranges] {
            group.sort_by_key(|epoch| (epoch.first, epoch.last));
        }
        report
    }
}

fn add(group: &mut Vec<EpochBlobs>, parsed: &IndexBlob<'_>, blob: &BlobMetadata) {
    let at = group
        .iter_mut()
        .find(|epoch| (epoch.first, epoch.last) == (parsed.first, parsed.last));
    match at {
        Some(epoch) => epoch.blobs.push(blob.clone()),
        None => group.push(EpochBlobs {
            first: parsed.first,
            last: parsed.last,
            blobs: vec![blob.clone()],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(name: &str, second: i64) -> BlobMetadata {
        BlobMetadata {
            id: name.into(),
            length: 10,
            timestamp: Timestamp::from_second(second).unwrap(),
        }
    }

    #[test]
    fn epochs_are_told_with_their_blobs_and_times() {
        let names = [
            ("xe3", 30),
            ("xn2_aa-s1-c1", 20),
            ("xn3_bb-s1-c1", 31),
            ("xn3_cc-s2-c1", 35),
            ("xr0_1_dd-s3-c1", 25),
            ("xs2_ee-s4-c1", 26),
            ("xw5", 5),
        ];
        let listing: Vec<BlobMetadata> = names.map(|(name, second)| blob(name, second)).into();
        let report = EpochReport::of(&listing);
        assert_eq!(report.write_epoch, 3);
        assert_eq!(report.started, Timestamp::from_second(30).ok());
        let shapes = |group: &[EpochBlobs]| -> Vec<(u64, u64, usize)> {
            group.iter().map(|e| (e.first, e.last, e.blobs.len())).collect()
        };
        assert_eq!(shapes(&report.uncompacted), [(2, 2, 1), (3, 3, 2)]);
        assert_eq!(shapes(&report.compacted), [(2, 2, 1)]);
        assert_eq!(shapes(&report.ranges), [(0, 1, 1)]);
        let (first, last) = report.uncompacted[1].times().unwrap();
        assert_eq!((first.as_second(), last.as_second()), (31, 35));
        assert_eq!(report.uncompacted[1].total_length(), 20);
    }
}
