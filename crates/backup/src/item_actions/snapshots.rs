//! `velero.io/csi-volumesnapshot-backupper`, `…-volumesnapshotcontent-…` and `…-volumesnapshotclass-…`: the objects of a
//! snapshot that stays in the storage become items of the backup, and the backup waits until it is ready to use
//! (velero-behaviour.md 4.2; upstream `pkg/backup/actions/csi/volumesnapshot{,content,class}_action.go`).
//!
//! ```text
//! claim ─► VolumeSnapshot ─┬─► VolumeSnapshotContent ─► Secret of the driver
//!   operation until ready  └─► VolumeSnapshotClass ───► Secret of the driver
//! ```
//! Different from Velero: only a snapshot that this backup took is waited for, labelled, and later deleted from the cluster
//! with its objects (there, one that somebody else's action brings along goes too), and a content that cannot be labelled is
//! an error, because by that label the expiry of the backup knows that the storage's snapshot is its own.

use async_trait::async_trait;
use caravel_api::labels;
use caravel_api::v1::{Backup, BackupPhase};
use caravel_csi::{VolumeSnapshot, VolumeSnapshotContent, secrets, snapshot};
use caravel_item_action::{
    ActionError, BackupItemAction, BackupItemOutput, OperationProgress, ResourceIdentifier, ResourceSelector,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Map, Value, json};

use crate::cluster::{metadata_entry, name, namespace, set_metadata_entry, text};

/// Name of the VolumeSnapshots' action, also written to the item operations.
pub const NAME: &str = "velero.io/csi-volumesnapshot-backupper";

/// API group of the snapshots.
pub const GROUP: &str = "snapshot.storage.k8s.io";
/// VolumeSnapshots, as items.
pub const SNAPSHOTS: &str = "volumesnapshots";
/// VolumeSnapshotContents, as items.
pub const CONTENTS: &str = "volumesnapshotcontents";
/// VolumeSnapshotClasses, as items.
pub const CLASSES: &str = "volumesnapshotclasses";

/// `velero.io/csi-volumesnapshot-backupper`.
pub struct VolumeSnapshotAction {
    pub client: Client,
}

#[async_trait]
impl BackupItemAction for VolumeSnapshotAction {
    fn name(&self) -> &str {
        NAME
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&["volumesnapshots.snapshot.storage.k8s.io"])
    }

    async fn execute(&self, item: Value, backup: &Backup) -> Result<BackupItemOutput, ActionError> {
        if is_finalizing(backup) {
            return Ok(BackupItemOutput::item(item));
        }
        let is_ours = is_of(&item, backup);
        let (of_namespace, of_name) = (namespace(&item).to_owned(), name(&item).to_owned());
        let backed_up = self.back_up(item, backup, is_ours).await;
        if let (Err(_), true) = (&backed_up, is_ours)
            && let Err(error) = snapshot::delete_with_content(&self.client, &of_namespace, &of_name).await
        {
            tracing::warn!(%error, "snapshot of a failed item stays behind; delete it by hand");
        }
        backed_up
    }

    async fn progress(&self, operation_id: &str, _backup: &Backup) -> Result<OperationProgress, ActionError> {
        let operation = Operation::parse(operation_id)?;
        let of = &operation.snapshot;
        let snapshots: Api<VolumeSnapshot> = Api::namespaced(self.client.clone(), &of.namespace);
        let asked = |error| ActionError::because(format!("cannot read {of}"), error);
        let found = snapshots.get_opt(&of.name).await.map_err(asked)?;
        let content = match found.as_ref().and_then(snapshot::bound_content) {
            Some(content) => {
                let contents: Api<VolumeSnapshotContent> = Api::all(self.client.clone());
                contents.get_opt(content).await.map_err(asked)?
            }
            None => None,
        };
        progress_of(&operation, found.as_ref(), content.as_ref(), Timestamp::now())
    }

    /// Nothing: CSI cannot end the making of a snapshot.
    async fn cancel(&self, _operation_id: &str, _backup: &Backup) -> Result<(), ActionError> {
        Ok(())
    }
}

