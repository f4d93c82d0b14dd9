//! The actions that carry moved data: `velero.io/dataupload` writes a DataUploadResult ConfigMap for each DataUpload of
//! the backup, `velero.io/csi-pvc-restorer` turns it into a DataDownload for its claim. What they write is made by the
//! pure functions in [`super::data_upload`] and [`super::claim`]; here is only the talk with the cluster. A claim whose
//! snapshot stayed in the storage gets that as its data source ([`super::snapshots`]).

use std::sync::Arc;

use async_trait::async_trait;
use caravel_api::v1::{Backup, Restore};
use caravel_api::v2alpha1::{DataDownload, DataUpload};
use caravel_api::{DataUploadResult, labels};
use caravel_csi::VolumeSnapshot;
use caravel_item_action::{
    ActionError, OperationProgress, ResourceIdentifier, ResourceSelector, RestoreItemAction,
    RestoreItemInput as Input, RestoreItemOutput as Output,
};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use rand::Rng;
use serde_json::Value;

use super::{claim, data_upload, snapshots};
use crate::group_resource::known;
use crate::metadata::{annotation, map_at};
use crate::operations;
use crate::own::Own;

/// Registered name of the claim's action; stands in the operations file.
pub const CLAIM_ACTION: &str = "velero.io/csi-pvc-restorer";

/// `velero.io/dataupload`.
pub struct DataUploadAction {
    /// Of the target cluster.
    pub client: Client,
    /// The Backup being restored.
    pub backup: Arc<Backup>,
}

#[async_trait]
impl RestoreItemAction for DataUploadAction {
    fn name(&self) -> &str {
        "velero.io/dataupload"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&[known::DATA_UPLOADS])
    }

    async fn execute(&self, input: Input<'_>) -> Result<Output, ActionError> {
        if input.restore.spec.restore_pvs == Some(false) {
            return Ok(Output::skip());
        }
        let upload: DataUpload = serde_json::from_value(input.item_from_backup.clone())
            .map_err(|error| ActionError::because("reading the DataUpload in the backup", error))?;
        let map = data_upload::result_config_map(&upload, input.restore, &self.backup)
            .map_err(|no_data| ActionError::new(no_data.to_string()))?;
        let namespace = input.restore.namespace().unwrap_or_default();
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &namespace);
        maps.create(&PostParams::default(), &map)
            .await
            .map_err(|error| ActionError::because("creating the DataUploadResult ConfigMap", error))?;
        Ok(Output::skip())
    }
}

/// `velero.io/csi-pvc-restorer`: data that was moved, and data in snapshots.
pub struct MovedClaimAction {
    /// Of the target cluster.
    pub client: Client,
    /// The Backup being restored.
    pub backup: Arc<Backup>,
}

/// The claim's data cannot be found; the claim is not created, because it would be empty.
#[derive(Debug, thiserror::Error)]
pub enum NoResult {
    /// No DataUpload of the backup is for this claim, or it did not complete (an error of its own says so).
    #[error(
        "no completed DataUpload in the backup holds the data of PersistentVolumeClaim {0}; it is not created, because it would be empty. To get it without data, delete its annotation velero.io/data-upload-name in a backup of your own, or create it by hand"
    )]
    Missing(String),
    /// Two DataUploads of the backup claim to hold it.
    #[error("{0} DataUploadResult ConfigMaps are for PersistentVolumeClaim {1}, there must be one")]
    Several(usize, String),
    /// The result speaks of another namespace, whose repository would be opened: what is in there is not this claim's.
    #[error(
        "the DataUploadResult ConfigMap for PersistentVolumeClaim {claim} is of a volume of namespace {said}; nothing of another namespace's data is restored into it. Was the ConfigMap or the DataUpload in the backup changed by hand?"
    )]
    OfAnother { claim: String, said: String },
}

