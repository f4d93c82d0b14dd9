//! What to do with a Schedule (velero-behaviour.md 3.8). Pure; the tables below are the specification.
//!
//! ```text
//! skipImmediately ► lastSkipped = now, once
//! expression ──► FailedValidation, or Enabled ─ next(last backup, skip or creation) ≤ now, none running ──► Backup
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupPhase, Schedule, SchedulePhase};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;

use super::cron::Cron;

/// How often a schedule whose last backup still runs is looked at. Velero's interval.
const WAIT_FOR_RUNNING: Duration = Duration::from_secs(60);

/// Everything that the decision looks at.
#[derive(Clone, Debug)]
pub struct Observed {
    pub schedule: Schedule,
    /// Those with the schedule's label.
    pub backups: Vec<Backup>,
    /// `--schedule-skip-immediately`.
    pub skip_by_default: bool,
}

/// What to do; in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// The status and the spec's flag are written, when they are not as this says.
    pub write: Option<Write>,
    /// A Backup is made, and `status.lastBackup` is now.
    pub submit: bool,
    /// Look again.
    pub again: Option<Duration>,
}

/// What is written into the Schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub phase: SchedulePhase,
    pub errors: Vec<String>,
    /// `status.lastSkipped` is now.
    pub skipped: bool,
}

/// Decides.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let schedule = &observed.schedule;
    if schedule.metadata.deletion_timestamp.is_some() || schedule.spec.paused {
        return Decision::default();
    }
    let parsed = parse(&schedule.spec.schedule);
    let skipped = schedule.spec.skip_immediately.unwrap_or(observed.skip_by_default);
    let (phase, errors) = match &parsed {
        Ok(_) => (SchedulePhase::Enabled, Vec::new()),
        Err(error) => (SchedulePhase::FailedValidation, vec![error.clone()]),
    };
    let status = schedule.status.clone().unwrap_or_default();
    let as_written = schedule.phase() == phase && status.validation_errors == errors;
    // An unset flag is written down, too: what the server says today shall not skip a backup tomorrow.
    let write = (!as_written || skipped || schedule.spec.skip_immediately.is_none()).then_some(Write {
        phase,
        errors,
        skipped,
    });
    let decision = Decision {
        write,
        ..Decision::default()
    };
    let Ok(cron) = parsed else { return decision };
    let Some(next) = next_run(schedule, &cron, skipped.then_some(now)) else {
        return decision;
    };
    if now <= next {
        let left = Duration::try_from(next.duration_since(now)).unwrap_or_default();
        return Decision {
            // Velero is due after the time, not at it.
            again: Some(left + Duration::from_millis(1)),
            ..decision
        };
    }
    if observed.backups.iter().any(is_running) {
        return Decision {
            again: Some(WAIT_FOR_RUNNING),
            ..decision
        };
    }
    Decision {
        submit: true,
        ..decision
    }
}

/// # Errors
/// For `status.validationErrors`.
fn parse(expression: &str) -> Result<Cron, String> {
    if expression.is_empty() {
        return Err("Schedule must be a non-empty valid Cron expression".to_owned());
    }
    Cron::parse(expression).map_err(|error| format!("invalid schedule: {error}"))
}

/// When the schedule is due: after its last backup or skip, else after its creation. `skipped`: a skip that is not
/// written yet.
pub fn next_run(schedule: &Schedule, cron: &Cron, skipped: Option<Timestamp>) -> Option<Timestamp> {
    let status = schedule.status.clone().unwrap_or_default();
    let created = schedule
        .creation_timestamp()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let last = status.last_backup.map_or(created, |time| time.0);
    let skips = status.last_skipped.map(|time| time.0).into_iter().chain(skipped);
    cron.next(skips.fold(last, Timestamp::max))
}

/// Not begun or at work; one that only waits for its data to be moved does not hold the next one up.
fn is_running(backup: &Backup) -> bool {
    let phase = backup
        .status
        .as_ref()
        .and_then(|status| status.phase.clone())
        .unwrap_or_default();
    matches!(
        phase,
        BackupPhase::New | BackupPhase::Queued | BackupPhase::ReadyToStart | BackupPhase::InProgress
    )
}

/// `<schedule>-YYYYMMDDhhmmss`, in UTC.
pub fn backup_name(schedule: &str, now: Timestamp) -> String {
    format!("{schedule}-{}", now.strftime("%Y%m%d%H%M%S"))
}

/// The Backup of a Schedule that is due now.
pub fn backup_of(schedule: &Schedule, now: Timestamp) -> Backup {
    let name = schedule.name_any();
    let template = &schedule.spec.template;
    let mut backup = Backup::new(&backup_name(&name, now), template.clone());
    backup.metadata.namespace = schedule.namespace();
    let own = template.metadata.as_ref().map(|metadata| metadata.labels.clone());
    let mut labels: BTreeMap<String, String> = own
        .filter(|labels| !labels.is_empty())
        .unwrap_or_else(|| schedule.labels().clone());
    labels.insert(labels::SCHEDULE_NAME.to_owned(), labels::label_value(&name));
    backup.metadata.labels = Some(labels);
    if !schedule.annotations().is_empty() {
        backup.metadata.annotations = Some(schedule.annotations().clone());
    }
    if schedule.spec.use_owner_references_in_backup == Some(true) {
        backup.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "velero.io/v1".to_owned(),
            kind: "Schedule".to_owned(),
            name,
            uid: schedule.uid().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]);
    }
    backup
}
