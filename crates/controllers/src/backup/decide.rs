//! Whether a Backup may start (velero-behaviour.md 3.2), and how it ends. Pure: this file is the specification.

use std::sync::Arc;

use caravel_api::v1::{
    Backup, BackupPhase, BackupStorageLocation, BackupStorageLocationAccessMode, BackupStorageLocationPhase,
};
use caravel_backup::filter;
use caravel_backup::resource_policies::Policies;
use kube::ResourceExt;

use crate::attempts;

/// Whose turn a Backup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another controller's, or nobody's.
    NotOurs,
    /// It has come up in the queue.
    Start,
    /// The server that ran it ended; it begins again.
    Again { attempt: u32 },
    /// It has ended servers often enough.
    GiveUp { reason: String },
}

/// Decides whose turn it is. Nobody runs this Backup now: one worker has its key, and one server the Lease.
pub fn turn(backup: &Backup) -> Turn {
    match backup.phase() {
        BackupPhase::ReadyToStart => Turn::Start,
        BackupPhase::InProgress => match attempts::next(backup) {
            attempts::Next::Begin { attempt } => Turn::Again { attempt },
            attempts::Next::GiveUp { reason } => Turn::GiveUp { reason },
        },
        _ => Turn::NotOurs,
    }
}

/// What is known before a backup starts.
#[derive(Clone, Debug)]
pub struct Observed {
    /// With all defaults applied.
    pub backup: Backup,
    /// The location it names, if that exists.
    pub location: Option<BackupStorageLocation>,
    /// What is wrong with `spec.volumeSnapshotLocations` ([`super::snapshot_locations`]).
    pub snapshot_location_errors: Vec<String>,
    /// Of `spec.resourcePolicy`; why they cannot be used, where they cannot.
    pub policies: Result<Option<Arc<Policies>>, String>,
    /// Selected volumes that no method would save, and pods that ask for what this version does not have
    /// (`caravel_backup::preflight`).
    pub volume_errors: Vec<String>,
}

/// What to do with a backup that is `ReadyToStart`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// `FailedValidation`, with these errors.
    Refuse { errors: Vec<String> },
    /// `InProgress`, and run.
    Start,
}

/// Decides whether a backup starts.
pub fn decide(observed: &Observed) -> Decision {
    let mut errors = filter::spec_errors(&observed.backup.spec);
    errors.extend(location_error(
        &observed.backup.spec.storage_location,
        observed.location.as_ref(),
    ));
    errors.extend(observed.snapshot_location_errors.iter().cloned());
    match &observed.policies {
        Ok(Some(policies)) => errors.extend(policies_against_spec(policies, &observed.backup)),
        Ok(None) => {}
        Err(why) => errors.push(format!("invalid resource policies: {why}")),
    }
    let hooks = caravel_hooks::backup::from_spec(observed.backup.spec.hooks.as_ref(), str::to_owned);
    errors.extend(hooks.err().map(|error| error.to_string()));
    errors.extend(not_yet(&observed.backup));
    errors.extend(observed.volume_errors.iter().cloned());
    if errors.is_empty() {
        Decision::Start
    } else {
        Decision::Refuse { errors }
    }
}

fn location_error(name: &str, location: Option<&BackupStorageLocation>) -> Option<String> {
    let Some(location) = location else {
        return Some(format!(
            "BackupStorageLocation {name} does not exist; name an existing one with --storage-location (see `velero backup-location get`)"
        ));
    };
    if location.spec.access_mode == Some(BackupStorageLocationAccessMode::ReadOnly) {
        return Some(format!(
            "backup can't be created because backup storage location {name} is currently in read-only mode"
        ));
    }
    let status = location.status.clone().unwrap_or_default();
    match status.phase {
        Some(BackupStorageLocationPhase::Available) => None,
        Some(BackupStorageLocationPhase::Unavailable) => Some(format!(
            "backup can't be created because BackupStorageLocation {name} is in Unavailable status: {}. Correct it and create a new backup",
            status.message
        )),
        _ => Some(format!(
            "backup can't be created because BackupStorageLocation {name} has not been validated yet; create a new backup in a moment"
        )),
    }
}

