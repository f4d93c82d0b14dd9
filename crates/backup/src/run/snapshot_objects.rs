//! The objects of the snapshots that stay in the storage: without them nothing leads from a claim of the backup to its data.

use std::collections::{BTreeMap, BTreeSet};

use caravel_item_action::ResourceIdentifier;
use serde_json::Value;

use crate::item_actions::snapshots::{CLASSES, CONTENTS, GROUP, SNAPSHOTS};

/// Those that were written, as in the tarball.
#[derive(Clone, Debug, Default)]
pub struct SnapshotObjects {
    written: BTreeMap<ResourceIdentifier, Value>,
}

impl SnapshotObjects {
    /// To be called of each item that is written; takes what belongs here.
    pub(super) fn note(&mut self, id: &ResourceIdentifier, item: &Value) {
        if id.group == GROUP && [SNAPSHOTS, CONTENTS, CLASSES].contains(&id.resource.as_str()) {
            self.written.insert(id.clone(), item.clone());
        }
    }

    /// True when it was written.
    pub(super) fn has(&self, id: &ResourceIdentifier) -> bool {
        self.written.contains_key(id)
    }

    /// The VolumeSnapshot of this name.
    pub(super) fn snapshot(&self, namespace: &str, name: &str) -> Option<&Value> {
        self.written
            .get(&ResourceIdentifier::new(GROUP, SNAPSHOTS, namespace, name))
    }

    /// The VolumeSnapshotContent of this name.
    pub(super) fn content(&self, name: &str) -> Option<&Value> {
        self.written
            .get(&ResourceIdentifier::new(GROUP, CONTENTS, "", name))
    }

    /// VolumeSnapshots, by namespace and name.
    pub fn snapshots(&self) -> Vec<Value> {
        self.of(SNAPSHOTS)
    }

    /// VolumeSnapshotContents, by name.
    pub fn contents(&self) -> Vec<Value> {
        self.of(CONTENTS)
    }

    /// VolumeSnapshotClasses, by name.
    pub fn classes(&self) -> Vec<Value> {
        self.of(CLASSES)
    }

    /// True when no snapshot stays in the storage.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    fn of(&self, resource: &str) -> Vec<Value> {
        let of = self.written.iter().filter(|(id, _)| id.resource == resource);
        of.map(|(_, item)| item.clone()).collect()
    }

    /// Namespace and name of the VolumeSnapshots that this backup took and has in its operations: all others of its label
    /// are left over from a failure.
    pub fn kept(
        operations: &[caravel_backup_store::item_operations::BackupOperation],
    ) -> BTreeSet<(String, String)> {
        let of_snapshots = operations
            .iter()
            .filter(|operation| operation.spec.backup_item_action == crate::item_actions::snapshots::NAME);
        of_snapshots
            .map(|operation| {
                let id = &operation.spec.resource_identifier;
                (id.namespace.clone(), id.name.clone())
            })
            .collect()
    }
}

/// True of an additional item without which the item that names it is worth nothing.
pub(super) fn is_needed(id: &ResourceIdentifier) -> bool {
    id.group == GROUP && [SNAPSHOTS, CONTENTS].contains(&id.resource.as_str())
}