#[async_trait]
impl RestoreItemAction for MovedClaimAction {
    fn name(&self) -> &str {
        CLAIM_ACTION
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&[known::PERSISTENT_VOLUME_CLAIMS])
    }

    async fn execute(&self, input: Input<'_>) -> Result<Output, ActionError> {
        let mut item = input.item;
        let text = |pointer: &str| {
            input
                .item_from_backup
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (namespace, name) = (
            text("/metadata/namespace").to_owned(),
            text("/metadata/name").to_owned(),
        );
        let moved = annotation(input.item_from_backup, labels::DATA_UPLOAD_NAME).is_some();
        let snapshot = annotation(input.item_from_backup, labels::VOLUME_SNAPSHOT_NAME)
            .filter(|_| self.backup.spec.snapshot_move_data != Some(true));
        if (!moved && snapshot.is_none()) || input.restore.spec.restore_pvs == Some(false) {
            return Ok(Output::item(item));
        }
        let target = input
            .restore
            .spec
            .namespace_mapping
            .get(&namespace)
            .unwrap_or(&namespace)
            .clone();
        let own = Own::of(input.restore);
        // The engine warns that its data is left as it is.
        if let Some(live) = self.live(&target, &name).await?
            && !(own.is_again && own.made(&live))
        {
            return Ok(Output::item(item));
        }
        if let Some(snapshot) = snapshot.filter(|_| !moved) {
            return Ok(from_snapshot(item, &namespace, snapshot, input.restore));
        }
        let former = if own.is_again {
            self.former_downloads(input.restore, &target, &name).await?
        } else {
            Vec::new()
        };
        claim::forget_volume(&mut item);
        claim::wait_for_download(&mut item, &namespace, &name, &random_suffix());
        if let Some(operation_id) = operations::going_on(&former) {
            return Ok(Output {
                operation_id: Some(operation_id),
                ..Output::item(item)
            });
        }
        let result = self.result(input.restore, &namespace, &name).await?;
        let operation_id = claim::operation_id(
            &input.restore.uid().unwrap_or_default(),
            text("/metadata/uid"),
            former.len(),
        );
        let download = claim::data_download(
            input.restore,
            &self.backup,
            &result,
            &target,
            &name,
            &operation_id,
        );
        let downloads: Api<DataDownload> = Api::namespaced(
            self.client.clone(),
            &input.restore.namespace().unwrap_or_default(),
        );
        downloads
            .create(&PostParams::default(), &download)
            .await
            .map_err(|error| {
                ActionError::because(
                    format_args!("creating the DataDownload for {target}/{name}"),
                    error,
                )
            })?;
        Ok(Output {
            operation_id: Some(operation_id),
            ..Output::item(item)
        })
    }

    async fn progress(
        &self,
        operation_id: &str,
        restore: &Restore,
    ) -> Result<OperationProgress, ActionError> {
        let namespace = restore.namespace().unwrap_or_default();
        let found = operations::find(&self.client, &namespace, operation_id)
            .await
            .map_err(|error| {
                ActionError::because(format_args!("looking for operation {operation_id}"), error)
            })?;
        found
            .first()
            .map(operations::progress)
            .ok_or_else(|| operations::gone(operation_id))
    }

    /// Whether the VolumeSnapshot is there that the claim is to be filled from. Without it the claim would wait for ever, and
    /// be in the way of the next restore.
    async fn are_additional_items_ready(
        &self,
        items: &[ResourceIdentifier],
        restore: &Restore,
    ) -> Result<bool, ActionError> {
        let Some(id) = items.first() else {
            return Err(ActionError::new(
                "the backup does not have its VolumeSnapshot; the claim is not created, because its data would never come",
            ));
        };
        let mapped = restore.spec.namespace_mapping.get(&id.namespace);
        let namespace = mapped.unwrap_or(&id.namespace);
        let name = snapshots::new_name(restore, &id.name);
        let api: Api<VolumeSnapshot> = Api::namespaced(self.client.clone(), namespace);
        let asked =
            |error| ActionError::because(format!("looking for VolumeSnapshot {namespace}/{name}"), error);
        match api.get_opt(&name).await.map_err(asked)? {
            Some(_) => Ok(true),
            None => Err(ActionError::new(format!(
                "its VolumeSnapshot {}/{} could not be restored, an error of its own says why; the claim is not created, because its data would never come",
                id.namespace, id.name
            ))),
        }
    }

    async fn cancel(&self, operation_id: &str, restore: &Restore) -> Result<(), ActionError> {
        let namespace = restore.namespace().unwrap_or_default();
        operations::cancel(&self.client, &namespace, operation_id)
            .await
            .map_err(|error| ActionError::because(format_args!("canceling operation {operation_id}"), error))
    }
}

