//! `velero.io/dataupload`: a DataUpload in the backup becomes a ConfigMap that tells the claim's action where the data
//! is; the DataUpload itself never comes back. Source: Velero `pkg/restore/actions/dataupload_retrieve_action.go`.

use std::collections::BTreeMap;

use caravel_api::phase::DataMovementPhase;
use caravel_api::v1::{Backup, Restore};
use caravel_api::v2alpha1::DataUpload;
use caravel_api::{DataUploadResult, label_value, labels};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::claim::result_labels;

/// Why a DataUpload of the backup gives no data.
#[derive(Debug, thiserror::Error)]
#[error(
    "DataUpload {name} of the backup is {phase} and not Completed ({message}): the data of PersistentVolumeClaim {claim} cannot be restored from this backup"
)]
pub struct NoData {
    name: String,
    phase: DataMovementPhase,
    message: String,
    claim: String,
}

/// The ConfigMap for one DataUpload, in the Restore's namespace.
pub fn result_config_map(
    upload: &DataUpload,
    restore: &Restore,
    backup: &Backup,
) -> Result<ConfigMap, NoData> {
    let status = upload.status.clone().unwrap_or_default();
    let claim = format!("{}/{}", upload.spec.source_namespace, upload.spec.source_pvc);
    let phase = status.phase.clone().unwrap_or_default();
    if phase != DataMovementPhase::Completed || status.snapshot_id.is_empty() {
        return Err(NoData {
            name: upload.name_any(),
            phase,
            message: status.message,
            claim,
        });
    }
    let result = DataUploadResult {
        backup_storage_location: backup.spec.storage_location.clone(),
        datamover: upload.spec.datamover.clone(),
        snapshot_id: status.snapshot_id,
        source_namespace: upload.spec.source_namespace.clone(),
        data_mover_result: status.data_mover_result,
        node_os: status.node_os,
        snapshot_size: status.progress.map_or(0, |progress| progress.total_bytes),
    };
    let uid = restore.uid().unwrap_or_default();
    let json = serde_json::to_string(&result).expect("strings, numbers and maps of strings");
    Ok(ConfigMap {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", upload.name_any())),
            namespace: restore.namespace(),
            labels: Some(result_labels(
                &uid,
                &upload.spec.source_namespace,
                &upload.spec.source_pvc,
            )),
            ..Default::default()
        },
        data: Some(BTreeMap::from([(uid, json)])),
        ..Default::default()
    })
}

/// Selects all result ConfigMaps of a Restore; they are deleted when it ends.
pub fn result_selector(restore_uid: &str) -> String {
    format!(
        "{}={},{}={}",
        labels::RESTORE_UID,
        label_value(restore_uid),
        labels::RESOURCE_USAGE,
        labels::RESOURCE_USAGE_DATA_UPLOAD
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn upload(phase: &str) -> DataUpload {
        serde_json::from_value(json!({
            "apiVersion": "velero.io/v2alpha1", "kind": "DataUpload",
            "metadata": {"name": "b1-x", "namespace": "velero"},
            "spec": {"snapshotType": "CSI", "sourceNamespace": "shop", "sourcePVC": "data", "operationTimeout": "10m0s",
                "backupStorageLocation": "elsewhere"},
            "status": {"phase": phase, "snapshotID": "66d7", "nodeOS": "linux", "message": "no space left",
                "progress": {"bytesDone": 7, "totalBytes": 7}},
        }))
        .unwrap()
    }

    fn restore_and_backup() -> (Restore, Backup) {
        let mut restore = Restore::new("r1", Default::default());
        restore.metadata.uid = Some("uid-1".into());
        restore.metadata.namespace = Some("velero".into());
        let mut backup = Backup::new("b1", Default::default());
        backup.spec.storage_location = "default".into();
        (restore, backup)
    }

    #[test]
    fn a_completed_upload_becomes_the_config_map_that_velero_writes() {
        let (restore, backup) = restore_and_backup();
        let map = result_config_map(&upload("Completed"), &restore, &backup).unwrap();
        assert_eq!(
            serde_json::to_value(map).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"generateName": "b1-x-", "namespace": "velero", "labels": {
                    "velero.io/restore-uid": "uid-1", "velero.io/pvc-namespace-name": "shop.data",
                    "velero.io/resource-usage": "DataUpload"}},
                "data": {"uid-1": "{\"backupStorageLocation\":\"default\",\"snapshotID\":\"66d7\",\"sourceNamespace\":\"shop\",\"nodeOS\":\"linux\",\"snapshotSize\":7}"},
            })
        );
    }

    #[test]
    fn an_upload_that_did_not_complete_is_an_error_naming_the_claim_not_an_empty_volume() {
        let (restore, backup) = restore_and_backup();
        let error = result_config_map(&upload("Failed"), &restore, &backup)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("shop/data") && error.contains("no space left"),
            "{error}"
        );
    }
}
