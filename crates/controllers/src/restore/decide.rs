//! What to do with a Restore: velero-behaviour.md 8.1. Pure; the table tests below are the specification.
//!
//! ```text
//! New ──► FailedValidation                          (refused, with every reason at once)
//!  └────► InProgress ──► (run) ──► WaitingForPluginOperations… ─► restore_operations
//!             │                └─► Finalizing… ─► restore_finalizer
//!             ├────► FailedValidation (its backup's deletion began in the same moment)
//!          ▲  └────► Failed        (it cannot go on)
//!          └── its server ended: the next attempt (crate::attempts)
//! ```

use std::sync::Arc;

use caravel_api::labels;
use caravel_api::phase::{BackupPhase, BackupStorageLocationPhase, RestorePhase};
use caravel_api::v1::{Backup, BackupStorageLocation, Restore, RestoreSpec};
use caravel_resource_policies::Policies;
use caravel_restore::resource_modifiers::ResourceModifiers;
use caravel_restore::selection::{NEVER_RESTORABLE, list_errors};
use kube::ResourceExt;
use kube::core::Selector;

use crate::attempts;

/// Velero's finalizer on Restores; one that a Velero server set is taken off when the Restore is deleted.
pub const FINALIZER: &str = "restores.velero.io/external-resources-finalizer";

/// Everything that the decision looks at.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The Restore.
    pub restore: Restore,
    /// The Backup it names, or the [`latest`] of the Schedule that it names.
    pub backup: Option<Backup>,
    /// The Backup's location.
    pub location: Option<BackupStorageLocation>,
    /// Of `spec.resourcePolicy`; why they cannot be used, where they cannot.
    pub policies: Option<Result<Arc<Policies>, String>>,
    /// Of `spec.resourceModifier`; why they cannot be used, where they cannot.
    pub modifiers: Option<Result<ResourceModifiers, String>>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Another controller's turn, or nobody's.
    Nothing,
    /// It is deleted: take the finalizer off.
    ForgetFinalizer,
    /// FailedValidation with these reasons.
    Refuse(Vec<String>),
    /// Nobody runs it, and somebody (named) changed their mind.
    Cancel(String),
    /// Run it.
    Run(Box<Start>),
    /// InProgress, but no run is going on: an earlier one ended with the server, or could not write its end. Run it again.
    Again { attempt: u32 },
    /// The same, but it cannot run again, or has ended servers often enough: Failed.
    GiveUp { reason: String },
}

/// What is written into the Restore when it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// `spec.backupName`: the named one, or the schedule's latest.
    pub backup_name: String,
    /// `spec.excludedResources` with the never restorable ones.
    pub excluded_resources: Vec<String>,
    /// `spec.itemOperationTimeout`.
    pub item_operation_timeout: caravel_api::Duration,
    /// Label `velero.io/schedule-name`, copied from the Backup.
    pub schedule_name: Option<String>,
}

/// Decides. `default_timeout` is `--item-operation-timeout`.
pub fn decide(observed: &Observed, default_timeout: caravel_api::Duration) -> Decision {
    let restore = &observed.restore;
    if restore.metadata.deletion_timestamp.is_some() {
        let has = restore.finalizers().iter().any(|name| name == FINALIZER);
        return if has {
            Decision::ForgetFinalizer
        } else {
            Decision::Nothing
        };
    }
    match restore
        .status
        .as_ref()
        .and_then(|status| status.phase.clone())
        .unwrap_or_default()
    {
        RestorePhase::New => {
            if let Some(who) = crate::cancel::wished_by(restore) {
                return Decision::Cancel(who);
            }
        }
        RestorePhase::InProgress => return left(observed),
        _ => return Decision::Nothing,
    }
    let mut reasons = spec_errors(&restore.spec);
    if let Some(Err(why)) = &observed.policies {
        reasons.push(why.clone());
    }
    if let Some(Err(why)) = &observed.modifiers {
        reasons.push(why.clone());
    }
    if reasons.is_empty() {
        reasons = source_errors(observed);
    }
    if reasons.is_empty() {
        Decision::Run(Box::new(start(observed, default_timeout)))
    } else {
        Decision::Refuse(reasons)
    }
}

/// Decides for a Restore that its server has left.
fn left(observed: &Observed) -> Decision {
    let restore = &observed.restore;
    if let Some(who) = crate::cancel::wished_by(restore) {
        return Decision::Cancel(who);
    }
    let attempt = match attempts::next(restore) {
        attempts::Next::Begin { attempt } => attempt,
        attempts::Next::GiveUp { reason } => return Decision::GiveUp { reason },
    };
    let mut reasons = source_errors(observed);
    // Without the filter it began with, it would restore more than was asked for.
    if let Some(Err(why)) = &observed.policies {
        reasons.push(why.clone());
    }
    if let Some(Err(why)) = &observed.modifiers {
        reasons.push(why.clone());
    }
    if reasons.is_empty() {
        return Decision::Again { attempt };
    }
    let reasons = reasons.join("; ");
    Decision::GiveUp {
        reason: format!(
            "its server ended while it ran, and it cannot begin again: {reasons}; what was restored by then stays"
        ),
    }
}

/// Whether a deletion of the backup began in the same moment as the restore: why nothing is restored then. `was`: the Backup
/// that was decided on; `now`: the one that there is since the Restore says InProgress. The other side of it, and why both
/// may step back: `backup_deletion::begin`.
pub fn deletion_met(was: &Backup, now: Option<&Backup>) -> Option<String> {
    let name = was.name_any();
    let Some(now) = now.filter(|now| now.uid() == was.uid()) else {
        return Some(format!(
            "backup {name:?} was deleted in the moment in which this restore began; nothing was restored"
        ));
    };
    let is_going = now.phase() == BackupPhase::Deleting || now.metadata.deletion_timestamp.is_some();
    is_going.then(|| {
        format!(
            "backup {name:?} is Deleting: its deletion began in the same moment as this restore, and nothing was restored; should the deletion be refused because of this restore (see `velero backup get {name}`), create the restore again"
        )
    })
}

