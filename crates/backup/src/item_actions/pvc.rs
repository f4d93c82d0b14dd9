//! `velero.io/csi-pvc-backupper`: takes the snapshot of a PVC and has its data moved, or keeps the snapshot in the storage
//! (velero-behaviour.md 4.1; upstream `pkg/backup/actions/csi/pvc_action.go`).
//!
//! ```text
//! class ► VolumeSnapshot ► wait for the handle (the volume may change again) ─┬► DataUpload (the data moves)
//!            └── on any failure: content to Delete, VolumeSnapshot gone,      └► the snapshot is an item of the backup
//!                item error ──────────────────────────────────────────────┘
//! ```
//! Of data that moves, the node agent goes on: it owns the snapshot and removes it. A snapshot that stays goes through
//! [`super::snapshots`]. `backup_operations` follows both. Different from Velero: a DataUpload that cannot be created is an
//! item error (upstream returns the PVC as if all was well), and the driver is the volume's own and not its StorageClass's.

mod claim;
mod upload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_api::v2alpha1::DataUpload;
use caravel_csi::snapshot::TakenSnapshot;
use caravel_csi::{
    VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotSource, VolumeSnapshotSpec, classes, snapshot,
};
use caravel_item_action::{
    ActionError, BackupItemAction, BackupItemOutput, OperationProgress, ResourceIdentifier, ResourceSelector,
};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::cluster::{metadata_entry, name, namespace, text};
use crate::resource_policies::Policies;
use crate::volumes::{self, Rules, VolumePlan};
use claim::{forget_former_backup, mark, stays};
use upload::{data_upload, going_on, operation_id};

#[cfg(test)]
pub(crate) use claim::fit_request;
pub use upload::progress_of;

/// The action's name, also written to the item operations.
pub const NAME: &str = "velero.io/csi-pvc-backupper";

/// Velero's default of `spec.csiSnapshotTimeout`.
pub const DEFAULT_SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);

pub struct CsiPvcAction {
    client: Client,
    velero_namespace: String,
    policies: Option<Arc<Policies>>,
    /// Listed once a backup.
    classes: OnceCell<Vec<VolumeSnapshotClass>>,
    /// Whether there is a node agent, asked once a backup.
    node_agent: OnceCell<bool>,
}

/// The DaemonSets of the node agent (upstream `pkg/nodeagent`); ours is the first one.
const NODE_AGENTS: [&str; 2] = ["node-agent", "node-agent-windows"];

impl CsiPvcAction {
    pub fn new(client: Client, velero_namespace: impl Into<String>, policies: Option<Arc<Policies>>) -> Self {
        Self {
            client,
            velero_namespace: velero_namespace.into(),
            policies,
            classes: OnceCell::new(),
            node_agent: OnceCell::new(),
        }
    }

    /// Without a node agent nobody would ever look at the DataUpload. One that is installed and not ready comes back: the
    /// upload waits for it, as it does when a node agent goes later.
    async fn node_agent_exists(&self, claim: &Value) -> Result<(), ActionError> {
        let exists = *self.node_agent.get_or_init(|| self.look_for_node_agent()).await;
        if exists {
            return Ok(());
        }
        Err(ActionError::new(format!(
            "{}: nobody would move its data: namespace {} has no DaemonSet {}; install the node agent (`velero install --use-node-agent`), or back up without --snapshot-move-data",
            of(claim),
            self.velero_namespace,
            NODE_AGENTS.join(" or ")
        )))
    }