/// The policies' lists are scoped ones: they cannot be joined with the old filters.
fn policies_against_spec(policies: &Policies, backup: &Backup) -> Vec<String> {
    let mut errors = Vec::new();
    if !filter::uses_old_filters(&backup.spec) {
        return errors;
    }
    let old =
        "include-resources, exclude-resources and include-cluster-resources are old filter parameters.\n";
    if policies.include_exclude.is_some() {
        errors.push(format!("{old}They cannot be used with include-exclude policies."));
    }
    if policies.cluster_scoped_filter.is_some() || !policies.namespaced_filters.is_empty() {
        errors.push(format!(
            "{old}They cannot be used with namespace-scoped or fine-grained global filter policies."
        ));
    }
    errors
}

/// What a spec asks for that this version does not have: refused, never ignored.
fn not_yet(backup: &Backup) -> Vec<String> {
    let spec = &backup.spec;
    let asked = [(
        spec.default_volumes_to_fs_backup == Some(true),
        "spec.defaultVolumesToFsBackup",
    )];
    let asked = asked.into_iter().filter(|(asked, _)| *asked);
    asked
        .map(|(_, field)| format!("{field}: this version does not have it yet"))
        .collect()
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Error lines in the backup log.
    pub errors: usize,
    /// Operations that go on.
    pub operations: usize,
}

/// The phase after a run whose results are in the bucket.
pub fn phase_after(ended: Ended) -> BackupPhase {
    match (ended.operations > 0, ended.errors > 0) {
        (true, false) => BackupPhase::WaitingForPluginOperations,
        (true, true) => BackupPhase::WaitingForPluginOperationsPartiallyFailed,
        (false, false) => BackupPhase::Finalizing,
        (false, true) => BackupPhase::FinalizingPartiallyFailed,
    }
}

/// The location a Backup goes to: its own choice, else the default one, else the server's flag.
pub fn location_name(backup: &Backup, locations: &[BackupStorageLocation], server_default: &str) -> String {
    if !backup.spec.storage_location.is_empty() {
        return backup.spec.storage_location.clone();
    }
    let default = locations
        .iter()
        .filter(|location| location.spec.default)
        .max_by_key(|location| {
            (
                location.creation_timestamp().map(|time| time.0),
                location.name_any(),
            )
        });
    default.map_or_else(|| server_default.to_owned(), ResourceExt::name_any)
}

#[cfg(test)]
mod tests {
    use caravel_api::v1::{BackupHooks, BackupResourceHookSpec, BackupStorageLocationStatus};

    use super::*;

    fn location(phase: Option<&str>) -> BackupStorageLocation {
        let mut location = BackupStorageLocation::new("default", Default::default());
        location.status = Some(BackupStorageLocationStatus {
            phase: phase.map(BackupStorageLocationPhase::from),
            message: "bucket backups does not exist".into(),
            ..Default::default()
        });
        location
    }

    fn observed() -> Observed {
        let mut backup = Backup::new("b1", Default::default());
        backup.spec.storage_location = "default".into();
        Observed {
            backup,
            location: Some(location(Some("Available"))),
            snapshot_location_errors: Vec::new(),
            policies: Ok(None),
            volume_errors: Vec::new(),
        }
    }

    fn errors(observed: &Observed) -> String {
        match decide(observed) {
            Decision::Refuse { errors } => errors.join("\n"),
            Decision::Start => String::new(),
        }
    }

    #[test]
    fn a_backup_that_its_server_left_begins_again_and_one_that_waits_for_others_is_not_ours() {
        let in_phase = |phase: &str, attempt: Option<&str>| {
            let mut backup = observed().backup;
            backup.status = Some(caravel_api::v1::BackupStatus {
                phase: Some(BackupPhase::from(phase)),
                ..Default::default()
            });
            let attempt = attempt.map(|number| ("velero.io/attempt".to_owned(), number.to_owned()));
            backup.annotations_mut().extend(attempt);
            turn(&backup)
        };
        assert_eq!(in_phase("ReadyToStart", Some("3")), Turn::Start);
        assert_eq!(in_phase("InProgress", None), Turn::Again { attempt: 2 });
        assert_eq!(in_phase("InProgress", Some("2")), Turn::Again { attempt: 3 });
        assert!(matches!(in_phase("InProgress", Some("3")), Turn::GiveUp { .. }));
        for phase in [
            "New",
            "Queued",
            "WaitingForPluginOperations",
            "Finalizing",
            "Completed",
            "Failed",
            "Deleting",
        ] {
            assert_eq!(in_phase(phase, None), Turn::NotOurs, "{phase}");
        }
    }