/// The claim, to be filled from a snapshot of the backup, which is restored before it. `namespace` is the one in the backup.
fn from_snapshot(mut item: Value, namespace: &str, snapshot: &str, restore: &Restore) -> Output {
    claim::fill_from_snapshot(&mut item, &snapshots::new_name(restore, snapshot));
    let must_include = labels::MUST_INCLUDE_ADDITIONAL_ITEMS_OF_RESTORE;
    map_at(&mut item, "annotations").insert(must_include.into(), "true".into());
    Output {
        additional_items: vec![ResourceIdentifier::new(
            snapshots::GROUP,
            "volumesnapshots",
            namespace,
            snapshot,
        )],
        wait_for_additional_items: true,
        ..Output::item(item)
    }
}

impl MovedClaimAction {
    /// The claim as it is in the cluster.
    async fn live(&self, namespace: &str, name: &str) -> Result<Option<Value>, ActionError> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let found = claims.get_opt(name).await;
        let found = found.map_err(|error| {
            ActionError::because(
                format_args!("looking for PersistentVolumeClaim {namespace}/{name}"),
                error,
            )
        })?;
        let value = found.map(serde_json::to_value).transpose();
        value.map_err(|error| ActionError::because("reading a PersistentVolumeClaim", error))
    }

    /// DataDownloads into this claim that earlier attempts of the Restore have made.
    async fn former_downloads(
        &self,
        restore: &Restore,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<DataDownload>, ActionError> {
        let downloads: Api<DataDownload> =
            Api::namespaced(self.client.clone(), &restore.namespace().unwrap_or_default());
        let selector = format!("{}={}", labels::RESTORE_UID, restore.uid().unwrap_or_default());
        let found = downloads.list(&ListParams::default().labels(&selector)).await;
        let mut found = found
            .map_err(|error| ActionError::because("listing the DataDownloads of earlier attempts", error))?
            .items;
        found.retain(|download| {
            let target = &download.spec.target_volume;
            target.namespace == namespace && target.pvc == name
        });
        Ok(found)
    }

    async fn result(
        &self,
        restore: &Restore,
        namespace: &str,
        name: &str,
    ) -> Result<DataUploadResult, ActionError> {
        let uid = restore.uid().unwrap_or_default();
        let selector: Vec<String> = claim::result_labels(&uid, namespace, name)
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let maps: Api<ConfigMap> =
            Api::namespaced(self.client.clone(), &restore.namespace().unwrap_or_default());
        let found = maps
            .list(&ListParams::default().labels(&selector.join(",")))
            .await;
        let found = found
            .map_err(|error| ActionError::because("listing DataUploadResult ConfigMaps", error))?
            .items;
        let claim = format!("{namespace}/{name}");
        let json = match found.as_slice() {
            [map] => map.data.as_ref().and_then(|data| data.get(&uid)),
            [] => None,
            several => {
                return Err(ActionError::new(
                    NoResult::Several(several.len(), claim).to_string(),
                ));
            }
        };
        let json = json.ok_or_else(|| ActionError::new(NoResult::Missing(claim).to_string()))?;
        read(json, namespace, name)
    }
}

/// What a DataUploadResult says, if it is for this claim; `namespace` is the one in the backup.
fn read(json: &str, namespace: &str, claim: &str) -> Result<DataUploadResult, ActionError> {
    let result: DataUploadResult = serde_json::from_str(json)
        .map_err(|error| ActionError::because("reading the DataUploadResult ConfigMap", error))?;
    let said = &result.source_namespace;
    if !said.is_empty() && said != namespace {
        let of_another = NoResult::OfAnother {
            claim: format!("{namespace}/{claim}"),
            said: said.clone(),
        };
        return Err(ActionError::new(of_another.to_string()));
    }
    Ok(result)
}

/// Five characters that Kubernetes uses for generated names: no vowels, so no words.
fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    (0..5)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_of_another_namespace_is_refused_and_named() {
        let result =
            r#"{"backupStorageLocation": "default", "snapshotID": "66d7", "sourceNamespace": "shop"}"#;
        assert_eq!(read(result, "shop", "data").unwrap().snapshot_id, "66d7");
        let refused = read(result, "desk", "data").unwrap_err().to_string();
        for word in ["desk/data", "namespace shop"] {
            assert!(refused.contains(word), "{refused}");
        }
    }
}
