//! What `<backup>-volumeinfo.json.gz` says about a PVC when the run ends (velero-behaviour.md 2.3). The finalizer fills
//! in what the data mover reported, with [`complete`].

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_api::v2alpha1::{DataUpload, DataUploadPhase};
use caravel_backup_store::item_operations::{OperationPhase, OperationStatus};
use caravel_backup_store::volume_info::{
    BackupVolumeInfo, CsiSnapshotInfo, PvInfo, SnapshotDataMovementInfo, UNKNOWN, VolumeMethod, VolumeResult,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::Outcome;
use super::prepare::Prepared;
use crate::cluster::{metadata_entry, name, namespace, text};
use crate::item_actions::snapshots;
use crate::resource_policies::quantity;

/// The entry of a PVC with a volume; none for one without. `outcome`: its snapshot's objects and operation are in there.
pub(super) fn of_claim(backup: &Backup, prepared: &Prepared, outcome: &Outcome) -> Option<BackupVolumeInfo> {
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
        } else if backup.spec.snapshot_volumes == Some(false) {
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
    let mover = match &*backup.spec.datamover {
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
            size: size_of(snapshot, content),
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

/// In bytes; the content has them as a number, the snapshot as a quantity. 0 where the driver says neither.
fn size_of(snapshot: &Value, content: &Value) -> i64 {
    let bytes = content.pointer("/status/restoreSize").and_then(Value::as_i64);
    let as_quantity = || {
        // In billionths.
        let size = quantity(text(snapshot, "/status/restoreSize"))? / 1_000_000_000;
        i64::try_from(size).ok()
    };
    bytes.or_else(as_quantity).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use caravel_backup_store::item_operations::BackupOperation;
    use caravel_cases::{Case, each, same};
    use caravel_item_action::ResourceIdentifier;
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    /// The claim that the snapshot of a case is of, as its action leaves it, if it is of one.
    fn prepared(case: &Case) -> Option<(Prepared, Value)> {
        let snapshot = case.input("volumeSnapshot");
        let claim = text(snapshot, "/spec/source/persistentVolumeClaimName");
        let volumes = case.input("pvMap").as_object().into_iter().flatten();
        let volume = volumes
            .map(|(_, volume)| volume)
            .find(|volume| volume["PVCName"] == claim && volume["PVCNamespace"] == namespace(snapshot));
        let volume = volume.map(|volume| volume["PV"].clone()).unwrap_or_default();
        if claim.is_empty() {
            return None;
        }
        let item = json!({"metadata": {"name": claim, "namespace": namespace(snapshot),
                "annotations": {labels::VOLUME_SNAPSHOT_NAME: name(snapshot)}},
            "spec": {"volumeName": name(&volume)}});
        let prepared = Prepared {
            item,
            additional_items: Vec::new(),
            operations: Vec::new(),
            volume_left_out: None,
            skip: false,
            started: Timestamp::UNIX_EPOCH,
        };
        Some((prepared, volume))
    }

    fn outcome(case: &Case) -> Outcome {
        let mut outcome = Outcome::default();
        let snapshot = case.input("volumeSnapshot");
        let of_snapshot = |resource: &str, item: &Value| {
            ResourceIdentifier::new(snapshots::GROUP, resource, namespace(item), name(item))
        };
        let content = case.input("volumeSnapshotContent");
        let objects = [(snapshots::SNAPSHOTS, snapshot), (snapshots::CONTENTS, content)];
        for (resource, item) in objects.into_iter().filter(|(_, item)| !name(item).is_empty()) {
            outcome.snapshots.note(&of_snapshot(resource, item), item);
        }
        if case.input("operation").is_object() {
            let mut operation: BackupOperation =
                serde_json::from_value(case.input("operation").clone()).unwrap();
            // The case leaves it out.
            operation.spec.backup_item_action = snapshots::NAME.to_owned();
            outcome.operations.push(operation);
        }
        outcome
    }

    #[test]
    fn what_is_said_of_a_snapshot_in_the_storage_is_what_velero_says() {
        each(
            "internal_volume/TestGenerateVolumeInfoForCSIVolumeSnapshot.json",
            |case| {
                let info = prepared(case).and_then(|(prepared, volume)| {
                    let mut info = of_claim(&Backup::default(), &prepared, &outcome(case))?;
                    info.pv_info = Some(pv_info(&volume));
                    Some(info)
                });
                let wanted = case.want("expectedVolumeInfos").clone();
                let wanted: Vec<BackupVolumeInfo> = serde_json::from_value(wanted).unwrap();
                same(&info.into_iter().collect(), &wanted)
            },
        );
    }

    #[test]
    fn the_size_of_a_snapshot_is_what_content_or_snapshot_say() {
        let content = |size: Value| json!({"status": {"restoreSize": size}});
        let snapshot = json!({"status": {"restoreSize": "1Gi"}});
        assert_eq!(size_of(&snapshot, &content(json!(7))), 7);
        assert_eq!(size_of(&snapshot, &content(Value::Null)), 1 << 30);
        assert_eq!(size_of(&json!({}), &Value::Null), 0);
    }
}