impl VolumeSnapshotAction {
    async fn back_up(
        &self,
        mut item: Value,
        backup: &Backup,
        is_ours: bool,
    ) -> Result<BackupItemOutput, ActionError> {
        let of = id(SNAPSHOTS, namespace(&item), name(&item));
        let content = self.content(&item, &of).await?;
        let mut additional_items = Vec::new();
        let class = text(&item, "/spec/volumeSnapshotClassName");
        if !class.is_empty() {
            additional_items.push(id(CLASSES, "", class));
        }
        let content_id = id(CONTENTS, "", &content.name_any());
        additional_items.push(content_id.clone());
        let annotations = annotations_of(&content);
        if is_ours {
            self.mark(&of, &content.name_any(), &annotations, backup).await?;
        }
        for (key, value) in &annotations {
            set_metadata_entry(&mut item, "annotations", key, value.as_str().unwrap_or_default());
        }
        set_metadata_entry(
            &mut item,
            "annotations",
            labels::MUST_INCLUDE_ADDITIONAL_ITEMS,
            "true",
        );
        if !is_ours {
            return Ok(BackupItemOutput {
                item,
                additional_items,
                ..BackupItemOutput::default()
            });
        }
        Ok(BackupItemOutput {
            item,
            additional_items,
            operation_id: Some(Operation::begins_now(of.clone()).id()),
            post_operation_items: vec![of, content_id],
            ..BackupItemOutput::default()
        })
    }

    async fn content(
        &self,
        item: &Value,
        of: &ResourceIdentifier,
    ) -> Result<VolumeSnapshotContent, ActionError> {
        let content = text(item, "/status/boundVolumeSnapshotContentName");
        if content.is_empty() {
            return Err(ActionError::new(format!(
                "{of} is bound to no VolumeSnapshotContent; is the snapshot-controller running?"
            )));
        }
        let contents: Api<VolumeSnapshotContent> = Api::all(self.client.clone());
        let found = contents.get_opt(content).await.map_err(|error| {
            ActionError::because(
                format!("{of}: cannot read VolumeSnapshotContent {content}"),
                error,
            )
        })?;
        found.ok_or_else(|| {
            ActionError::new(format!(
                "{of}: its VolumeSnapshotContent {content} does not exist any more"
            ))
        })
    }

    /// Writes on the objects in the cluster what the finalizer and a restore look for.
    async fn mark(
        &self,
        of: &ResourceIdentifier,
        content: &str,
        annotations: &Map<String, Value>,
        backup: &Backup,
    ) -> Result<(), ActionError> {
        let of_backup = json!({"metadata": {"labels": {
            labels::BACKUP_NAME: labels::label_value(&backup.name_any()),
            labels::BACKUP_UID: backup.uid(),
        }}});
        let contents: Api<VolumeSnapshotContent> = Api::all(self.client.clone());
        let params = PatchParams::default();
        contents
            .patch(content, &params, &Patch::Merge(&of_backup))
            .await
            .map_err(|error| {
                ActionError::because(
                    format!("{of}: cannot label VolumeSnapshotContent {content}"),
                    error,
                )
            })?;
        let noted = json!({"metadata": {"annotations": annotations}});
        let snapshots: Api<VolumeSnapshot> = Api::namespaced(self.client.clone(), &of.namespace);
        snapshots
            .patch(&of.name, &params, &Patch::Merge(&noted))
            .await
            .map(drop)
            .map_err(|error| ActionError::because(format!("cannot annotate {of}"), error))
    }
}

/// What a restore needs of the content, on the VolumeSnapshot.
fn annotations_of(content: &VolumeSnapshotContent) -> Map<String, Value> {
    let status = content.status.clone().unwrap_or_default();
    let mut annotations = Map::new();
    let mut note = |key: &str, value: String| annotations.insert(key.to_owned(), value.into());
    note(
        labels::CSI_VSC_DELETION_POLICY,
        content.spec.deletion_policy.as_str().to_owned(),
    );
    if let Some(handle) = status.snapshot_handle {
        note(labels::VOLUME_SNAPSHOT_HANDLE, handle);
        note(labels::CSI_DRIVER_NAME, content.spec.driver.clone());
    }
    if let Some(bytes) = status.restore_size {
        note(labels::VOLUME_SNAPSHOT_RESTORE_SIZE, binary_quantity(bytes).0);
    }
    if let Some(group) = status.volume_group_snapshot_handle {
        note(labels::VOLUME_GROUP_SNAPSHOT_HANDLE, group);
    }
    annotations
}

/// Bytes as Kubernetes writes them: the largest power of 1024 that leaves a whole number (`64Mi`).
pub(super) fn binary_quantity(bytes: i64) -> Quantity {
    const UNITS: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let (mut number, mut unit) = (bytes, 0);
    while number != 0 && number % 1024 == 0 && unit + 1 < UNITS.len() {
        number /= 1024;
        unit += 1;
    }
    Quantity(format!("{number}{}", UNITS[unit]))
}

