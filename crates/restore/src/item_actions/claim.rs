//! `velero.io/pvc` and the move part of `velero.io/csi-pvc-restorer`: a claim forgets its volume; when the backup moved
//! its data, it waits for the volume that a DataDownload fills (velero-behaviour.md 4.4 "PVC move", 8.4).
//!
//! Source: Velero `pkg/restore/actions/pvc_action.go`, `pkg/restore/actions/csi/pvc_action.go`. The ConfigMap it reads
//! is written by [`super::data_upload`].

use std::collections::BTreeMap;

use caravel_api::v1::{Backup, Restore};
use caravel_api::v2alpha1::{DataDownload, DataDownloadSpec, TargetVolumeSpec};
use caravel_api::{DataUploadResult, label_value, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::metadata::{child_map, remove_annotations};

/// What binding, provisioning and the backup wrote on the claim.
const OF_THE_OLD_VOLUME: &[&str] = &[
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
    "volume.alpha.kubernetes.io/selected-node",
    labels::VOLUME_SNAPSHOT_NAME,
    labels::DATA_UPLOAD_NAME,
    labels::VOLUME_SNAPSHOT_RESTORE_SIZE,
    labels::MUST_INCLUDE_ADDITIONAL_ITEMS,
    labels::SKIPPED_NO_CSI_PV,
];

/// Takes the traces of the old volume off, but not its name: a retained volume is bound again by name.
pub fn forget_traces(claim: &mut Value) {
    remove_annotations(claim, OF_THE_OLD_VOLUME);
    if let Some(labels) = claim
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(labels::VOLUME_SNAPSHOT_NAME);
    }
    let annotations = claim.pointer("/metadata/annotations").and_then(Value::as_object);
    if annotations.is_some_and(serde_json::Map::is_empty)
        && let Some(metadata) = claim.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.remove("annotations");
    }
}

/// The claim shall get a new volume: neither the old volume's name nor a data source stays.
pub fn forget_volume(claim: &mut Value) {
    let spec = child_map(claim, "spec");
    for field in ["volumeName", "dataSource", "dataSourceRef"] {
        spec.remove(field);
    }
}

/// The claim shall get a new volume that is made of this VolumeSnapshot of its namespace.
pub fn fill_from_snapshot(claim: &mut Value, snapshot: &str) {
    forget_volume(claim);
    let source = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot});
    child_map(claim, "spec").insert("dataSource".into(), source);
}

/// The VolumeSnapshot that a claim is filled from.
pub fn snapshot_source(claim: &Value) -> Option<&str> {
    let source = claim.pointer("/spec/dataSource")?;
    (source["kind"] == "VolumeSnapshot").then(|| source["name"].as_str())?
}

/// Keeps provisioners and the binder away until the DataDownload hands its volume over: no volume has this label.
/// `random` makes it unlike any other restore's.
pub fn wait_for_download(claim: &mut Value, namespace: &str, name: &str, random: &str) {
    let value = label_value(&format!("{namespace}.{name}.{random}"));
    let spec = child_map(claim, "spec");
    let selector = spec.entry("selector").or_insert_with(|| json!({}));
    child_map(selector, "matchLabels").insert(labels::DYNAMIC_PV_RESTORE.into(), json!(value));
}

/// `dd-<Restore UID>.<UID of the claim in the backup>`, shortened to a label value; with a number where `former` downloads
/// of earlier attempts have that one.
pub fn operation_id(restore_uid: &str, claim_uid: &str, former: usize) -> String {
    let prefix = labels::DATA_DOWNLOAD_OPERATION_PREFIX;
    let id = format!("{prefix}{restore_uid}.{claim_uid}");
    label_value(&match former {
        0 => id,
        former => format!("{id}.{}", former + 1),
    })
}

/// The labels by which a claim finds its DataUploadResult; `namespace` is the one in the backup.
pub fn result_labels(restore_uid: &str, namespace: &str, claim: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::RESTORE_UID.to_owned(), label_value(restore_uid)),
        (
            labels::PVC_NAMESPACE_NAME.to_owned(),
            label_value(&format!("{namespace}.{claim}")),
        ),
        (
            labels::RESOURCE_USAGE.to_owned(),
            labels::RESOURCE_USAGE_DATA_UPLOAD.to_owned(),
        ),
    ])
}

