//! `<r>-volumeinfo.json.gz` of a restore: which claims got their data back, and how (velero-behaviour.md 2.3).

use caravel_backup_store::volume_info::{RestoreVolumeInfo, VolumeMethod};
use caravel_restore::run::RestoredClaim;
use caravel_restore::saved_volumes::SavedVolumes;

/// An entry for each claim whose data a DataDownload brings back.
pub(super) fn restored_volumes(saved: &SavedVolumes, claims: &[RestoredClaim]) -> Vec<RestoreVolumeInfo> {
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