/// True of a VolumeSnapshot that this very backup took. The UID decides; a snapshot without one is known by the name only.
fn is_of(item: &Value, backup: &Backup) -> bool {
    match metadata_entry(item, "labels", labels::BACKUP_UID) {
        Some(uid) => Some(uid) == backup.uid().as_deref(),
        None => {
            let by_name = metadata_entry(item, "labels", labels::BACKUP_NAME);
            by_name == Some(&labels::label_value(&backup.name_any()))
        }
    }
}

fn is_finalizing(backup: &Backup) -> bool {
    matches!(
        backup.phase(),
        BackupPhase::Finalizing | BackupPhase::FinalizingPartiallyFailed
    )
}

fn id(resource: &str, namespace: &str, name: &str) -> ResourceIdentifier {
    ResourceIdentifier::new(GROUP, resource, namespace, name)
}

/// An operation that ends when a snapshot is ready to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub snapshot: ResourceIdentifier,
    pub started: Timestamp,
}

impl Operation {
    /// To the second, as the id has it.
    fn begins_now(snapshot: ResourceIdentifier) -> Self {
        let now = Timestamp::now();
        Self {
            snapshot,
            started: Timestamp::from_second(now.as_second()).unwrap_or(now),
        }
    }

    /// `<namespace>/<VolumeSnapshot>/<RFC 3339>`.
    pub fn id(&self) -> String {
        let of = &self.snapshot;
        format!("{}/{}/{}", of.namespace, of.name, self.started)
    }

    /// Reads [`Operation::id`], ours or Velero's.
    ///
    /// # Errors
    /// It is no such id.
    pub fn parse(operation_id: &str) -> Result<Self, ActionError> {
        let parts: Vec<&str> = operation_id.split('/').collect();
        let [of_namespace, of_name, started] = parts.as_slice() else {
            return Err(ActionError::new(format!(
                "{operation_id:?} is not the id of an operation of {NAME}"
            )));
        };
        let started = started.parse().map_err(|error: jiff::Error| {
            ActionError::because(format!("the time in operation id {operation_id:?}"), error)
        })?;
        Ok(Self {
            snapshot: id(SNAPSHOTS, of_namespace, of_name),
            started,
        })
    }
}

/// How far an operation is, from its objects. An error of the VolumeSnapshot is temporary, the controller tries again; one of
/// the content ends the operation, as in Velero.
///
/// # Errors
/// An object is gone: the snapshot cannot become ready any more.
pub fn progress_of(
    operation: &Operation,
    snapshot: Option<&VolumeSnapshot>,
    content: Option<&VolumeSnapshotContent>,
    now: Timestamp,
) -> Result<OperationProgress, ActionError> {
    let of = &operation.snapshot;
    let Some(snapshot) = snapshot else {
        return Err(ActionError::new(format!(
            "{of} does not exist any more; it was deleted before its snapshot was ready to use"
        )));
    };
    let going = OperationProgress {
        started: Some(operation.started),
        ..OperationProgress::default()
    };
    let status = snapshot.status.clone().unwrap_or_default();
    if status.ready_to_use != Some(true) && status.error.is_some() {
        return Ok(going);
    }
    let Some(content_name) = status.bound_volume_snapshot_content_name else {
        return Ok(going);
    };
    let Some(content) = content else {
        return Err(ActionError::new(format!(
            "{of}: its VolumeSnapshotContent {content_name} does not exist any more; it was deleted before the snapshot was ready to use"
        )));
    };
    let status = content.status.clone().unwrap_or_default();
    let ended = OperationProgress {
        completed: true,
        updated: Some(now),
        ..going.clone()
    };
    Ok(match (status.ready_to_use, status.error) {
        (Some(true), _) => ended,
        (_, Some(error)) => OperationProgress {
            error: error
                .message
                .unwrap_or_else(|| format!("{of}: the driver reports an error without a message")),
            ..ended
        },
        (_, None) => going,
    })
}

/// `velero.io/csi-volumesnapshotcontent-backupper`.
pub struct VolumeSnapshotContentAction;

