//! `velero.io/csi-volumesnapshot-restorer`, `…-volumesnapshotcontent-…` and `…-volumesnapshotclass-…`: a snapshot that
//! stayed in the storage gets objects again, under a name of this restore's own, and claims are filled from it
//! (velero-behaviour.md 4.4; upstream `pkg/restore/actions/csi/volumesnapshot{,content,class}_action.go`).
//!
//! ```text
//! VolumeSnapshotContent: handle, policy Retain ◄──── VolumeSnapshot ◄──── claim's dataSource
//!   name = SHA-256 of <Restore UID>/<VolumeSnapshot's old name>, of all three
//! ```
//! `Retain`, because the storage's snapshot is the backup's: nobody who deletes the restored objects takes it away.

use async_trait::async_trait;
use caravel_api::labels::{self, restored_snapshot_name};
use caravel_api::v1::Restore;
use caravel_csi::{driver, secrets};
use caravel_item_action::{
    ActionError, ResourceIdentifier, ResourceSelector, RestoreItemAction, RestoreItemInput as Input,
    RestoreItemOutput as Output,
};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::group_resource::known;
use crate::metadata::{child_map, map_at, remove_annotations};

/// API group of the snapshots.
pub(crate) const GROUP: &str = "snapshot.storage.k8s.io";
/// Marks of the controllers: with them a content would be taken for one that is being deleted, or made.
const MARKS: &[&str] = &[
    "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted",
    "snapshot.storage.kubernetes.io/volumesnapshot-being-created",
];

/// `velero.io/csi-volumesnapshot-restorer`.
pub struct VolumeSnapshotAction;

#[async_trait]
impl RestoreItemAction for VolumeSnapshotAction {
    fn name(&self) -> &str {
        "velero.io/csi-volumesnapshot-restorer"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&[known::VOLUME_SNAPSHOTS])
    }

    async fn execute(&self, input: Input<'_>) -> Result<Output, ActionError> {
        if input.restore.spec.restore_pvs == Some(false) {
            return Ok(Output::skip());
        }
        let mut item = input.item;
        let in_backup = input.item_from_backup;
        let old = text(in_backup, "/metadata/name");
        let content = text(in_backup, "/status/boundVolumeSnapshotContentName");
        if content.is_empty() {
            return Err(ActionError::new(format!(
                "VolumeSnapshot {}/{old} of the backup is bound to no VolumeSnapshotContent: which snapshot of the storage it was is not known",
                text(in_backup, "/metadata/namespace")
            )));
        }
        let name = new_name(input.restore, old);
        bind_to_content(&mut item, &name);
        child_map(&mut item, "metadata").insert("name".into(), json!(name));
        let annotations = map_at(&mut item, "annotations");
        annotations.insert(labels::CSI_VSC_DELETION_POLICY.into(), json!("Retain"));
        let must_include = labels::MUST_INCLUDE_ADDITIONAL_ITEMS_OF_RESTORE;
        annotations.insert(must_include.into(), json!("true"));
        Ok(Output {
            additional_items: vec![ResourceIdentifier::new(
                GROUP,
                "volumesnapshotcontents",
                "",
                content,
            )],
            ..Output::item(item)
        })
    }
}

/// Makes a snapshot that was taken of a claim one that is bound to a content of this name; needs no class.
pub fn bind_to_content(snapshot: &mut Value, content: &str) {
    let spec = child_map(snapshot, "spec");
    spec.insert("source".into(), json!({"volumeSnapshotContentName": content}));
    spec.remove("volumeSnapshotClassName");
}

/// `velero.io/csi-volumesnapshotcontent-restorer`.
pub struct VolumeSnapshotContentAction {
    /// Of the target cluster.
    pub client: Client,
}

