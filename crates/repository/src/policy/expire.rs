//! Deletes what a source's policy does not keep; pins, which keep a snapshot whatever the policy says.

use std::collections::{BTreeMap, BTreeSet};

use super::{Reasons, retention, retention::Taken};
use crate::{
    error::Result,
    manifest::ManifestId,
    repository::Repository,
    snapshot::{Snapshot, SnapshotFilter, SnapshotSource},
};

/// A snapshot and what its policy says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Expiry {
    pub snapshot: Snapshot,
    pub reasons: Reasons,
    /// Neither a reason nor a pin keeps it.
    pub expired: bool,
}

impl Repository {
    /// What the policy says of each snapshot of a source, oldest first; with `delete`, expired ones are deleted in one
    /// commit (blocking). A source whose user, host and path are all empty stands for every source.
    pub fn expire_snapshots(&self, source: &SnapshotSource, delete: bool) -> Result<Vec<Expiry>> {
        let all = *source == SnapshotSource::default();
        let filter = SnapshotFilter {
            source: (!all).then(|| source.clone()),
            include_incomplete: true,
            ..SnapshotFilter::default()
        };
        let mut by_source: BTreeMap<SnapshotSource, Vec<Snapshot>> = BTreeMap::new();
        for snapshot in self.find_snapshots(&filter)? {
            by_source
                .entry(snapshot.manifest.source.clone())
                .or_default()
                .push(snapshot);
        }
        let mut found = Vec::new();
        for (source, snapshots) in by_source {
            let policy = self.effective_policy(&source)?.policy;
            let taken: Vec<Taken> = snapshots.iter().map(taken).collect();
            let reasons = retention::reasons(&policy.retention, &taken);
            found.extend(
                snapshots
                    .into_iter()
                    .zip(reasons)
                    .map(|(snapshot, reasons)| Expiry {
                        expired: reasons.is_empty() && snapshot.manifest.pins.is_empty(),
                        snapshot,
                        reasons,
                    }),
            );
        }
        if delete && found.iter().any(|one| one.expired) {
            let writer = self.write()?;
            for one in found.iter().filter(|one| one.expired) {
                writer.delete_manifest(&one.snapshot.id);
            }
            writer.commit()?;
        }
        Ok(found)
    }

    /// Adds and removes pins of a snapshot and commits; it gets a new id, which is returned, unless nothing changes
    /// (blocking). Removing one that is not there is no error.
    pub fn pin_snapshot(&self, id: &ManifestId, add: &[String], remove: &[String]) -> Result<ManifestId> {
        let mut snapshot = self.load_snapshot(id)?.manifest;
        let mut pins: BTreeSet<String> = snapshot.pins.iter().cloned().collect();
        pins.extend(add.iter().cloned());
        pins.retain(|pin| !remove.contains(pin));
        let pins: Vec<String> = pins.into_iter().collect();
        if pins == snapshot.pins {
            return Ok(id.clone());
        }
        snapshot.pins = pins;
        let writer = self.write()?;
        let pinned = writer.put_snapshot(&snapshot)?;
        writer.delete_manifest(id);
        writer.commit()?;
        Ok(pinned)
    }
}

fn taken(snapshot: &Snapshot) -> Taken {
    Taken {
        start: snapshot.manifest.start_time,
        complete: snapshot.manifest.incomplete.is_empty(),
    }
}
