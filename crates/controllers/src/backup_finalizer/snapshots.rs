//! Snapshots that stay in the storage: what leads to them goes from the cluster into the bucket.
//!
//! ```text
//! content to Retain ─► tarball and files say so ─┬─► content and VolumeSnapshot deleted ─┬─► Completed
//!                     --csi-snapshot-objects=keep └─► both marked as Velero's own ────────┘
//! ```
//! From then on only the backup knows of them, and nothing that happens in the cluster takes them away: no namespace that is
//! deleted, whatever the class says. Each step can be repeated. When the objects are gone at the beginning, the tarball
//! tells which it is: its content says `Retain` where this has been done before (or where the class says so); else somebody
//! deleted them, and the storage's snapshot with them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use caravel_backup::cluster;
use caravel_backup::discovery::Resources;
use caravel_backup::item_actions::snapshots::{CONTENTS, GROUP, NAME, SNAPSHOTS};
use caravel_backup_repository::Environment;
use caravel_backup_store::item_operations::{BackupOperation, OperationPhase, ResourceIdentifier};
use caravel_backup_store::tarball::{ItemPath, Reader, TarballError};
use caravel_backup_store::{BackupStore, CsiSnapshotFiles};
use caravel_csi::keep;
use kube::Client;
use serde_json::Value;

use super::item_path;
use crate::reconcile::Error;
use crate::snapshot_objects::{MARK, SnapshotObjects};

/// What came of the snapshots of a backup.
#[derive(Default)]
pub(super) struct Kept {
    /// Their objects as they are now, for the tarball.
    pub(super) items: Vec<(ItemPath, Value)>,
    /// Ids of operations that had completed, and whose snapshot is in the storage no more.
    pub(super) lost: BTreeSet<String>,
    /// To be deleted from the cluster, or marked, once the bucket knows.
    objects: Vec<Objects>,
}

/// The objects of one snapshot.
struct Objects {
    namespace: String,
    snapshot: String,
    content: String,
    /// Its snapshot was made, and is in the storage.
    is_whole: bool,
}

/// Keeps the snapshots of the operations in the storage. `tarball`: what the bucket has.
pub(super) async fn keep(
    client: &Client,
    environment: &Environment,
    discovered: &Resources,
    operations: &[BackupOperation],
    tarball: &Path,
) -> Result<Kept, Error> {
    let mut kept = Kept::default();
    let mut missing = Vec::new();
    for operation in operations.iter().filter(|operation| is_of_snapshot(operation)) {
        let (snapshot, content) = objects_of(operation)?;
        let mut is_whole = false;
        match keep::retain(client, &content.name).await? {
            Some(retained) if retained.handle().is_some() => {
                is_whole = operation.status.phase == OperationPhase::Completed;
                let now = item(client, discovered, content).await?;
                let now = match now {
                    Some(now) => now,
                    None => serde_json::to_value(&retained)?,
                };
                kept.items.push((path(discovered, content)?, without_mark(now)));
                if let Some(now) = item(client, discovered, snapshot).await? {
                    kept.items.push((path(discovered, snapshot)?, without_mark(now)));
                }
            }
            _ => missing.push((operation, content.name.clone())),
        }
        kept.objects.push(Objects {
            namespace: snapshot.namespace.clone(),
            snapshot: snapshot.name.clone(),
            content: content.name.clone(),
            is_whole,
        });
    }
    if missing.is_empty() {
        return Ok(kept);
    }
    let tarball: PathBuf = tarball.to_owned();
    let retained = environment.run(move || retained_in(&tarball)).await??;
    for (operation, content) in missing {
        if operation.status.phase == OperationPhase::Completed && !retained.contains(&content) {
            kept.lost.insert(operation.spec.operation_id.clone());
        }
    }
    Ok(kept)
}

impl Kept {
    /// Writes the files beside the tarball anew.
    pub(super) async fn save_files(&self, store: &BackupStore, backup: &str) -> Result<(), Error> {
        if self.items.is_empty() {
            return Ok(());
        }
        let mut files: CsiSnapshotFiles = store.get_csi_snapshots(backup).await?;
        for (path, item) in &self.items {
            let list = if path.group_resource.starts_with(SNAPSHOTS) && path.namespace.is_some() {
                &mut files.snapshots
            } else {
                &mut files.contents
            };
            let named = |item: &Value| {
                (
                    cluster::namespace(item).to_owned(),
                    cluster::name(item).to_owned(),
                )
            };
            match list.iter_mut().find(|known| named(known) == named(item)) {
                Some(known) => known.clone_from(item),
                None => list.push(item.clone()),
            }
        }
        Ok(store.put_csi_snapshots(backup, &files).await?)
    }

