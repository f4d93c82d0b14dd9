//! The DataUpload of a claim: the one that is made, one of an earlier attempt that goes on, and what it says of its operation.

use std::collections::BTreeMap;

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_api::v2alpha1::{CsiSnapshotSpec, DataUpload, DataUploadPhase, DataUploadSpec};
use caravel_item_action::{OperationProgress, UNITS_BYTES};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;
use serde_json::Value;

use super::snapshot_timeout;
use crate::cluster::{name, namespace, text};

pub(super) fn data_upload(
    claim: &Value,
    driver: &str,
    class: &str,
    snapshot_name: &str,
    backup: &Backup,
    velero_namespace: &str,
) -> DataUpload {
    let backup_name = backup.name_any();
    let uid = backup.uid().unwrap_or_default();
    let parallel_files = backup
        .spec
        .uploader_config
        .as_ref()
        .map_or(0, |config| config.parallel_files_upload);
    let mut data_mover_config = BTreeMap::new();
    if parallel_files > 0 {
        data_mover_config.insert("ParallelFilesUpload".to_owned(), parallel_files.to_string());
    }
    let spec = DataUploadSpec {
        backup_storage_location: backup.spec.storage_location.clone(),
        csi_snapshot: Some(CsiSnapshotSpec {
            driver: driver.to_owned(),
            snapshot_class: class.to_owned(),
            storage_class: text(claim, "/spec/storageClassName").to_owned(),
            volume_snapshot: snapshot_name.to_owned(),
        }),
        data_mover_config,
        datamover: backup.spec.datamover.clone(),
        operation_timeout: snapshot_timeout(backup).into(),
        snapshot_type: "CSI".to_owned(),
        source_namespace: namespace(claim).to_owned(),
        source_pvc: name(claim).to_owned(),
        ..DataUploadSpec::default()
    };
    let labels_of_upload = [
        (labels::BACKUP_NAME, labels::label_value(&backup_name)),
        (labels::BACKUP_UID, uid.clone()),
        (labels::PVC_UID, text(claim, "/metadata/uid").to_owned()),
        (labels::ASYNC_OPERATION_ID, operation_id(claim, backup, 0)),
    ];
    let mut upload = DataUpload::new("", spec);
    upload.metadata = ObjectMeta {
        generate_name: Some(format!("{backup_name}-")),
        namespace: Some(velero_namespace.to_owned()),
        labels: Some(
            labels_of_upload
                .map(|(key, value)| (key.to_owned(), value))
                .into(),
        ),
        owner_references: Some(vec![OwnerReference {
            api_version: "velero.io/v1".to_owned(),
            kind: "Backup".to_owned(),
            name: backup_name,
            uid,
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    };
    upload
}

/// The upload of an earlier attempt whose data counts: done, or still being moved. One that failed, or is told to end, is
/// made anew.
pub(super) fn going_on(former: &[DataUpload]) -> Option<(String, &DataUpload)> {
    let goes_on = |upload: &&DataUpload| {
        let phase = upload.phase();
        let is_over = matches!(
            phase,
            DataUploadPhase::Failed | DataUploadPhase::Canceled | DataUploadPhase::Canceling
        );
        let is_done = phase == DataUploadPhase::Completed;
        !is_over && (is_done || !upload.spec.cancel) && upload.metadata.deletion_timestamp.is_none()
    };
    let with_id = former.iter().filter(goes_on).filter_map(|upload| {
        let id = upload.labels().get(labels::ASYNC_OPERATION_ID)?;
        Some((id.clone(), upload))
    });
    with_id.max_by_key(|(_, upload)| upload.phase() == DataUploadPhase::Completed)
}

/// `du-<Backup UID>.<claim UID>` as Velero writes it; with a number where uploads of earlier attempts have that one.
pub(super) fn operation_id(claim: &Value, backup: &Backup, former: usize) -> String {
    let uid = backup.uid().unwrap_or_default();
    let claim_uid = text(claim, "/metadata/uid");
    let prefix = labels::DATA_UPLOAD_OPERATION_PREFIX;
    let id = format!("{prefix}{uid}.{claim_uid}");
    labels::label_value(&match former {
        0 => id,
        former => format!("{id}.{}", former + 1),
    })
}

/// What a DataUpload says about its operation.
pub fn progress_of(upload: &DataUpload) -> OperationProgress {
    let status = upload.status.clone().unwrap_or_default();
    let phase = upload.phase();
    let error = match phase {
        DataUploadPhase::Failed if status.message.is_empty() => {
            "DataUpload failed without a message".to_owned()
        }
        DataUploadPhase::Failed => status.message,
        DataUploadPhase::Canceled if status.message.is_empty() => "DataUpload is canceled".to_owned(),
        DataUploadPhase::Canceled => format!("DataUpload is canceled: {}", status.message),
        _ => String::new(),
    };
    let progress = status.progress.unwrap_or_default();
    OperationProgress {
        completed: phase.is_finished(),
        error,
        n_completed: progress.bytes_done,
        n_total: progress.total_bytes,
        operation_units: UNITS_BYTES.to_owned(),
        description: phase.to_string(),
        started: status.start_timestamp.map(|time| time.0),
        updated: status.completion_timestamp.map(|time| time.0),
    }
}

#[cfg(test)]
mod tests {
    use caravel_api::v2alpha1::DataUploadStatus;
    use serde_json::json;

    use super::super::tests::{backup, fs_claim};
    use super::*;

    #[test]
    fn the_data_upload_is_the_one_that_velero_makes() {
        let upload = data_upload(
            &fs_claim(),
            "hostpath.csi.k8s.io",
            "hostpath",
            "velero-fs-qs5cv",
            &backup(),
            "velero",
        );
        // samples/objects/datauploads.yaml, the second one.
        let expected = json!({
            "apiVersion": "velero.io/v2alpha1", "kind": "DataUpload",
            "metadata": {
                "generateName": "fix1-", "namespace": "velero", "name": null,
                "labels": {
                    "velero.io/async-operation-id": "du-4522b9bc-fd28-4e9e-8c10-5bc1b7abb58e.cf6aeca3-ad07-4900caa6d",
                    "velero.io/backup-name": "fix1",
                    "velero.io/backup-uid": "4522b9bc-fd28-4e9e-8c10-5bc1b7abb58e",
                    "velero.io/pvc-uid": "cf6aeca3-ad07-4903-8243-ef0e499d068a"},
                "ownerReferences": [{"apiVersion": "velero.io/v1", "controller": true, "kind": "Backup", "name": "fix1",
                    "uid": "4522b9bc-fd28-4e9e-8c10-5bc1b7abb58e"}]},
            "spec": {
                "backupStorageLocation": "fix",
                "csiSnapshot": {"driver": "hostpath.csi.k8s.io", "snapshotClass": "hostpath",
                    "storageClass": "hostpath", "volumeSnapshot": "velero-fs-qs5cv"},
                "operationTimeout": "10m0s", "snapshotType": "CSI", "sourceNamespace": "odd", "sourcePVC": "fs"}});
        let mut found = serde_json::to_value(&upload).unwrap();
        found["metadata"]["name"] = Value::Null;
        assert_eq!(found, expected);
    }

    fn former(name: &str, phase: &str, id: &str) -> DataUpload {
        let mut upload = DataUpload::new(name, DataUploadSpec::default());
        upload
            .labels_mut()
            .insert(labels::ASYNC_OPERATION_ID.to_owned(), id.to_owned());
        upload.status = Some(DataUploadStatus {
            phase: Some(phase.into()),
            ..DataUploadStatus::default()
        });
        upload
    }

    #[test]
    fn an_upload_of_an_earlier_attempt_is_used_unless_it_failed_or_is_told_to_end() {
        let found = |uploads: &[DataUpload]| going_on(uploads).map(|(id, upload)| (id, upload.name_any()));
        let used = |id: &str, name: &str| Some((id.to_owned(), name.to_owned()));
        for phase in ["", "New", "Accepted", "Prepared", "InProgress", "Completed"] {
            assert_eq!(found(&[former("a", phase, "1")]), used("1", "a"), "{phase}");
        }
        for phase in ["Failed", "Canceled", "Canceling"] {
            assert_eq!(found(&[former("a", phase, "1")]), None, "{phase}");
            let both = [former("a", phase, "1"), former("b", "InProgress", "2")];
            assert_eq!(found(&both), used("2", "b"), "{phase}");
        }
        let mut told = former("a", "InProgress", "1");
        told.spec.cancel = true;
        assert_eq!(found(&[told]), None);
        let both = [former("a", "Completed", "1"), former("b", "InProgress", "2")];
        assert_eq!(found(&both), used("1", "a"));
    }

    #[test]
    fn an_upload_that_is_made_anew_has_an_operation_id_of_its_own() {
        let ids: Vec<String> = (0..3)
            .map(|former| operation_id(&fs_claim(), &backup(), former))
            .collect();
        assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
        assert!(
            ids.iter()
                .all(|id| id.len() <= 63 && id.starts_with("du-4522b9bc"))
        );
    }

    #[test]
    fn progress_follows_the_phase_of_the_data_upload() {
        let upload = |phase: &str, message: &str| {
            let mut upload = DataUpload::new("u", DataUploadSpec::default());
            upload.status = Some(DataUploadStatus {
                phase: Some(phase.into()),
                message: message.to_owned(),
                ..DataUploadStatus::default()
            });
            progress_of(&upload)
        };
        assert!(!upload("InProgress", "").completed);
        assert!(upload("Completed", "volume was empty").error.is_empty());
        assert_eq!(upload("Failed", "pod never started").error, "pod never started");
        assert_eq!(upload("Canceled", "").error, "DataUpload is canceled");
        assert!(
            !upload("Hibernating", "").completed,
            "a phase of a newer mover is not an end"
        );
    }
}