    async fn look_for_node_agent(&self) -> bool {
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), &self.velero_namespace);
        for name in NODE_AGENTS {
            match api.get_opt(name).await {
                Ok(None) => {}
                Ok(Some(_)) => return true,
                Err(error) => {
                    tracing::warn!(%error, "cannot see whether there is a node agent; the data movement is begun all the same");
                    return true;
                }
            }
        }
        false
    }

    async fn volume(&self, claim: &Value) -> Result<Option<Value>, ActionError> {
        let volume_name = text(claim, "/spec/volumeName");
        if volume_name.is_empty() {
            return Ok(None);
        }
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let found = api.get_opt(volume_name).await.map_err(|error| {
            ActionError::because(format!("cannot read PersistentVolume {volume_name}"), error)
        })?;
        Ok(found.and_then(|volume| serde_json::to_value(volume).ok()))
    }

    async fn class(
        &self,
        claim: &Value,
        driver: &str,
        backup: &Backup,
    ) -> Result<&VolumeSnapshotClass, ActionError> {
        let all = self
            .classes
            .get_or_try_init(|| snapshot::classes(&self.client))
            .await
            .map_err(|error| ActionError::because(of(claim), error))?;
        let backup_annotation = format!(
            "{}{}",
            labels::CSI_VOLUMESNAPSHOT_CLASS_PREFIX,
            driver.to_lowercase()
        );
        let wanted = classes::Wanted {
            driver,
            named_by_pvc: metadata_entry(claim, "annotations", labels::CSI_VOLUMESNAPSHOT_CLASS),
            named_by_backup: backup.annotations().get(&backup_annotation).map(String::as_str),
        };
        classes::select(all, wanted).map_err(|error| ActionError::because(of(claim), error))
    }

    /// Takes the snapshot and waits until the storage has cut it.
    async fn take(
        &self,
        claim: &Value,
        class: &VolumeSnapshotClass,
        backup: &Backup,
    ) -> Result<TakenSnapshot, ActionError> {
        let wanted = snapshot_of(claim, &class.name_any(), backup);
        let created = snapshot::create(&self.client, namespace(claim), &wanted)
            .await
            .map_err(|error| ActionError::because(of(claim), error))?;
        match snapshot::wait_for_handle(&self.client, &created, snapshot_timeout(backup)).await {
            Ok(taken) => Ok(taken),
            Err(error) => {
                self.discard(claim, &created.name_any()).await;
                Err(ActionError::because(of(claim), error))
            }
        }
    }

    /// Best effort: the item has failed already, and its error is the one that counts.
    async fn discard(&self, claim: &Value, snapshot_name: &str) {
        if let Err(error) = snapshot::delete_with_content(&self.client, namespace(claim), snapshot_name).await
        {
            tracing::warn!(%error, "snapshot of a failed item stays behind; delete it by hand");
        }
    }

    /// DataUploads of this claim that earlier attempts at the same backup have made. Only one that its server left
    /// begins again.
    async fn former_uploads(&self, claim: &Value, backup: &Backup) -> Result<Vec<DataUpload>, ActionError> {
        if !backup.annotations().contains_key(labels::ATTEMPT) {
            return Ok(Vec::new());
        }
        let api: Api<DataUpload> = Api::namespaced(self.client.clone(), &self.velero_namespace);
        let selector = format!(
            "{}={},{}={}",
            labels::BACKUP_UID,
            backup.uid().unwrap_or_default(),
            labels::PVC_UID,
            text(claim, "/metadata/uid")
        );
        let found = api.list(&ListParams::default().labels(&selector)).await;
        Ok(found
            .map_err(|error| {
                let what = format!("{}: cannot list the DataUploads of earlier attempts", of(claim));
                ActionError::because(what, error)
            })?
            .items)
    }

    /// The claim as it goes into the backup, with the operation that moves its data.
    fn moved(
        &self,
        mut item: Value,
        operation_id: String,
        upload: &DataUpload,
        backup: &Backup,
    ) -> BackupItemOutput {
        let snapshot = upload.spec.csi_snapshot.as_ref();
        let snapshot_name = snapshot.map_or("", |csi| csi.volume_snapshot.as_str());
        mark(&mut item, snapshot_name, upload, backup);
        BackupItemOutput {
            item,
            operation_id: Some(operation_id),
            post_operation_items: vec![ResourceIdentifier::new(
                "velero.io",
                "datauploads",
                &self.velero_namespace,
                upload.name_any(),
            )],
            ..BackupItemOutput::default()
        }
    }

    async fn operation(&self, operation_id: &str) -> Result<DataUpload, ActionError> {
        let api: Api<DataUpload> = Api::namespaced(self.client.clone(), &self.velero_namespace);
        let selector = format!("{}={operation_id}", labels::ASYNC_OPERATION_ID);
        let found = api
            .list(&ListParams::default().labels(&selector))
            .await
            .map_err(|error| {
                ActionError::because(
                    format!("cannot list the DataUpload of operation {operation_id}"),
                    error,
                )
            })?;
        found.items.into_iter().next().ok_or_else(|| {
            ActionError::new(format!(
                "operation {operation_id} has no DataUpload any more; it was deleted"
            ))
        })
    }
}

