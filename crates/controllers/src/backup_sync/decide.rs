//! Which backups of a location come into the cluster, and which go from it (velero-behaviour.md 2.7). Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupPhase, BackupStorageLocation, BackupStorageLocationPhase};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;

/// When a location is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Its `backupSyncPeriod` is 0.
    Never,
    /// In this time.
    In(Duration),
    Now,
}

/// Whether it is a location's turn. `default_period`: `--backup-sync-period`.
pub fn turn(location: &BackupStorageLocation, default_period: Duration, now: Timestamp) -> Turn {
    let period = match location.spec.backup_sync_period {
        Some(period) if period.is_zero() => return Turn::Never,
        Some(period) => *period,
        None => default_period,
    };
    if period.is_zero() {
        return Turn::Never;
    }
    let status = location.status.clone().unwrap_or_default();
    if status.phase != Some(BackupStorageLocationPhase::Available) {
        return Turn::In(period);
    }
    let Some(last) = status.last_synced_time else {
        return Turn::Now;
    };
    let Ok(since) = Duration::try_from(now.duration_since(last.0)) else {
        // The clock was put back.
        return Turn::Now;
    };
    match period.checked_sub(since) {
        Some(left) if !left.is_zero() => Turn::In(left),
        _ => Turn::Now,
    }
}

/// What becomes of a backup that is in the bucket and not in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Made in the cluster, as this.
    Sync(Box<Backup>),
    /// Another server is at work on it, or it is no record of a backup that ran.
    Leave(&'static str),
}

/// Decides about one. `schedules`: (name, UID) of the cluster's Schedules.
pub fn found(
    backup: Backup,
    location: &str,
    namespace: &str,
    schedules: &BTreeSet<(String, String)>,
    now: Timestamp,
) -> Found {
    let mut backup = backup;
    let mut status = backup.status.take().unwrap_or_default();
    match status.phase.clone().unwrap_or_default() {
        BackupPhase::Completed | BackupPhase::PartiallyFailed | BackupPhase::Failed => {}
        BackupPhase::WaitingForPluginOperations
        | BackupPhase::WaitingForPluginOperationsPartiallyFailed
        | BackupPhase::Finalizing
        | BackupPhase::FinalizingPartiallyFailed => {
            if status.expiration.as_ref().is_none_or(|time| time.0 > now) {
                return Found::Leave("it is not finished");
            }
            // So that it is deleted: nobody will finish it.
            status.phase = Some(BackupPhase::PartiallyFailed);
        }
        _ => return Found::Leave("its phase is not one that a finished backup has"),
    }
    backup.status = Some(status);
    backup.spec.hooks = None;
    backup.spec.storage_location = location.to_owned();
    backup.metadata.namespace = Some(namespace.to_owned());
    backup.metadata.resource_version = None;
    backup.metadata.uid = None;
    backup.metadata.managed_fields = None;
    backup.metadata.deletion_timestamp = None;
    let owners = backup.metadata.owner_references.take().unwrap_or_default();
    let kept: Vec<OwnerReference> = owners
        .into_iter()
        .filter(|owner| {
            owner.kind != "Schedule" || schedules.contains(&(owner.name.clone(), owner.uid.clone()))
        })
        .collect();
    backup.metadata.owner_references = (!kept.is_empty()).then_some(kept);
    backup
        .labels_mut()
        .insert(labels::STORAGE_LOCATION.to_owned(), labels::label_value(location));
    Found::Sync(Box::new(backup))
}

