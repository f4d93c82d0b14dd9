//! What to do with a DeleteBackupRequest (velero-behaviour.md 3.9). Pure.
//!
//! ```text
//! New ──► Processed, with an error          (what it names cannot be deleted now)
//!  ├────► waits                             (a restore reads from what an earlier attempt has begun to delete)
//!  └────► InProgress, Backup Deleting ─► data, files, Restores, Backup ─► Processed ─► gone (at once, or after a day)
//! ```

use std::time::Duration;

use caravel_api::phase::{BackupStorageLocationPhase, DeleteBackupRequestPhase};
use caravel_api::v1::{
    Backup, BackupPhase, BackupStorageLocation, BackupStorageLocationAccessMode, DeleteBackupRequest,
    Restore, RestorePhase,
};
use jiff::Timestamp;
use kube::ResourceExt;

/// A request that failed stays this long, so that its errors can be read.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Everything that the decision looks at.
#[derive(Clone, Debug)]
pub struct Observed {
    pub request: DeleteBackupRequest,
    /// The Backup it names.
    pub backup: Option<Backup>,
    /// The Backup's location.
    pub location: Option<BackupStorageLocation>,
    /// The Restores of the Backup.
    pub restores: Vec<Restore>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its time is over.
    Forget,
    /// Its errors can be read this long yet.
    Keep(Duration),
    /// `Processed`, with this error.
    Refuse(String),
    /// Look again soon, because of this.
    Wait(String),
    /// Delete everything that the backup is.
    Delete,
}

/// Decides.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let request = &observed.request;
    if request.phase() == DeleteBackupRequestPhase::Processed {
        return kept(request, now);
    }
    let name = &request.spec.backup_name;
    if name.is_empty() {
        return Decision::Refuse("spec.backupName is required".to_owned());
    }
    let Some(backup) = &observed.backup else {
        return Decision::Refuse("backup not found".to_owned());
    };
    if let Some(phase) = in_progress(backup) {
        return Decision::Refuse(format!(
            "backup is still in progress ({phase}); delete it when it has ended"
        ));
    }
    match in_the_way(backup, &observed.restores) {
        None => {}
        Some(InTheWay::Refuse(why)) => return Decision::Refuse(why),
        Some(InTheWay::Wait(why)) => return Decision::Wait(why),
    }
    let location = &backup.spec.storage_location;
    let Some(bsl) = &observed.location else {
        return Decision::Refuse(format!("backup storage location {location} not found"));
    };
    if bsl.spec.access_mode == Some(BackupStorageLocationAccessMode::ReadOnly) {
        return Decision::Refuse(format!(
            "cannot delete backup because backup storage location {location} is currently in read-only mode"
        ));
    }
    let phase = bsl.status.as_ref().and_then(|status| status.phase.clone());
    if phase != Some(BackupStorageLocationPhase::Available) {
        return Decision::Refuse(format!(
            "cannot delete backup because backup storage location {location} is currently in Unavailable status"
        ));
    }
    Decision::Delete
}

/// What a restore that reads from the backup makes of its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InTheWay {
    /// Nothing is deleted, because of this.
    Refuse(String),
    /// An earlier attempt may have deleted something, and nobody can restore from the backup any more: when the restore has
    /// ended, the deletion goes on.
    Wait(String),
}

/// Decides between a deletion and the restores that there are; nothing, where none runs. `backup`: as it was before this
/// attempt said that it deletes.
pub fn in_the_way(backup: &Backup, restores: &[Restore]) -> Option<InTheWay> {
    let restore = restores.iter().find(|restore| is_running(restore))?;
    let (name, phase) = (restore.name_any(), restore.phase());
    let reads = format!("restore {name} reads from the backup ({phase})");
    Some(if backup.phase() == BackupPhase::Deleting {
        InTheWay::Wait(format!("{reads}, which a deletion had begun with before"))
    } else {
        InTheWay::Refuse(format!(
            "{reads}; delete the backup when it has ended, or end it by `velero restore cancel {name}`"
        ))
    })
}

fn kept(request: &DeleteBackupRequest, now: Timestamp) -> Decision {
    let failed = request
        .status
        .as_ref()
        .is_some_and(|status| !status.errors.is_empty());
    let created = request
        .creation_timestamp()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let age = Duration::try_from(now.duration_since(created)).unwrap_or_default();
    match KEPT.checked_sub(age) {
        Some(left) if failed && !left.is_zero() => Decision::Keep(left),
        _ => Decision::Forget,
    }
}

/// One that still needs what would be deleted. One that is not begun will find nothing, and say so.
fn is_running(restore: &Restore) -> bool {
    matches!(
        restore.phase(),
        RestorePhase::InProgress
            | RestorePhase::WaitingForPluginOperations
            | RestorePhase::WaitingForPluginOperationsPartiallyFailed
            | RestorePhase::Finalizing
            | RestorePhase::FinalizingPartiallyFailed
    )
}

