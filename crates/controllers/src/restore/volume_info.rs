//! `<r>-volumeinfo.json.gz` of a restore: which claims got their data back, and how (velero-behaviour.md 2.3).

use caravel_backup_store::volume_info::{CsiSnapshotInfo, RestoreVolumeInfo, VolumeMethod};
use caravel_restore::run::RestoredClaim;
use caravel_restore::saved_volumes::SavedVolumes;

/// An entry for each claim whose data comes back: by a DataDownload, or from a snapshot in the storage.
pub(super) fn restored_volumes(saved: &SavedVolumes, claims: &[RestoredClaim]) -> Vec<RestoreVolumeInfo> {
    let mut volumes = moved_volumes(saved, claims);
    let snapshots = claims
        .iter()
        .filter_map(|claim| Some((claim, claim.snapshot.clone()?)));
    volumes.extend(snapshots.map(|(claim, snapshot)| {
        let info = saved.info(&claim.source_namespace, &claim.name);
        let known = info.and_then(|info| info.csi_snapshot_info.clone());
        RestoreVolumeInfo {
            pvc_name: claim.name.clone(),
            pvc_namespace: claim.namespace.clone(),
            pv_name: claim.volume_in_backup.clone(),
            restore_method: VolumeMethod::CsiSnapshot,
            csi_snapshot_info: Some(CsiSnapshotInfo {
                // VolumeSnapshot and content have one name.
                vsc_name: snapshot,
                operation_id: String::new(),
                ready_to_use: None,
                ..known.unwrap_or_default()
            }),
            ..Default::default()
        }
    }));
    volumes
}

fn moved_volumes(saved: &SavedVolumes, claims: &[RestoredClaim]) -> Vec<RestoreVolumeInfo> {
    let moved = claims
        .iter()
        .filter_map(|claim| Some((claim, claim.operation_id.clone()?)));
    moved
        .map(|(claim, operation_id)| {
            let info = saved
                .info(&claim.source_namespace, &claim.name)
                .cloned()
                .unwrap_or_default();
            let mut movement = info.snapshot_data_movement_info.unwrap_or_default();
            movement.operation_id = operation_id;
            movement.retained_snapshot = String::new();
            movement.incremental_size = 0;
            movement.phase = String::new();
            RestoreVolumeInfo {
                pvc_name: claim.name.clone(),
                pvc_namespace: claim.namespace.clone(),
                pv_name: claim.volume_in_backup.clone(),
                restore_method: VolumeMethod::CsiSnapshot,
                snapshot_data_moved: true,
                csi_snapshot_info: info.csi_snapshot_info,
                snapshot_data_movement_info: Some(movement),
                ..Default::default()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use caravel_backup_store::volume_info::{BackupVolumeInfo, SnapshotDataMovementInfo};
    use serde_json::{Value, json};

    use super::*;

    /// The claims are those that the case has DataDownloads for.
    #[test]
    fn what_happened_to_each_volume_is_told_as_in_velero() {
        caravel_cases::each("internal_volume/TestRestoreVolumeInfoResult.json", |case| {
            let text = |object: &Value, pointer: &str| -> String {
                let found = object.pointer(pointer).and_then(Value::as_str);
                found.unwrap_or_default().to_owned()
            };
            let tracker = case.input("tracker");
            let volumes = tracker["pvPvc"]["data"].as_object().into_iter().flatten();
            let volume_of = |claim: &str| -> String {
                let mut volumes = volumes.clone();
                let found = volumes.find(|(_, volume)| volume["PVCName"] == claim);
                found.map(|(name, _)| name.clone()).unwrap_or_default()
            };
            let downloads = tracker["datadownloadList"]["items"]
                .as_array()
                .into_iter()
                .flatten();
            let (mut saved, mut claims) = (Vec::new(), Vec::new());
            for download in downloads {
                let (namespace, name) = (
                    text(download, "/spec/targetVolume/namespace"),
                    text(download, "/spec/targetVolume/pvc"),
                );
                claims.push(RestoredClaim {
                    source_namespace: namespace.clone(),
                    namespace: namespace.clone(),
                    name: name.clone(),
                    volume_in_backup: volume_of(&name),
                    operation_id: Some(text(download, "/metadata/labels/velero.io~1async-operation-id")),
                    snapshot: None,
                });
                saved.push(BackupVolumeInfo {
                    pvc_namespace: namespace,
                    pvc_name: name,
                    snapshot_data_movement_info: Some(SnapshotDataMovementInfo {
                        data_mover: "velero".into(),
                        uploader_type: "kopia".into(),
                        snapshot_handle: text(download, "/spec/snapshotID"),
                        ..SnapshotDataMovementInfo::default()
                    }),
                    ..BackupVolumeInfo::default()
                });
            }
            let ours = restored_volumes(&SavedVolumes::from(saved), &claims);
            let wanted: Vec<RestoreVolumeInfo> =
                serde_json::from_value(case.want("expectResultValues").clone()).unwrap();
            caravel_cases::same(&ours, &wanted)
        });
    }

    #[test]
    fn a_claim_that_is_filled_from_a_snapshot_is_told_with_the_storages_name_of_it() {
        let saved: Vec<BackupVolumeInfo> = serde_json::from_value(json!([{"pvcName": "data", "pvcNamespace": "shop",
            "backupMethod": "CSISnapshot", "csiSnapshotInfo": {"snapshotHandle": "snap-1", "size": 7,
                "driver": "disk.example.com", "vscName": "old", "operationID": "shop/s/t", "ReadyToUse": true}}]))
        .unwrap();
        let claim = RestoredClaim {
            source_namespace: "shop".into(),
            namespace: "shop2".into(),
            name: "data".into(),
            volume_in_backup: "pv1".into(),
            operation_id: None,
            snapshot: Some("16e5".into()),
        };
        let told = restored_volumes(&SavedVolumes::from(saved), &[claim]);
        assert_eq!(
            serde_json::to_value(&told).unwrap(),
            json!([{"pvcName": "data", "pvcNamespace": "shop2", "pvName": "pv1", "restoreMethod": "CSISnapshot",
                "snapshotDataMoved": false, "csiSnapshotInfo": {"snapshotHandle": "snap-1", "size": 7,
                    "driver": "disk.example.com", "vscName": "16e5", "ReadyToUse": null}}])
        );
    }
}