/// The Backups of the cluster that the bucket does not have any more. `in_bucket` must be the whole list.
pub fn orphans<'a>(backups: &'a [Backup], location: &str, in_bucket: &BTreeSet<String>) -> Vec<&'a Backup> {
    let finished = |backup: &Backup| {
        let phase = backup.status.as_ref().and_then(|status| status.phase.clone());
        matches!(phase, Some(BackupPhase::Completed | BackupPhase::PartiallyFailed))
    };
    backups
        .iter()
        .filter(|backup| backup.spec.storage_location == location && finished(backup))
        .filter(|backup| !in_bucket.contains(&backup.name_any()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn location(spec: Value, status: Value) -> BackupStorageLocation {
        let mut value = json!({"metadata": {"name": "default"}, "spec": {"provider": "aws", "objectStorage": {"bucket": "b"}}, "status": status});
        value["spec"]
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn backup(name: &str, phase: &str, expiration: &str) -> Backup {
        let value = json!({"metadata": {"name": name, "namespace": "old", "uid": "u", "resourceVersion": "7",
                "ownerReferences": [{"apiVersion": "velero.io/v1", "kind": "Schedule", "name": "daily", "uid": "s1"}]},
            "spec": {"storageLocation": "elsewhere", "hooks": {"resources": [{"name": "h"}]}},
            "status": {"phase": phase, "expiration": expiration}});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_location_has_its_turn_when_its_period_is_over_and_it_is_available() {
        let minute = Duration::from_secs(60);
        let turn = |spec, status| turn(&location(spec, status), minute, now());
        let synced = json!({"phase": "Available", "lastSyncedTime": "2026-11-21T09:59:30Z"});
        assert_eq!(turn(json!({}), json!({"phase": "Available"})), Turn::Now);
        assert_eq!(turn(json!({}), synced.clone()), Turn::In(Duration::from_secs(30)));
        assert_eq!(
            turn(json!({"backupSyncPeriod": "10s"}), synced.clone()),
            Turn::Now
        );
        assert_eq!(turn(json!({"backupSyncPeriod": "0s"}), synced), Turn::Never);
        assert_eq!(turn(json!({}), json!({"phase": "Unavailable"})), Turn::In(minute));
    }

    #[test]
    fn a_finished_backup_comes_in_as_a_record_of_this_location() {
        let schedules = [("daily".to_owned(), "s1".to_owned())].into();
        let Found::Sync(synced) = found(
            backup("b", "Completed", "2027-01-01T00:00:00Z"),
            "here",
            "velero",
            &schedules,
            now(),
        ) else {
            panic!("synced");
        };
        assert_eq!(synced.spec.storage_location, "here");
        assert_eq!(synced.metadata.namespace.as_deref(), Some("velero"));
        assert_eq!(synced.labels()[labels::STORAGE_LOCATION], "here");
        assert!(
            synced.metadata.resource_version.is_none()
                && synced.metadata.uid.is_none()
                && synced.spec.hooks.is_none()
        );
        assert_eq!(synced.owner_references().len(), 1, "its Schedule is here, too");
        let Found::Sync(alone) = found(
            backup("b", "Completed", "2027-01-01T00:00:00Z"),
            "here",
            "velero",
            &BTreeSet::new(),
            now(),
        ) else {
            panic!("synced");
        };
        assert!(alone.owner_references().is_empty());
    }

    #[test]
    fn a_backup_that_is_being_made_is_left_until_it_expires() {
        let of = |phase: &str, expiration: &str| {
            found(
                backup("b", phase, expiration),
                "here",
                "velero",
                &BTreeSet::new(),
                now(),
            )
        };
        for phase in ["WaitingForPluginOperations", "Finalizing"] {
            assert!(
                matches!(of(phase, "2027-01-01T00:00:00Z"), Found::Leave(_)),
                "{phase}"
            );
            let Found::Sync(synced) = of(phase, "2026-01-01T00:00:00Z") else {
                panic!("{phase}")
            };
            assert_eq!(synced.status.unwrap().phase, Some(BackupPhase::PartiallyFailed));
        }
        for phase in ["New", "InProgress", "Deleting", "ReadyToStart"] {
            assert!(
                matches!(of(phase, "2026-01-01T00:00:00Z"), Found::Leave(_)),
                "{phase}"
            );
        }
    }

    #[test]
    fn only_finished_backups_of_this_location_go_with_their_folder() {
        let mut all = vec![
            backup("there", "Completed", "2027-01-01T00:00:00Z"),
            backup("gone", "Completed", "2027-01-01T00:00:00Z"),
            backup("failed", "Failed", "2027-01-01T00:00:00Z"),
            backup("running", "InProgress", "2027-01-01T00:00:00Z"),
        ];
        let bucket = ["there".to_owned()].into();
        let names = |backups: &[Backup]| {
            orphans(backups, "elsewhere", &bucket)
                .iter()
                .map(|backup| backup.name_any())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&all), ["gone"]);
        all[1].spec.storage_location = "other".into();
        assert!(names(&all).is_empty());
    }
}