    /// Deletes the objects from the cluster, or leaves those there whose snapshots are whole, out of every other backup.
    pub(super) async fn settle(&self, client: &Client, objects: SnapshotObjects) -> Result<(), Error> {
        for one in &self.objects {
            if objects == SnapshotObjects::Keep && one.is_whole {
                keep::label(client, &one.namespace, &one.snapshot, &one.content, MARK).await?;
            } else {
                keep::release(client, &one.namespace, &one.snapshot, &one.content).await?;
            }
        }
        Ok(())
    }
}

/// As a restore is to make it: the mark is of the object in this cluster only. It has one when this is done again.
fn without_mark(mut item: Value) -> Value {
    if let Some(labels) = item
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(MARK.0);
    }
    item
}

pub(super) fn is_of_snapshot(operation: &BackupOperation) -> bool {
    operation.spec.backup_item_action == NAME
}

/// The VolumeSnapshot and the VolumeSnapshotContent of an operation.
fn objects_of(operation: &BackupOperation) -> Result<(&ResourceIdentifier, &ResourceIdentifier), Error> {
    let items = &operation.spec.post_operation_items;
    let find = |resource: &str| {
        items
            .iter()
            .find(|id| id.group == GROUP && id.resource == resource)
            .ok_or_else(|| {
                format!(
                    "operation {} of the backup names no {resource}.{GROUP} among its items",
                    operation.spec.operation_id
                )
            })
    };
    Ok((find(SNAPSHOTS)?, find(CONTENTS)?))
}

/// An object as it is in the cluster, unless it is being deleted.
async fn item(
    client: &Client,
    discovered: &Resources,
    id: &ResourceIdentifier,
) -> Result<Option<Value>, Error> {
    let resource = discovered.find(&id.group, &id.resource).ok_or_else(|| gone(id))?;
    let found = cluster::get(client, &resource.api, &id.namespace, &id.name).await?;
    Ok(found.filter(|found| found.pointer("/metadata/deletionTimestamp").is_none()))
}

fn path(discovered: &Resources, id: &ResourceIdentifier) -> Result<ItemPath, Error> {
    let resource = discovered.find(&id.group, &id.resource).ok_or_else(|| gone(id))?;
    Ok(item_path(id, &resource.group_resource(), &resource.api.version))
}

fn gone(id: &ResourceIdentifier) -> String {
    format!("the cluster has no {}.{} any more", id.resource, id.group)
}

/// Names of the contents that a tarball has with the policy `Retain`.
fn retained_in(tarball: &Path) -> Result<BTreeSet<String>, TarballError> {
    let mut retained = BTreeSet::new();
    Reader::open(tarball)?.for_each(|entry| {
        let is_content =
            |path: &ItemPath| path.version.is_none() && path.group_resource == format!("{CONTENTS}.{GROUP}");
        if let Some(path) = entry.item_path().filter(is_content) {
            let content = entry.json()?;
            if content.pointer("/spec/deletionPolicy").and_then(Value::as_str) == Some("Retain") {
                retained.insert(path.name);
            }
        }
        Ok(())
    })?;
    Ok(retained)
}

#[cfg(test)]
mod tests {
    use caravel_backup_store::tarball::Writer;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_tarball_tells_which_snapshots_were_kept_before() {
        let folder = tempfile::tempdir().unwrap();
        let tarball = folder.path().join("contents.tar.gz");
        let mut writer = Writer::create(&tarball).unwrap();
        for (name, policy) in [("kept", "Retain"), ("not", "Delete")] {
            let content = json!({"spec": {"deletionPolicy": policy}});
            writer
                .append(&format!("{CONTENTS}.{GROUP}"), "v1", true, "", name, &content)
                .unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(retained_in(&tarball).unwrap(), ["kept".to_owned()].into());
    }
}
