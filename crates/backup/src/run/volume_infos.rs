//! What `<backup>-volumeinfo.json.gz` says about a PVC when the run ends (velero-behaviour.md 2.3). The finalizer fills
//! in what the data mover reported, with [`complete`].

use caravel_api::labels;
use caravel_api::v2alpha1::{DataUpload, DataUploadPhase};
use caravel_backup_store::item_operations::{OperationPhase, OperationStatus};
use caravel_backup_store::volume_info::{
    BackupVolumeInfo, CsiSnapshotInfo, PvInfo, SnapshotDataMovementInfo, UNKNOWN, VolumeMethod, VolumeResult,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::prepare::Prepared;
use super::{Outcome, Request};
use crate::cluster::{metadata_entry, name, namespace, text};
use crate::item_actions::snapshots;

/// The entry of a PVC with a volume; none for one without. `outcome`: its snapshot's objects and operation are in there.
pub(super) fn of_claim(
    request: &Request,
    prepared: &Prepared,
    outcome: &Outcome,
) -> Option<BackupVolumeInfo> {
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
    let snapshot = metadata_entry(claim, "annotations", labels::VOLUME_SNAPSHOT_NAME).unwrap_or_default();
    let Some(operation) = prepared.operations.first() else {
        if let Some(found) = outcome.snapshots.snapshot(&info.pvc_namespace, snapshot) {
            return Some(in_the_storage(info, found, outcome));
        }
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

/// A volume whose snapshot stays in the storage; the finalizer says how its operation ended.
fn in_the_storage(info: BackupVolumeInfo, snapshot: &Value, outcome: &Outcome) -> BackupVolumeInfo {
    let content_name = text(snapshot, "/status/boundVolumeSnapshotContentName");
    let content = outcome.snapshots.content(content_name).unwrap_or(&Value::Null);
    let operation = outcome.operations.iter().find(|operation| {
        let id = &operation.spec.resource_identifier;
        operation.spec.backup_item_action == snapshots::NAME
            && id.namespace == namespace(snapshot)
            && id.name == name(snapshot)
    });
    let cut = text(snapshot, "/status/creationTime").parse().ok();
    BackupVolumeInfo {
        backup_method: VolumeMethod::CsiSnapshot,
        preserve_local_snapshot: true,
        start_timestamp: cut.map(Time).or(info.start_timestamp.clone()),
        csi_snapshot_info: Some(CsiSnapshotInfo {
            snapshot_handle: text(content, "/status/snapshotHandle").to_owned(),
            size: content
                .pointer("/status/restoreSize")
                .and_then(Value::as_i64)
                .unwrap_or_default(),
            driver: text(content, "/spec/driver").to_owned(),
            vsc_name: content_name.to_owned(),
            operation_id: operation
                .map(|operation| operation.spec.operation_id.clone())
                .unwrap_or_default(),
            ready_to_use: snapshot.pointer("/status/readyToUse").and_then(Value::as_bool),
            volume_group_snapshot_handle: text(content, "/status/volumeGroupSnapshotHandle").to_owned(),
        }),
        ..info
    }
}

/// Fills in how the operation of a snapshot that stays in the storage ended. `is_lost`: it is in the storage no more.
pub fn complete_snapshot(info: &mut BackupVolumeInfo, status: &OperationStatus, is_lost: bool) {
    info.completion_timestamp.clone_from(&status.updated);
    let is_good = status.phase == OperationPhase::Completed && !is_lost;
    info.result = if is_good {
        VolumeResult::Succeeded
    } else {
        VolumeResult::Failed
    };
    if let Some(csi) = &mut info.csi_snapshot_info {
        csi.ready_to_use = Some(is_good);
    }
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
pub fn pv_info(volume: &Value) -> PvInfo {
    PvInfo {
        reclaim_policy: text(volume, "/spec/persistentVolumeReclaimPolicy").to_owned(),
        labels: volume
            .pointer("/metadata/labels")
            .and_then(|labels| serde_json::from_value(labels.clone()).ok())
            .unwrap_or_default(),
    }
}