/// The DataDownload for one claim. `target_namespace` is after mapping.
pub fn data_download(
    restore: &Restore,
    backup: &Backup,
    result: &DataUploadResult,
    target_namespace: &str,
    claim: &str,
    operation_id: &str,
) -> DataDownload {
    let restore_uid = restore.uid().unwrap_or_default();
    let mut download = DataDownload::new(
        "",
        DataDownloadSpec {
            target_volume: TargetVolumeSpec {
                pvc: claim.to_owned(),
                pv: String::new(),
                namespace: target_namespace.to_owned(),
            },
            backup_storage_location: result.backup_storage_location.clone(),
            datamover: result.datamover.clone(),
            snapshot_id: result.snapshot_id.clone(),
            snapshot_size: result.snapshot_size,
            source_namespace: result.source_namespace.clone(),
            node_os: result.node_os.clone(),
            operation_timeout: backup.spec.csi_snapshot_timeout.unwrap_or_default(),
            data_mover_config: mover_config(restore),
            cancel: false,
        },
    );
    download.metadata.name = None;
    download.metadata.generate_name = Some(format!("{}-", restore.name_any()));
    download.metadata.namespace = restore.namespace();
    download.metadata.labels = Some(BTreeMap::from([
        (labels::RESTORE_NAME.to_owned(), label_value(&restore.name_any())),
        (labels::RESTORE_UID.to_owned(), restore_uid.clone()),
        (labels::ASYNC_OPERATION_ID.to_owned(), operation_id.to_owned()),
    ]));
    download.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "velero.io/v1".into(),
        kind: "Restore".into(),
        name: restore.name_any(),
        uid: restore_uid,
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    download
}

fn mover_config(restore: &Restore) -> BTreeMap<String, String> {
    let mut config = BTreeMap::new();
    if let Some(uploader) = &restore.spec.uploader_config {
        let sparse = uploader.write_sparse_files.unwrap_or(false);
        config.insert("WriteSparseFiles".to_owned(), sparse.to_string());
        if uploader.parallel_files_download > 0 {
            config.insert(
                "ParallelFilesDownload".to_owned(),
                uploader.parallel_files_download.to_string(),
            );
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_claim_waits_for_its_own_download_and_keeps_only_what_the_user_wrote() {
        let mut claim = json!({
            "metadata": {"name": "data", "labels": {"app": "x", "velero.io/volume-snapshot-name": "vs"}, "annotations": {
                "pv.kubernetes.io/bind-completed": "yes", "velero.io/data-upload-name": "velero/b1-x", "mine": "1"}},
            "spec": {"volumeName": "pv-1", "dataSource": {"kind": "VolumeSnapshot"}, "accessModes": ["ReadWriteOnce"],
                "storageClassName": "fast"},
        });
        forget_traces(&mut claim);
        forget_volume(&mut claim);
        wait_for_download(&mut claim, "shop", "data", "abcde");
        assert_eq!(
            claim,
            json!({
                "metadata": {"name": "data", "labels": {"app": "x"}, "annotations": {"mine": "1"}},
                "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                    "selector": {"matchLabels": {"velero.io/dynamic-pv-restore": "shop.data.abcde"}}},
            })
        );
    }

    #[test]
    fn the_operation_id_is_the_one_that_velero_writes() {
        // samples/objects/datadownloads.yaml: 57 characters, then 6 digits of the hash.
        let id = operation_id(
            "be485ecd-06f2-4c49-9d11-131fad20237a",
            "626126c7-7e82-45b6-0000-000000000000",
            0,
        );
        assert!(
            id.starts_with("dd-be485ecd-06f2-4c49-9d11-131fad20237a.626126c7-7e82-45b"),
            "{id}"
        );
        assert_eq!(id.len(), 63);
    }

    #[test]
    fn a_download_carries_the_result_of_the_upload_and_belongs_to_the_restore() {
        let mut restore = Restore::new("r1", Default::default());
        restore.metadata.uid = Some("uid-1".into());
        restore.metadata.namespace = Some("velero".into());
        restore.spec.uploader_config = Some(Default::default());
        let mut backup = Backup::new("b1", Default::default());
        backup.spec.csi_snapshot_timeout = Some(caravel_api::Duration::from_mins(10));
        let result = DataUploadResult {
            backup_storage_location: "default".into(),
            snapshot_id: "66d7".into(),
            source_namespace: "shop".into(),
            snapshot_size: 52,
            ..Default::default()
        };
        let download =
            serde_json::to_value(data_download(&restore, &backup, &result, "shop2", "data", "dd-1")).unwrap();
        assert_eq!(download["metadata"]["generateName"], "r1-");
        assert_eq!(download["metadata"]["ownerReferences"][0]["uid"], "uid-1");
        assert_eq!(
            download["spec"],
            json!({
                "backupStorageLocation": "default", "dataMoverConfig": {"WriteSparseFiles": "false"},
                "operationTimeout": "10m0s", "snapshotID": "66d7", "snapshotSize": 52, "sourceNamespace": "shop",
                "targetVolume": {"namespace": "shop2", "pv": "", "pvc": "data"},
            })
        );
    }
}
