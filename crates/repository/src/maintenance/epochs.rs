//! Tasks on index blobs (kopia-format.md 7.8). Neighbour: `epoch/upkeep.rs` decides, this acts and reports.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;

use super::{
    plan::Step,
    run::{Figures, Maintenance},
    schedule::Task,
};
use crate::{
    epoch::{
        compact::compact,
        upkeep::{Compaction, Listing},
    },
    error::Result,
};

impl Maintenance<'_> {
    /// Merges the index blobs of one settled epoch.
    pub(super) fn compact_single_epoch(&mut self) -> Result<()> {
        self.task(Task::CompactSingleEpoch, |run| {
            let (at, blobs) = run.list_index_blobs()?;
            match Listing::of(&blobs).epoch_to_compact() {
                Some(compaction) => run.compact(&compaction, at),
                None => Ok(Figures::none(
                    run.skip(Task::CompactSingleEpoch, "no settled epoch is left to merge"),
                )),
            }
        })
    }

    /// Merges the index blobs of many epochs.
    pub(super) fn compact_range(&mut self) -> Result<()> {
        self.task(Task::GenerateEpochRangeIndex, |run| {
            let (at, blobs) = run.list_index_blobs()?;
            match Listing::of(&blobs).range_to_compact(run.epoch_parameters()) {
                Some(compaction) => run.compact(&compaction, at),
                None => Ok(Figures::none(
                    run.skip(Task::GenerateEpochRangeIndex, "too few epochs are settled"),
                )),
            }
        })
    }

    fn compact(&self, compaction: &Compaction, listed_at: Timestamp) -> Result<Figures> {
        if !self.dry_run {
            compact(&self.repository.inner, compaction, listed_at)?;
        }
        let step = Step::CompactEpochs {
            first: compaction.first,
            last: compaction.last,
            blobs: compaction.blobs.len() as u64,
            bytes: compaction.bytes,
        };
        let data = match compaction.first == compaction.last {
            true => json!({
                "supersededIndexBlobCount": compaction.blobs.len(),
                "supersededIndexTotalSize": compaction.bytes,
                "epoch": compaction.first,
            }),
            false => json!({"rangeMinEpoch": compaction.first, "rangeMaxEpoch": compaction.last}),
        };
        let kind = match compaction.first == compaction.last {
            true => "compactSingleEpochStats",
            false => "generateRangeCheckpointStats",
        };
        Ok(Figures::some(step, kind, data))
    }

    /// Begins a new epoch when this one is old and full enough.
    pub(super) fn advance_epoch(&mut self) -> Result<()> {
        self.task(Task::AdvanceEpoch, |run| {
            let (_, blobs) = run.list_index_blobs()?;
            let listing = Listing::of(&blobs);
            let next = listing.next_epoch(run.epoch_parameters());
            if let Some(next) = next.filter(|_| !run.dry_run) {
                let marker = Bytes::from_static(b"epoch-marker");
                run.repository.inner.blobs.put(&format!("xe{next}"), marker)?;
            }
            let current = next.unwrap_or(listing.write_epoch);
            let step = match next {
                Some(to) => Step::AdvanceEpoch { to },
                None => run.skip(Task::AdvanceEpoch, "this epoch is young or has few index blobs"),
            };
            let data = json!({"currentEpoch": current, "wasAdvanced": next.is_some()});
            Ok(Figures::some(step, "advanceEpochStats", data))
        })
    }

    /// Deletes markers that no longer say anything.
    pub(super) fn clean_up_markers(&mut self) -> Result<()> {
        self.task(Task::CleanupEpochMarkers, |run| {
            let (_, blobs) = run.list_index_blobs()?;
            let old = Listing::of(&blobs).old_markers(run.epoch_parameters());
            if !run.dry_run {
                // Lowest first: if we die in between, the highest number is still right.
                run.repository.inner.blobs.delete_all(&old.epochs)?;
                run.repository.inner.blobs.delete_all(&old.watermarks)?;
            }
            let (epochs, watermarks) = (old.epochs.len() as u64, old.watermarks.len() as u64);
            let data =
                json!({"deletedEpochMarkerBlobCount": epochs, "deletedWatermarkBlobCount": watermarks});
            Ok(Figures::some(
                Step::DeleteMarkers { epochs, watermarks },
                "cleanupMarkersStats",
                data,
            ))
        })
    }

    /// Deletes index blobs that were merged some time ago.
    pub(super) fn delete_superseded_indexes(&mut self) -> Result<()> {
        self.task(Task::DeleteSupersededEpochIndexes, |run| {
            let (_, blobs) = run.list_index_blobs()?;
            let listing = Listing::of(&blobs);
            let parameters = run.epoch_parameters();
            let Some(seen_before) = listing.seen_before(parameters) else {
                let why = "nothing was written lately to tell the time by";
                return Ok(Figures::none(run.skip(Task::DeleteSupersededEpochIndexes, why)));
            };
            let (names, bytes) = listing.superseded(parameters);
            if !run.dry_run {
                run.repository.inner.blobs.delete_all(&names)?;
            }
            let blobs = names.len() as u64;
            let data = json!({"maxReplacementTime": seen_before, "deletedBlobCount": blobs, "deletedTotalSize": bytes});
            let step = Step::DeleteSupersededIndexes { blobs, bytes };
            Ok(Figures::some(step, "cleanupSupersededIndexesStats", data))
        })
    }
}
