//! What `<backup>-volumeinfo.json.gz` says about a PVC when the run ends (velero-behaviour.md 2.3). The finalizer fills
//! in what the data mover reported, with [`complete`].

use caravel_api::labels;
use caravel_api::v2alpha1::{DataUpload, DataUploadPhase};
use caravel_backup_store::volume_info::{
    BackupVolumeInfo, CsiSnapshotInfo, PvInfo, SnapshotDataMovementInfo, UNKNOWN, VolumeMethod, VolumeResult,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Request;
use super::prepare::Prepared;
use crate::cluster::{metadata_entry, name, namespace, text};

/// The entry of a PVC with a volume; none for one without.
pub(super) fn of_claim(request: &Request, prepared: &Prepared) -> Option<BackupVolumeInfo> {
    let claim = &prepared.item;
    let volume_name = text(claim, "/spec/volumeName");
    if volume_name.is_empty() {
        return None;
    }
    let info = BackupVolumeInfo {
        pvc_name: name(claim).to_owned(),
        pvc_namespace: namespace(claim).to_owned(),
        pv_name: volume_name.to_owned(),
        start_timestamp: Some(Time(prepared.started)),
        ..BackupVolumeInfo::default()
    };
    let Some(operation) = prepared.operations.first() else {
        let why = if let Some(why) = &prepared.volume_left_out {
            why
        } else if request.backup.spec.snapshot_volumes == Some(false) {
            "snapshotVolumes is false"
        } else {
            "no volume to save"
        };
        return Some(BackupVolumeInfo {
            skipped: true,
            skipped_reason: why.to_owned(),
            ..info
        });
    };
    let mover = match &*request.backup.spec.datamover {
        "" => "velero",
        mover => mover,
    };
    let snapshot = metadata_entry(claim, "annotations", labels::VOLUME_SNAPSHOT_NAME).unwrap_or_default();
    Some(BackupVolumeInfo {
        backup_method: VolumeMethod::CsiSnapshot,
        snapshot_data_moved: true,
        csi_snapshot_info: Some(CsiSnapshotInfo {
            snapshot_handle: UNKNOWN.to_owned(),
            vsc_name: UNKNOWN.to_owned(),
            operation_id: UNKNOWN.to_owned(),
            ..CsiSnapshotInfo::default()
        }),
        snapshot_data_movement_info: Some(SnapshotDataMovementInfo {
            data_mover: mover.to_owned(),
            uploader_type: "kopia".to_owned(),
            retained_snapshot: snapshot.to_owned(),
            operation_id: operation.spec.operation_id.clone(),
            phase: DataUploadPhase::New.to_string(),
            ..SnapshotDataMovementInfo::default()
        }),
        ..info
    })
}

/// Fills in what the finished DataUpload says.
pub fn complete(info: &mut BackupVolumeInfo, upload: &DataUpload) {
    let status = upload.status.clone().unwrap_or_default();
    let phase = upload.phase();
    info.completion_timestamp = status.completion_timestamp;
    info.result = match phase {
        DataUploadPhase::Completed => VolumeResult::Succeeded,
        _ => VolumeResult::Failed,
    };
    if let (Some(csi), Some(spec)) = (&mut info.csi_snapshot_info, &upload.spec.csi_snapshot) {
        csi.driver.clone_from(&spec.driver);
    }
    if let Some(moved) = &mut info.snapshot_data_movement_info {
        moved.snapshot_handle = status.snapshot_id;
        moved.size = status.progress.unwrap_or_default().total_bytes;
        moved.incremental_size = status.incremental_bytes;
        moved.phase = phase.to_string();
        if let Some(spec) = &upload.spec.csi_snapshot {
            moved.retained_snapshot.clone_from(&spec.volume_snapshot);
        }
    }
}

/// The PV's part of an entry, from the PV's JSON.
pub fn pv_info(volume: &serde_json::Value) -> PvInfo {
    PvInfo {
        reclaim_policy: text(volume, "/spec/persistentVolumeReclaimPolicy").to_owned(),
        labels: volume
            .pointer("/metadata/labels")
            .and_then(|labels| serde_json::from_value(labels.clone()).ok())
            .unwrap_or_default(),
    }
}