#[async_trait]
impl RestoreItemAction for VolumeSnapshotContentAction {
    fn name(&self) -> &str {
        "velero.io/csi-volumesnapshotcontent-restorer"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&[known::VOLUME_SNAPSHOT_CONTENTS])
    }

    async fn execute(&self, input: Input<'_>) -> Result<Output, ActionError> {
        if input.restore.spec.restore_pvs == Some(false) {
            return Ok(Output::skip());
        }
        let mut item = input.item;
        let in_backup = input.item_from_backup;
        let handle = text(in_backup, "/status/snapshotHandle");
        if handle.is_empty() {
            return Err(ActionError::new(format!(
                "VolumeSnapshotContent {} of the backup has no snapshot handle: which snapshot of the storage it was is not known, and the data of its volume cannot be restored from this backup",
                text(in_backup, "/metadata/name")
            )));
        }
        let driver = text(in_backup, "/spec/driver").to_owned();
        let class = self.class(&driver).await?;
        stand_for(&mut item, in_backup, input.restore, handle, class.as_deref());
        let secrets = secrets::of_content(&item);
        Ok(Output {
            additional_items: as_items(secrets),
            ..Output::item(item)
        })
    }
}

impl VolumeSnapshotContentAction {
    /// The class by which the driver is given its credentials; the backup's own may not exist here. An error where nothing
    /// in the cluster knows the driver: nobody would ever look at the content, and its claim would wait for ever.
    async fn class(&self, driver: &str) -> Result<Option<String>, ActionError> {
        let asked = |error| ActionError::because(format!("looking for driver {driver}"), error);
        match driver::find(&self.client, driver).await.map_err(asked)? {
            Some(found) => Ok(found.snapshot_class),
            None if driver.is_empty() => Ok(None),
            None => Err(ActionError::new(format!(
                "driver {driver} of the snapshot is not in this cluster (no VolumeSnapshotClass, CSIDriver or StorageClass names it): a snapshot that stayed in the storage can be restored only where its driver reaches that storage; install the driver, or back up with --snapshot-move-data"
            ))),
        }
    }
}

/// Makes a content that was made for a claim's snapshot one that stands for the snapshot in the storage.
fn stand_for(content: &mut Value, in_backup: &Value, restore: &Restore, handle: &str, class: Option<&str>) {
    let name = new_name(restore, text(in_backup, "/spec/volumeSnapshotRef/name"));
    let spec = child_map(content, "spec");
    if let Some(of) = spec.get_mut("volumeSnapshotRef").and_then(Value::as_object_mut) {
        of.remove("uid");
        of.remove("resourceVersion");
        of.insert("name".into(), json!(name));
        let mapped = of
            .get("namespace")
            .and_then(Value::as_str)
            .and_then(|namespace| restore.spec.namespace_mapping.get(namespace));
        if let Some(mapped) = mapped {
            let mapped = json!(mapped);
            of.insert("namespace".into(), mapped);
        }
    }
    spec.insert("deletionPolicy".into(), json!("Retain"));
    spec.insert("source".into(), json!({"snapshotHandle": handle}));
    match class {
        Some(class) => spec.insert("volumeSnapshotClassName".into(), json!(class)),
        None => spec.remove("volumeSnapshotClassName"),
    };
    child_map(content, "metadata").insert("name".into(), json!(name));
    remove_annotations(content, MARKS);
}

/// `velero.io/csi-volumesnapshotclass-restorer`.
pub struct VolumeSnapshotClassAction;

#[async_trait]
impl RestoreItemAction for VolumeSnapshotClassAction {
    fn name(&self) -> &str {
        "velero.io/csi-volumesnapshotclass-restorer"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&["volumesnapshotclasses.snapshot.storage.k8s.io"])
    }

    async fn execute(&self, input: Input<'_>) -> Result<Output, ActionError> {
        if input.restore.spec.restore_pvs == Some(false) {
            return Ok(Output::skip());
        }
        let secrets = secrets::of_class(&input.item);
        Ok(Output {
            additional_items: as_items(secrets),
            ..Output::item(input.item)
        })
    }
}

/// The name of a snapshot of the backup in this restore.
pub(crate) fn new_name(restore: &Restore, snapshot: &str) -> String {
    restored_snapshot_name(&restore.uid().unwrap_or_default(), snapshot)
}

fn as_items(secrets: impl IntoIterator<Item = secrets::SecretName>) -> Vec<ResourceIdentifier> {
    let secrets = secrets.into_iter();
    secrets
        .map(|(namespace, name)| ResourceIdentifier::new("", "secrets", namespace, name))
        .collect()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