    #[test]
    fn a_backup_of_an_available_location_starts() {
        assert_eq!(decide(&observed()), Decision::Start);
    }

    #[test]
    fn a_backup_is_refused_with_the_reason_of_its_location() {
        let with = |location| Observed {
            location,
            ..observed()
        };
        assert!(errors(&with(None)).contains("does not exist"));
        assert!(errors(&with(Some(location(Some("Unavailable"))))).contains("bucket backups does not exist"));
        assert!(errors(&with(Some(location(None)))).contains("not been validated"));
        let mut read_only = location(Some("Available"));
        read_only.spec.access_mode = Some(BackupStorageLocationAccessMode::ReadOnly);
        assert!(errors(&with(Some(read_only))).contains("read-only"));
    }

    #[test]
    fn what_this_version_does_not_have_is_refused_and_never_ignored() {
        let mut all = observed();
        let spec = &mut all.backup.spec;
        spec.default_volumes_to_fs_backup = Some(true);
        let errors = errors(&all);
        let field = "spec.defaultVolumesToFsBackup";
        assert!(
            errors.contains(&format!("{field}: this version does not have it yet")),
            "{errors}"
        );
    }

    #[test]
    fn resource_policies_that_cannot_be_used_refuse_the_backup() {
        let broken = Observed {
            policies: Err("ConfigMap velero/policies does not exist".into()),
            ..observed()
        };
        assert!(errors(&broken).contains("invalid resource policies: ConfigMap velero/policies"));
        let mut old = Observed {
            policies: Ok(Some(Arc::new(Policies {
                include_exclude: Some(Default::default()),
                ..Policies::default()
            }))),
            ..observed()
        };
        assert_eq!(decide(&old), Decision::Start);
        old.backup.spec.included_resources = vec!["pods".into()];
        assert!(errors(&old).contains("include-exclude policies"));
    }

    #[test]
    fn hooks_are_taken_and_a_selector_that_is_none_refuses_the_backup() {
        let mut hooked = observed();
        hooked.backup.spec.hooks = Some(BackupHooks {
            resources: vec![BackupResourceHookSpec {
                name: "freeze".into(),
                ..Default::default()
            }],
        });
        assert_eq!(decide(&hooked), Decision::Start);
        let hooks = hooked.backup.spec.hooks.as_mut().unwrap();
        hooks.resources[0].label_selector = serde_json::from_value(
            serde_json::json!({"matchExpressions": [{"key": "a", "operator": "nonexistent-operator", "values": ["b"]}]}),
        )
        .ok();
        assert!(errors(&hooked).contains("\"freeze\""), "{}", errors(&hooked));
    }

    #[test]
    fn guarantee_5_a_volume_that_no_method_saves_refuses_the_backup() {
        let unsaved = Observed {
            volume_errors: vec!["PersistentVolumeClaim shop/data would not be saved".into()],
            ..observed()
        };
        assert!(errors(&unsaved).contains("shop/data"));
    }

    #[test]
    fn the_phase_after_a_run_follows_errors_and_operations() {
        let phase = |errors, operations| phase_after(Ended { errors, operations });
        assert_eq!(phase(0, 0), BackupPhase::Finalizing);
        assert_eq!(phase(1, 0), BackupPhase::FinalizingPartiallyFailed);
        assert_eq!(phase(0, 2), BackupPhase::WaitingForPluginOperations);
        assert_eq!(
            phase(1, 2),
            BackupPhase::WaitingForPluginOperationsPartiallyFailed
        );
    }

    #[test]
    fn the_location_is_the_named_one_then_the_default_one_then_the_flag() {
        let mut default = location(None);
        default.spec.default = true;
        default.metadata.name = Some("main".into());
        let mut backup = Backup::new("b", Default::default());
        assert_eq!(
            location_name(&backup, &[location(None), default.clone()], "flag"),
            "main"
        );
        assert_eq!(location_name(&backup, &[location(None)], "flag"), "flag");
        backup.spec.storage_location = "own".into();
        assert_eq!(location_name(&backup, &[default], "flag"), "own");
    }
}