#[async_trait]
impl BackupItemAction for VolumeSnapshotContentAction {
    fn name(&self) -> &str {
        "velero.io/csi-volumesnapshotcontent-backupper"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&["volumesnapshotcontents.snapshot.storage.k8s.io"])
    }

    async fn execute(&self, item: Value, backup: &Backup) -> Result<BackupItemOutput, ActionError> {
        if is_finalizing(backup) {
            return Ok(BackupItemOutput::item(item));
        }
        let found = secrets::of_content(&item);
        with_secrets(item, "VolumeSnapshotContent", found)
    }
}

/// `velero.io/csi-volumesnapshotclass-backupper`.
pub struct VolumeSnapshotClassAction;

#[async_trait]
impl BackupItemAction for VolumeSnapshotClassAction {
    fn name(&self) -> &str {
        "velero.io/csi-volumesnapshotclass-backupper"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&["volumesnapshotclasses.snapshot.storage.k8s.io"])
    }

    async fn execute(&self, item: Value, _backup: &Backup) -> Result<BackupItemOutput, ActionError> {
        let mut found = secrets::of_class(&item);
        found.extend(secrets::of_class_parameters(&item));
        with_secrets(item, "VolumeSnapshotClass", found)
    }
}

fn with_secrets(
    mut item: Value,
    kind: &str,
    secrets: impl IntoIterator<Item = secrets::SecretName>,
) -> Result<BackupItemOutput, ActionError> {
    if item["kind"] != kind {
        return Err(ActionError::new(format!("{} is not a {kind}", name(&item))));
    }
    let additional_items: Vec<_> = secrets
        .into_iter()
        .map(|(of, secret)| ResourceIdentifier::new("", "secrets", of, secret))
        .collect();
    if !additional_items.is_empty() {
        let key = labels::MUST_INCLUDE_ADDITIONAL_ITEMS;
        set_metadata_entry(&mut item, "annotations", key, "true");
    }
    Ok(BackupItemOutput {
        item,
        additional_items,
        ..BackupItemOutput::default()
    })
}

#[cfg(test)]
mod tests {
    use caravel_csi::{DeletionPolicy, VolumeSnapshotContentStatus};

    use super::*;

    #[test]
    fn the_snapshot_in_the_backup_says_what_velero_writes_on_it() {
        // samples/bucket/fix3: odd/velero-fs-db7bm.
        let mut content = VolumeSnapshotContent::default();
        content.spec.driver = "hostpath.csi.k8s.io".into();
        content.spec.deletion_policy = DeletionPolicy::Delete;
        content.status = Some(VolumeSnapshotContentStatus {
            snapshot_handle: Some("6127f122-e55e-11f1-b9b7-d65ff680a16e".into()),
            restore_size: Some(67_108_864),
            ..VolumeSnapshotContentStatus::default()
        });
        assert_eq!(
            Value::from(annotations_of(&content)),
            json!({
                "velero.io/csi-driver-name": "hostpath.csi.k8s.io",
                "velero.io/csi-volumesnapshot-handle": "6127f122-e55e-11f1-b9b7-d65ff680a16e",
                "velero.io/csi-volumesnapshot-restore-size": "64Mi",
                "velero.io/csi-vsc-deletion-policy": "Delete",
            })
        );
    }

    #[test]
    fn only_a_snapshot_that_this_very_backup_took_is_its_own() {
        let mut backup = Backup::new("b1", Default::default());
        backup.metadata.uid = Some("now".into());
        let labelled = |labels: Value| json!({"metadata": {"name": "s", "labels": labels}});
        let both = |uid: &str| labelled(json!({labels::BACKUP_NAME: "b1", labels::BACKUP_UID: uid}));
        assert!(is_of(&both("now"), &backup));
        assert!(
            !is_of(&both("before"), &backup),
            "an earlier backup of the same name kept it"
        );
        assert!(is_of(&labelled(json!({labels::BACKUP_NAME: "b1"})), &backup));
        assert!(!is_of(&labelled(json!({"app": "x"})), &backup));
    }

    #[test]
    fn an_operation_is_known_by_its_id() {
        let id = "odd/velero-fs-db7bm/2026-11-21T03:48:19Z";
        let operation = Operation::parse(id).unwrap();
        assert_eq!(
            (operation.id().as_str(), operation.snapshot.name.as_str()),
            (id, "velero-fs-db7bm")
        );
    }

    #[test]
    fn sizes_are_written_as_kubernetes_writes_them() {
        for (bytes, text) in [
            (0, "0"),
            (1, "1"),
            (1536, "1536"),
            (64 << 20, "64Mi"),
            (3 << 30, "3Gi"),
        ] {
            assert_eq!(binary_quantity(bytes).0, text);
        }
    }
}