/// A backup that a server works on: its files and snapshots would come while they are deleted.
pub(crate) fn in_progress(backup: &Backup) -> Option<BackupPhase> {
    let phase = backup
        .status
        .as_ref()
        .and_then(|status| status.phase.clone())
        .unwrap_or_default();
    let at_work = matches!(
        phase,
        BackupPhase::ReadyToStart
            | BackupPhase::InProgress
            | BackupPhase::WaitingForPluginOperations
            | BackupPhase::WaitingForPluginOperationsPartiallyFailed
            | BackupPhase::Finalizing
            | BackupPhase::FinalizingPartiallyFailed
    );
    at_work.then_some(phase)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn observed(patch: impl FnOnce(&mut Value)) -> Observed {
        let mut world = json!({
            "request": {"metadata": {"name": "d", "creationTimestamp": "2026-11-21T09:00:00Z"}, "spec": {"backupName": "b"}},
            "backup": {"metadata": {"name": "b"}, "spec": {"storageLocation": "default"}, "status": {"phase": "Completed"}},
            "location": {"metadata": {"name": "default"}, "spec": {"provider": "aws", "objectStorage": {"bucket": "b"}},
                "status": {"phase": "Available"}},
            "restores": [],
        });
        patch(&mut world);
        Observed {
            request: serde_json::from_value(world["request"].clone()).unwrap(),
            backup: serde_json::from_value(world["backup"].clone()).unwrap(),
            location: serde_json::from_value(world["location"].clone()).unwrap(),
            restores: serde_json::from_value(world["restores"].clone()).unwrap(),
        }
    }

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn refusal(patch: impl FnOnce(&mut Value)) -> String {
        match decide(&observed(patch), now()) {
            Decision::Refuse(why) => why,
            other => panic!("refused, not {other:?}"),
        }
    }

    #[test]
    fn a_finished_backup_of_an_available_location_is_deleted() {
        assert_eq!(decide(&observed(|_| {}), now()), Decision::Delete);
        let again = observed(|world| world["request"]["status"] = json!({"phase": "InProgress"}));
        assert_eq!(
            decide(&again, now()),
            Decision::Delete,
            "a server that died goes on"
        );
        let failed = observed(|world| world["backup"]["status"]["phase"] = json!("Failed"));
        assert_eq!(decide(&failed, now()), Decision::Delete);
    }

    #[test]
    fn what_cannot_be_deleted_now_is_refused_with_the_reason() {
        assert!(
            refusal(|world| world["request"]["spec"]["backupName"] = json!("")).contains("spec.backupName")
        );
        assert!(refusal(|world| world["backup"] = Value::Null).contains("not found"));
        assert!(refusal(|world| world["location"] = Value::Null).contains("location default not found"));
        assert!(
            refusal(|world| world["location"]["spec"]["accessMode"] = json!("ReadOnly"))
                .contains("read-only")
        );
        assert!(
            refusal(|world| world["location"]["status"]["phase"] = json!("Unavailable"))
                .contains("Unavailable")
        );
        for phase in [
            "ReadyToStart",
            "InProgress",
            "WaitingForPluginOperations",
            "Finalizing",
        ] {
            let why = refusal(|world| world["backup"]["status"]["phase"] = json!(phase));
            assert!(why.contains("still in progress"), "{phase}");
        }
    }

    #[test]
    fn a_backup_that_a_restore_reads_from_is_not_deleted_under_it() {
        let restore = |phase: &str| json!([{"metadata": {"name": "r1"}, "spec": {"backupName": "b"}, "status": {"phase": phase}}]);
        for phase in ["InProgress", "WaitingForPluginOperations", "Finalizing"] {
            let why = refusal(|world| world["restores"] = restore(phase));
            assert!(why.contains("velero restore cancel r1"), "{why}");
        }
        for phase in ["Completed", "Failed", "PartiallyFailed", "New"] {
            let ended = observed(|world| world["restores"] = restore(phase));
            assert_eq!(decide(&ended, now()), Decision::Delete, "{phase}");
        }
    }

    #[test]
    fn a_backup_that_is_half_deleted_waits_for_the_restore_that_reads_from_it() {
        let running = json!([{"metadata": {"name": "r1"}, "spec": {"backupName": "b"},
            "status": {"phase": "WaitingForPluginOperations"}}]);
        let begun = observed(|world| {
            world["backup"]["status"]["phase"] = json!("Deleting");
            world["restores"] = running;
        });
        let Decision::Wait(why) = decide(&begun, now()) else {
            panic!("waits");
        };
        assert!(
            why.contains("restore r1") && why.contains("WaitingForPluginOperations"),
            "{why}"
        );
        let ended = observed(|world| world["backup"]["status"]["phase"] = json!("Deleting"));
        assert_eq!(decide(&ended, now()), Decision::Delete);
    }

    #[test]
    fn a_request_goes_when_it_is_done_and_stays_a_day_with_errors() {
        let processed = |errors: Value| {
            observed(|world| world["request"]["status"] = json!({"phase": "Processed", "errors": errors}))
        };
        assert_eq!(decide(&processed(json!([])), now()), Decision::Forget);
        assert_eq!(
            decide(&processed(json!(["no"])), now()),
            Decision::Keep(Duration::from_secs(23 * 3600))
        );
        let later = "2026-11-23T10:00:00Z".parse().unwrap();
        assert_eq!(decide(&processed(json!(["no"])), later), Decision::Forget);
    }
}
