//! How a finalized backup ends, from what its DataUploads and its snapshots say. Pure.

use std::collections::{BTreeMap, BTreeSet};

use caravel_api::v1::BackupPhase;
use caravel_api::v2alpha1::DataUpload;
use caravel_backup::item_actions::snapshots::NAME as SNAPSHOT_ACTION;
use caravel_backup::run::volume_infos::{complete, complete_snapshot};
use caravel_backup_store::item_operations::{
    BackupOperation, OperationPhase, OperationStatus, ResourceIdentifier,
};
use caravel_backup_store::volume_info::BackupVolumeInfo;

/// What is known of a backup whose operations have ended.
#[derive(Clone, Debug)]
pub struct Observed {
    pub phase: BackupPhase,
    pub volume_infos: Vec<BackupVolumeInfo>,
    /// DataUploads of the backup, by operation id.
    pub uploads: BTreeMap<String, DataUpload>,
    /// How the operations of snapshots that stay in the storage ended, by id.
    pub snapshots: BTreeMap<String, OperationStatus>,
    /// Ids of those that had completed, and whose snapshot is gone all the same.
    pub lost_snapshots: BTreeSet<String>,
    /// What the rewritten tarball lacks.
    pub lost: Vec<Lost>,
    /// Operations that ended badly.
    pub not_saved: Vec<NotSaved>,
}

/// An item whose operation ended badly: a volume whose data was not moved, a snapshot that was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSaved {
    pub item: ResourceIdentifier,
    /// In the words of whoever did it.
    pub error: String,
}

/// A volume whose data was saved, but what leads to it is gone: no restore would find the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub namespace: String,
    pub claim: String,
    /// What is gone: `DataUpload b1-x7k2p`.
    pub object: String,
}

/// A volume of which something is not in the backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub namespace: String,
    pub claim: String,
    /// `a/pipe (named pipe)`.
    pub entry: String,
}

/// How the backup ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// `Completed` or `PartiallyFailed`.
    pub phase: BackupPhase,
    pub volume_infos: Vec<BackupVolumeInfo>,
    /// Warnings: said in the log, in the results and counted, but the backup is complete.
    pub left_out: Vec<LeftOut>,
    /// Errors: said in the same places. A backup with one is never Completed.
    pub lost: Vec<Lost>,
    /// Errors, too.
    pub not_saved: Vec<NotSaved>,
    /// Snapshots that are in the storage, ready to use.
    pub snapshots_completed: usize,
}

/// Lines of a DataUpload's message that begin with this name an entry that is not in the snapshot (a fifo, a socket).
const LEFT_OUT: &str = "left out: ";

/// Decides for one backup in `Finalizing[PartiallyFailed]`.
pub fn decide(observed: &Observed) -> Decision {
    let mut volume_infos = observed.volume_infos.clone();
    let mut left_out = Vec::new();
    let mut lost = observed.lost.clone();
    for info in &mut volume_infos {
        lost.extend(told_by_snapshot(info, observed));
        let Some(moved) = &info.snapshot_data_movement_info else {
            continue;
        };
        if let Some(upload) = observed.uploads.get(&moved.operation_id) {
            complete(info, upload);
            left_out.extend(left_out_of(upload));
        }
    }
    // Also of a snapshot whose claim is in no volume info.
    let is_whole = lost.is_empty() && observed.lost_snapshots.is_empty() && observed.not_saved.is_empty();
    let phase = match observed.phase {
        BackupPhase::Finalizing if is_whole => BackupPhase::Completed,
        _ => BackupPhase::PartiallyFailed,
    };
    Decision {
        phase,
        volume_infos,
        left_out,
        lost,
        not_saved: observed.not_saved.clone(),
        snapshots_completed: snapshots_completed(observed),
    }
}

/// The operations that [`Observed::snapshots`] is about.
pub fn snapshot_operations(operations: &[BackupOperation]) -> BTreeMap<String, OperationStatus> {
    let of_snapshots = operations
        .iter()
        .filter(|operation| operation.spec.backup_item_action == SNAPSHOT_ACTION);
    of_snapshots
        .map(|operation| (operation.spec.operation_id.clone(), operation.status.clone()))
        .collect()
}

/// The operations that ended badly.
pub fn failed_operations(operations: &[BackupOperation]) -> Vec<NotSaved> {
    let failed = operations
        .iter()
        .filter(|operation| operation.status.phase == OperationPhase::Failed);
    failed
        .map(|operation| NotSaved {
            item: operation.spec.resource_identifier.clone(),
            error: operation.status.error.clone(),
        })
        .collect()
}

fn snapshots_completed(observed: &Observed) -> usize {
    let completed = observed.snapshots.iter().filter(|(id, status)| {
        status.phase == OperationPhase::Completed && !observed.lost_snapshots.contains(*id)
    });
    completed.count()
}

