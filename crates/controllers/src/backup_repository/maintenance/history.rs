//! `status.recentMaintenance`: the last runs of maintenance, oldest first. Pure.
//!
//! A run is known by when it began (the Job's creation, to the second), as in Velero, so that a server that takes over
//! neither loses a run nor writes it down twice. Source: Velero v1.18.3 `pkg/controller/backup_repository_controller.go`,
//! `consolidateHistory`, `updateRepoMaintenanceHistory`.

use caravel_api::phase::BackupRepositoryMaintenanceResult;
use caravel_api::v1::BackupRepositoryMaintenanceStatus;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Runs that are remembered: Velero's `defaultMaintenanceStatusQueueLength`.
const REMEMBERED: usize = 3;

/// One run, as it is written down.
pub(super) fn entry(
    result: BackupRepositoryMaintenanceResult,
    start: Timestamp,
    complete: Option<Timestamp>,
    message: impl Into<String>,
) -> BackupRepositoryMaintenanceStatus {
    BackupRepositoryMaintenanceStatus {
        result: Some(result),
        start_timestamp: Some(Time(start)),
        complete_timestamp: complete.map(Time),
        message: message.into(),
    }
}

/// The history with these runs in it; none where it has them already, or newer ones in their place.
pub(super) fn with(
    recent: &[BackupRepositoryMaintenanceStatus],
    coming: &[BackupRepositoryMaintenanceStatus],
) -> Option<Vec<BackupRepositoryMaintenanceStatus>> {
    let is_new = |run: &&BackupRepositoryMaintenanceStatus| !has(recent, run);
    let mut all: Vec<_> = recent
        .iter()
        .chain(coming.iter().filter(is_new))
        .cloned()
        .collect();
    all.sort_by_key(start_second);
    let all = all.split_off(all.len().saturating_sub(REMEMBERED));
    let changes = all.iter().any(|run| !has(recent, run));
    changes.then_some(all)
}

/// Whether a run that began then would be written down.
pub(super) fn wants(recent: &[BackupRepositoryMaintenanceStatus], start: Timestamp) -> bool {
    let run = entry(BackupRepositoryMaintenanceResult::Failed, start, None, "");
    with(recent, &[run]).is_some()
}

/// Those of `now` that `before` does not have.
pub(super) fn new_in<'a>(
    before: &'a [BackupRepositoryMaintenanceStatus],
    now: &'a [BackupRepositoryMaintenanceStatus],
) -> impl Iterator<Item = &'a BackupRepositoryMaintenanceStatus> {
    now.iter().filter(|run| !has(before, run))
}

/// When maintenance last ended well, by these runs.
pub(super) fn last_success(runs: &[BackupRepositoryMaintenanceStatus]) -> Option<Timestamp> {
    let good = runs
        .iter()
        .filter(|run| run.result != Some(BackupRepositoryMaintenanceResult::Failed));
    good.filter_map(|run| Some(run.complete_timestamp.as_ref()?.0))
        .max()
}

/// When the newest run failed, where that is what it did.
pub(super) fn last_failure(runs: &[BackupRepositoryMaintenanceStatus]) -> Option<Timestamp> {
    let newest = runs.iter().max_by_key(|run| start_second(run))?;
    let ended = newest
        .complete_timestamp
        .as_ref()
        .or(newest.start_timestamp.as_ref());
    let failed = newest.result == Some(BackupRepositoryMaintenanceResult::Failed);
    ended.map(|time| time.0).filter(|_| failed)
}

fn has(runs: &[BackupRepositoryMaintenanceStatus], run: &BackupRepositoryMaintenanceStatus) -> bool {
    runs.iter().any(|other| start_second(other) == start_second(run))
}

/// The API server keeps whole seconds.
fn start_second(run: &BackupRepositoryMaintenanceStatus) -> Option<i64> {
    run.start_timestamp.as_ref().map(|time| time.0.as_second())
}