/// The completed backup that started last.
pub fn latest(backups: &[Backup]) -> Option<&Backup> {
    let status = |backup: &Backup| backup.status.clone().unwrap_or_default();
    let completed = backups
        .iter()
        .filter(|backup| status(backup).phase == Some(BackupPhase::Completed));
    completed.max_by_key(|backup| {
        (
            status(backup).start_timestamp.map(|time| time.0),
            backup.name_any(),
        )
    })
}

fn start(observed: &Observed, default_timeout: caravel_api::Duration) -> Start {
    let spec = &observed.restore.spec;
    let mut excluded_resources = spec.excluded_resources.clone();
    for name in NEVER_RESTORABLE {
        if !excluded_resources.iter().any(|excluded| excluded == name) {
            excluded_resources.push((*name).to_owned());
        }
    }
    let asked = spec.item_operation_timeout.filter(|timeout| !timeout.is_zero());
    Start {
        backup_name: observed
            .backup
            .as_ref()
            .map(ResourceExt::name_any)
            .unwrap_or_default(),
        excluded_resources,
        item_operation_timeout: asked.unwrap_or(default_timeout),
        schedule_name: observed
            .backup
            .as_ref()
            .and_then(|backup| backup.labels().get(labels::SCHEDULE_NAME).cloned()),
    }
}

/// What is wrong with the Restore itself.
fn spec_errors(spec: &RestoreSpec) -> Vec<String> {
    let mut errors = Vec::new();
    match (spec.backup_name.is_empty(), spec.schedule_name.is_empty()) {
        (false, true) | (true, false) => {}
        _ => errors.push(
            "Either a backup or schedule must be specified as a source for the restore, but not both"
                .to_owned(),
        ),
    }
    for name in spec
        .included_resources
        .iter()
        .filter(|name| NEVER_RESTORABLE.contains(&name.as_str()))
    {
        errors.push(format!("{name} are non-restorable resources"));
    }
    errors.extend(list_errors(
        "resource",
        &spec.included_resources,
        &spec.excluded_resources,
    ));
    errors.extend(list_errors(
        "namespace",
        &spec.included_namespaces,
        &spec.excluded_namespaces,
    ));
    if spec.label_selector.is_some() && !spec.or_label_selectors.is_empty() {
        errors.push(
            "encountered labelSelector as well as orLabelSelectors in restore spec, only one can be specified".to_owned(),
        );
    }
    for selector in spec.label_selector.iter().chain(&spec.or_label_selectors) {
        if let Err(error) = Selector::try_from(selector.clone()) {
            errors.push(format!("invalid label selector: {error}"));
        }
    }
    errors.extend(word_errors(spec));
    errors
}

/// What is wrong with the words of single fields.
fn word_errors(spec: &RestoreSpec) -> Vec<String> {
    let mut errors = Vec::new();
    match spec.existing_resource_policy.as_str() {
        "" | "none" | "update" => {}
        other => errors.push(format!(
            "Invalid ExistingResourcePolicy {other:?}: it is none or update"
        )),
    }
    let hooks = caravel_hooks::restore_exec::from_spec(spec.hooks.as_ref());
    errors.extend(hooks.err().map(|error| error.to_string()));
    if let Some(status) = &spec.restore_status {
        errors.extend(list_errors(
            "restore status resource",
            &status.included_resources,
            &status.excluded_resources,
        ));
    }
    errors
}

/// What is wrong with the backup or its location.
fn source_errors(observed: &Observed) -> Vec<String> {
    let spec = &observed.restore.spec;
    if observed.backup.is_none() && !spec.schedule_name.is_empty() {
        return vec![format!(
            "No completed backups found for schedule {name}; see `velero backup get -l {}={name}`",
            labels::SCHEDULE_NAME,
            name = spec.schedule_name,
        )];
    }
    let name = &observed
        .backup
        .as_ref()
        .map_or_else(|| spec.backup_name.clone(), ResourceExt::name_any);
    let Some(backup) = &observed.backup else {
        return vec![format!(
            "Error retrieving backup: backups.velero.io {name:?} not found; see `velero backup get`"
        )];
    };
    let phase = backup
        .status
        .as_ref()
        .and_then(|status| status.phase.clone())
        .unwrap_or_default();
    let mut errors = Vec::new();
    let restorable = matches!(phase, BackupPhase::Completed | BackupPhase::PartiallyFailed);
    if !restorable || backup.metadata.deletion_timestamp.is_some() {
        errors.push(format!(
            "backup {name:?} is {phase}; only a Completed or PartiallyFailed backup can be restored, see `velero backup describe {name}`"
        ));
    }
    let location = &backup.spec.storage_location;
    match &observed.location {
        None => errors.push(format!(
            "BackupStorageLocation {location:?} of backup {name:?} does not exist"
        )),
        Some(bsl) => {
            let status = bsl.status.clone().unwrap_or_default();
            if status.phase != Some(BackupStorageLocationPhase::Available) {
                let why = if status.message.is_empty() {
                    "it was not validated yet"
                } else {
                    status.message.as_str()
                };
                errors.push(format!(
                    "The BSL {location} is unavailable, cannot retrieve the backup: {why}; see `velero backup-location get`"
                ));
            }
        }
    }
    errors
}