/// Completes the entry of a volume whose snapshot stays in the storage; gives what is lost of it.
fn told_by_snapshot(info: &mut BackupVolumeInfo, observed: &Observed) -> Option<Lost> {
    let csi = info.csi_snapshot_info.as_ref()?;
    let id = csi.operation_id.clone();
    let content = csi.vsc_name.clone();
    let status = observed.snapshots.get(&id)?;
    let is_lost = observed.lost_snapshots.contains(&id);
    complete_snapshot(info, status, is_lost);
    is_lost.then(|| Lost {
        namespace: info.pvc_namespace.clone(),
        claim: info.pvc_name.clone(),
        object: format!("VolumeSnapshotContent {content}, and the storage's snapshot with it,"),
    })
}

fn left_out_of(upload: &DataUpload) -> Vec<LeftOut> {
    let message = upload
        .status
        .as_ref()
        .map(|status| status.message.as_str())
        .unwrap_or_default();
    let entries = message
        .lines()
        .filter_map(|line| line.trim().strip_prefix(LEFT_OUT));
    entries
        .map(|entry| LeftOut {
            namespace: upload.spec.source_namespace.clone(),
            claim: upload.spec.source_pvc.clone(),
            entry: entry.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use caravel_api::v2alpha1::{DataUploadPhase, DataUploadSpec, DataUploadStatus};
    use caravel_backup_store::volume_info::{SnapshotDataMovementInfo, VolumeResult};

    use super::*;

    fn observed(phase: BackupPhase, upload_phase: DataUploadPhase, message: &str) -> Observed {
        let spec = DataUploadSpec {
            source_namespace: "shop".into(),
            source_pvc: "data".into(),
            ..Default::default()
        };
        let mut upload = DataUpload::new("u", spec);
        upload.status = Some(DataUploadStatus {
            phase: Some(upload_phase),
            snapshot_id: "812e89df".into(),
            incremental_bytes: 7,
            message: message.into(),
            ..Default::default()
        });
        let moved = SnapshotDataMovementInfo {
            operation_id: "du-1".into(),
            ..Default::default()
        };
        let info = BackupVolumeInfo {
            snapshot_data_movement_info: Some(moved),
            ..Default::default()
        };
        Observed {
            phase,
            volume_infos: vec![info],
            uploads: [("du-1".to_owned(), upload)].into(),
            snapshots: BTreeMap::new(),
            lost_snapshots: BTreeSet::new(),
            lost: Vec::new(),
            not_saved: Vec::new(),
        }
    }

    /// Found by the simulation (seed 129): somebody deleted a Completed DataUpload before the backup was finalized.
    #[test]
    fn a_backup_whose_data_no_restore_would_find_is_not_completed() {
        let lost = Lost {
            namespace: "shop".into(),
            claim: "data".into(),
            object: "DataUpload b1-x".into(),
        };
        let observed = Observed {
            lost: vec![lost.clone()],
            ..observed(BackupPhase::Finalizing, DataUploadPhase::Completed, "")
        };
        let decision = decide(&observed);
        assert_eq!(
            (decision.phase, decision.lost),
            (BackupPhase::PartiallyFailed, vec![lost])
        );
    }

    /// A backup with one snapshot that stays in the storage.
    fn with_snapshot(phase: OperationPhase, is_lost: bool) -> Observed {
        let id = "shop/velero-data-x/2026-11-21T22:00:00Z".to_owned();
        let info = serde_json::json!({"pvcName": "data", "pvcNamespace": "shop", "backupMethod": "CSISnapshot",
            "csiSnapshotInfo": {"operationID": id, "vscName": "content", "ReadyToUse": null}});
        let updated =
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time("2026-11-21T22:00:05Z".parse().unwrap());
        let status = OperationStatus {
            phase,
            updated: Some(updated),
            ..OperationStatus::default()
        };
        Observed {
            phase: BackupPhase::Finalizing,
            volume_infos: vec![serde_json::from_value(info).unwrap()],
            uploads: BTreeMap::new(),
            snapshots: [(id.clone(), status)].into(),
            lost_snapshots: is_lost.then_some(id).into_iter().collect(),
            lost: Vec::new(),
            not_saved: Vec::new(),
        }
    }

    #[test]
    fn a_backup_whose_snapshots_are_in_the_storage_is_completed_and_says_since_when() {
        let decision = decide(&with_snapshot(OperationPhase::Completed, false));
        let info = &decision.volume_infos[0];
        assert_eq!(
            (decision.phase, decision.snapshots_completed),
            (BackupPhase::Completed, 1)
        );
        assert_eq!(info.result, VolumeResult::Succeeded);
        assert_eq!(info.csi_snapshot_info.as_ref().unwrap().ready_to_use, Some(true));
        assert!(info.completion_timestamp.is_some());
    }

    #[test]
    fn a_backup_whose_snapshot_went_with_its_namespace_is_not_completed_and_names_the_volume() {
        let decision = decide(&with_snapshot(OperationPhase::Completed, true));
        assert_eq!(
            (decision.phase, decision.snapshots_completed),
            (BackupPhase::PartiallyFailed, 0)
        );
        assert_eq!(decision.lost[0].claim, "data");
        assert!(decision.lost[0].object.contains("VolumeSnapshotContent content"));
        assert_eq!(decision.volume_infos[0].result, VolumeResult::Failed);
    }

    #[test]
    fn a_backup_whose_volumes_were_moved_is_completed_and_says_where_they_are() {
        let decision = decide(&observed(BackupPhase::Finalizing, DataUploadPhase::Completed, ""));
        let moved = decision.volume_infos[0]
            .snapshot_data_movement_info
            .clone()
            .unwrap();
        assert_eq!(decision.phase, BackupPhase::Completed);
        assert_eq!(
            (
                moved.snapshot_handle.as_str(),
                moved.incremental_size,
                moved.phase.as_str()
            ),
            ("812e89df", 7, "Completed")
        );
        assert_eq!(decision.volume_infos[0].result, VolumeResult::Succeeded);
    }

    #[test]
    fn an_operation_that_failed_is_an_error_of_the_backup_that_names_the_volume() {
        let mut operation = BackupOperation::default();
        operation.spec.resource_identifier = ResourceIdentifier {
            resource: "persistentvolumeclaims".into(),
            namespace: "shop".into(),
            name: "data".into(),
            ..ResourceIdentifier::default()
        };
        operation.status.phase = OperationPhase::Failed;
        operation.status.error = "data mover pod is gone".into();
        let done = BackupOperation {
            status: OperationStatus {
                phase: OperationPhase::Completed,
                ..OperationStatus::default()
            },
            ..operation.clone()
        };
        let not_saved = failed_operations(&[done, operation]);
        let decision = decide(&Observed {
            not_saved: not_saved.clone(),
            ..observed(BackupPhase::Finalizing, DataUploadPhase::Failed, "")
        });
        assert_eq!(
            decision.phase,
            BackupPhase::PartiallyFailed,
            "whatever it was before"
        );
        assert_eq!(decision.not_saved, not_saved);
        let said: Vec<_> = super::super::missing(&decision).collect();
        let (level, about, message) = &said[0];
        assert_eq!((said.len(), *level), (1, caravel_backup::log::Level::Error));
        assert_eq!((about.namespace, about.name), (Some("shop"), "data"));
        assert_eq!(message, "its data is not in the backup: data mover pod is gone");
    }

    #[test]
    fn a_failed_volume_leaves_the_backup_partially_failed() {
        let decision = decide(&observed(
            BackupPhase::FinalizingPartiallyFailed,
            DataUploadPhase::Failed,
            "no pod",
        ));
        assert_eq!(decision.phase, BackupPhase::PartiallyFailed);
        assert_eq!(decision.volume_infos[0].result, VolumeResult::Failed);
    }

    #[test]
    fn entries_that_were_left_out_are_warnings_and_the_backup_stays_completed() {
        let message = "left out: a/pipe (named pipe)\nleft out: and 3 more";
        let decision = decide(&observed(
            BackupPhase::Finalizing,
            DataUploadPhase::Completed,
            message,
        ));
        let entries: Vec<&str> = decision
            .left_out
            .iter()
            .map(|left_out| left_out.entry.as_str())
            .collect();
        assert_eq!(entries, ["a/pipe (named pipe)", "and 3 more"]);
        assert_eq!(
            (decision.phase, decision.left_out[0].claim.as_str()),
            (BackupPhase::Completed, "data")
        );
    }

    #[test]
    fn velero_s_own_message_of_an_empty_volume_is_no_warning() {
        let message = "volume was empty so no data was upload";
        let decision = decide(&observed(
            BackupPhase::Finalizing,
            DataUploadPhase::Completed,
            message,
        ));
        assert!(decision.left_out.is_empty());
    }

    /// The operations of a case, with what it leaves out: whose they are, and the phase in which a backup is finalized.
    fn operations(given: &serde_json::Value) -> Vec<BackupOperation> {
        let mut operations: Vec<BackupOperation> = serde_json::from_value(given.clone()).unwrap();
        for operation in &mut operations {
            operation.spec.backup_item_action = SNAPSHOT_ACTION.to_owned();
            operation.status.phase = if operation.status.error.is_empty() {
                OperationPhase::Completed
            } else {
                OperationPhase::Failed
            };
        }
        operations
    }

    /// Of each case the volume and the DataUpload or the operation that was for it.
    #[test]
    fn volumes_are_told_what_their_uploads_say_as_in_velero() {
        caravel_cases::each("pkg_backup/TestUpdateVolumeInfos.json", |case| {
            let read = |infos: &serde_json::Value| -> Vec<BackupVolumeInfo> {
                serde_json::from_value(infos.clone()).unwrap()
            };
            let upload: Option<DataUpload> =
                serde_json::from_value(case.input("dataUpload").clone()).unwrap();
            let observed = Observed {
                phase: BackupPhase::Finalizing,
                volume_infos: read(case.input("volumeInfos")),
                uploads: upload.map(|upload| (String::new(), upload)).into_iter().collect(),
                snapshots: snapshot_operations(&operations(case.input("operations"))),
                lost_snapshots: BTreeSet::new(),
                lost: Vec::new(),
                not_saved: Vec::new(),
            };
            caravel_cases::same(
                &decide(&observed).volume_infos,
                &read(case.want("expectedVolumeInfos")),
            )
        });
    }
}