#[async_trait]
impl BackupItemAction for CsiPvcAction {
    fn name(&self) -> &str {
        NAME
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&["persistentvolumeclaims"])
    }

    async fn execute(&self, mut item: Value, backup: &Backup) -> Result<BackupItemOutput, ActionError> {
        forget_former_backup(&mut item);
        let volume = self.volume(&item).await?;
        let rules = Rules {
            spec: &backup.spec,
            enable_csi: true,
            policies: self.policies.as_deref(),
        };
        let driver = match volumes::plan(&item, volume.as_ref(), rules) {
            VolumePlan::Move { driver } => driver,
            VolumePlan::Snapshot { driver } => {
                let class = self.class(&item, &driver, backup).await?;
                let taken = self.take(&item, class, backup).await?;
                return Ok(stays(item, &taken, backup));
            }
            VolumePlan::NotWanted | VolumePlan::NothingYet => return Ok(BackupItemOutput::item(item)),
            VolumePlan::LeftOut { why } => {
                return Ok(BackupItemOutput {
                    item,
                    volume_left_out: Some(why),
                    ..BackupItemOutput::default()
                });
            }
            VolumePlan::Unsaved { why } => {
                return Err(ActionError::new(format!("{} is not saved: {why}", of(&item))));
            }
        };
        let former = self.former_uploads(&item, backup).await?;
        if let Some((operation_id, upload)) = going_on(&former) {
            return Ok(self.moved(item, operation_id, upload, backup));
        }
        if ["", "velero"].contains(&backup.spec.datamover.as_str()) {
            self.node_agent_exists(&item).await?;
        }
        let operation_id = operation_id(&item, backup, former.len());
        let class = self.class(&item, &driver, backup).await?;
        let snapshot_name = self.take(&item, class, backup).await?.snapshot.name_any();
        let mut wanted = data_upload(
            &item,
            &driver,
            &class.name_any(),
            &snapshot_name,
            backup,
            &self.velero_namespace,
        );
        wanted
            .labels_mut()
            .insert(labels::ASYNC_OPERATION_ID.to_owned(), operation_id.clone());
        let api: Api<DataUpload> = Api::namespaced(self.client.clone(), &self.velero_namespace);
        let created = match api.create(&PostParams::default(), &wanted).await {
            Ok(created) => created,
            Err(error) => {
                self.discard(&item, &snapshot_name).await;
                return Err(ActionError::because(
                    format!("{}: cannot create its DataUpload", of(&item)),
                    error,
                ));
            }
        };
        Ok(self.moved(item, operation_id, &created, backup))
    }

    async fn progress(&self, operation_id: &str, _backup: &Backup) -> Result<OperationProgress, ActionError> {
        Ok(progress_of(&self.operation(operation_id).await?))
    }

    async fn cancel(&self, operation_id: &str, _backup: &Backup) -> Result<(), ActionError> {
        let upload = self.operation(operation_id).await?;
        let api: Api<DataUpload> = Api::namespaced(self.client.clone(), &self.velero_namespace);
        let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
        api.patch(&upload.name_any(), &PatchParams::default(), &patch)
            .await
            .map(drop)
            .map_err(|error| {
                ActionError::because(format!("cannot cancel DataUpload {}", upload.name_any()), error)
            })
    }
}

/// The spec's timeout or Velero's default.
fn snapshot_timeout(backup: &Backup) -> Duration {
    backup
        .spec
        .csi_snapshot_timeout
        .map_or(DEFAULT_SNAPSHOT_TIMEOUT, |timeout| {
            timeout.or(DEFAULT_SNAPSHOT_TIMEOUT)
        })
}

fn of(claim: &Value) -> String {
    format!("PersistentVolumeClaim {}/{}", namespace(claim), name(claim))
}

fn snapshot_of(claim: &Value, class: &str, backup: &Backup) -> VolumeSnapshot {
    let mut labels_of_claim: BTreeMap<String, String> = claim
        .pointer("/metadata/labels")
        .and_then(|labels| serde_json::from_value(labels.clone()).ok())
        .unwrap_or_default();
    labels_of_claim.insert(
        labels::BACKUP_NAME.to_owned(),
        labels::label_value(&backup.name_any()),
    );
    // Velero writes the name only. By the UID a snapshot is found again that nothing else knows of.
    labels_of_claim.insert(labels::BACKUP_UID.to_owned(), backup.uid().unwrap_or_default());
    let spec = VolumeSnapshotSpec {
        source: VolumeSnapshotSource {
            persistent_volume_claim_name: Some(name(claim).to_owned()),
            volume_snapshot_content_name: None,
        },
        volume_snapshot_class_name: Some(class.to_owned()),
    };
    let mut snapshot = VolumeSnapshot::new("", spec);
    snapshot.metadata = ObjectMeta {
        generate_name: Some(format!("velero-{}-", name(claim))),
        namespace: Some(namespace(claim).to_owned()),
        labels: Some(labels_of_claim),
        ..ObjectMeta::default()
    };
    snapshot
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn fs_claim() -> Value {
        json!({"metadata": {"name": "fs", "namespace": "odd", "labels": {"part": "fs"},
                "uid": "cf6aeca3-ad07-4903-8243-ef0e499d068a"},
            "spec": {"storageClassName": "hostpath", "volumeName": "pvc-1"}})
    }

    pub(super) fn backup() -> Backup {
        let mut backup = Backup::new("fix1", Default::default());
        backup.metadata.uid = Some("4522b9bc-fd28-4e9e-8c10-5bc1b7abb58e".to_owned());
        backup.spec.storage_location = "fix".to_owned();
        backup
    }

    #[test]
    fn the_snapshot_has_the_claims_labels_and_the_backups_name_and_uid() {
        let snapshot = snapshot_of(&fs_claim(), "hostpath", &backup());
        assert_eq!(snapshot.metadata.generate_name.as_deref(), Some("velero-fs-"));
        assert_eq!(snapshot.labels()["part"], "fs");
        assert_eq!(snapshot.labels()[labels::BACKUP_NAME], "fix1");
        assert_eq!(
            snapshot.labels()[labels::BACKUP_UID],
            "4522b9bc-fd28-4e9e-8c10-5bc1b7abb58e"
        );
    }
}
