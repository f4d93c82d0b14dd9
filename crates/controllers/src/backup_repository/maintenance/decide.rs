//! What is to be done about a repository's maintenance: the specification. Pure.
//!
//! ```text
//! Jobs that ended ─► into the history ─► beyond the kept ones: deleted
//! a Job is at work (ours, or another server's) ─► wait for it, whoever asks
//! asked for by annotation ─► Start     a failure ─► not again for 5 minutes     due ─► Start     else ─► Rest
//! ```
//! One that is due starts when it is its turn: `turns.rs`.

use std::time::Duration;

use caravel_api::labels::MAINTAIN_NOW;
use caravel_api::phase::BackupRepositoryMaintenanceResult as Outcome;
use caravel_api::v1::BackupRepositoryMaintenanceStatus;
use jiff::{SignedDuration, Timestamp};

use super::history;

/// After a failure maintenance rests so long; Velero looks again every `repoSyncPeriod`.
const RETRY: SignedDuration = SignedDuration::from_mins(5);
/// A Job that takes longer is spoken of; then after twice as long, and so on: Velero's `waitCompletionBackOff`.
const LONG: SignedDuration = SignedDuration::from_mins(20);
/// The longest silence between two such words.
const LONGEST_SILENCE: SignedDuration = SignedDuration::from_hours(12);

/// One maintenance Job of the repository.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MaintenanceJob {
    pub name: String,
    pub created: Timestamp,
    pub state: JobState,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum JobState {
    Running,
    Succeeded { at: Option<Timestamp> },
    Failed { at: Option<Timestamp>, message: String },
}

impl MaintenanceJob {
    fn is_running(&self) -> bool {
        self.state == JobState::Running
    }

    /// What the history says of it. A Job that succeeded and does not say when has done so by now.
    fn entry(&self, now: Timestamp) -> Option<BackupRepositoryMaintenanceStatus> {
        match &self.state {
            JobState::Running => None,
            JobState::Succeeded { at } => Some(history::entry(
                Outcome::Succeeded,
                self.created,
                Some(at.unwrap_or(now)),
                "",
            )),
            JobState::Failed { at, message } => {
                Some(history::entry(Outcome::Failed, self.created, *at, message))
            }
        }
    }
}

/// All that decides.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// Oldest first.
    pub jobs: Vec<MaintenanceJob>,
    /// `status.recentMaintenance`.
    pub recent: Vec<BackupRepositoryMaintenanceStatus>,
    /// `status.lastMaintenanceTime`.
    pub last: Option<Timestamp>,
    /// `spec.maintenanceFrequency`, or the server's default.
    pub frequency: Duration,
    /// Value of the annotation [`MAINTAIN_NOW`].
    pub asked: Option<String>,
    /// The location may not be written to.
    pub read_only: bool,
    /// `keepLatestMaintenanceJobs`.
    pub keep: usize,
}

/// What a Job is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// What the repository's own schedule says: full, quick or nothing yet. Velero's only one.
    Due,
    Quick,
    Full,
}

impl Mode {
    /// The argument that says it; Velero's Jobs have none.
    pub fn argument(self) -> Option<&'static str> {
        match self {
            Mode::Due => None,
            Mode::Quick => Some("--mode=quick"),
            Mode::Full => Some("--mode=full"),
        }
    }
}

/// What is to be done, all of it in one look.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// The new status, where it changes.
    pub record: Option<Record>,
    pub step: Step,
    /// Jobs that are not kept any longer.
    pub remove: Vec<String>,
    /// Since when it is due, or from when on.
    pub due: Timestamp,
}

/// What is written into the status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub recent: Vec<BackupRepositoryMaintenanceStatus>,
    pub last: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// This Job is at work. Its end wakes us; `look_again` is when it is spoken of (again), `silences` how many times
    /// that was due already.
    WaitFor {
        job: String,
        since: Timestamp,
        look_again: Timestamp,
        silences: u32,
    },
    Start(Mode),
    /// What was asked for cannot be.
    Refuse(String),
    Rest {
        until: Timestamp,
    },
    /// Nothing maintains a location that may not be written to.
    Leave,
}

/// Decides on one repository that is Ready.
pub(super) fn decide(observed: &Observed, now: Timestamp) -> Plan {
    let ended: Vec<_> = observed.jobs.iter().filter_map(|job| job.entry(now)).collect();
    let recent = history::with(&observed.recent, &ended);
    let known = recent.as_deref().unwrap_or(&observed.recent);
    let last = observed.last.max(history::last_success(known));
    let due = due(observed, known, last);
    let step = step(observed, known, due, now);
    Plan {
        record: recent.map(|recent| Record { recent, last }),
        step,
        remove: surplus(&observed.jobs, observed.keep),
        due,
    }
}

fn step(
    observed: &Observed,
    recent: &[BackupRepositoryMaintenanceStatus],
    due: Timestamp,
    now: Timestamp,
) -> Step {
    if let Some(running) = observed.jobs.iter().find(|job| job.is_running()) {
        let (look_again, silences) = silence(running.created, now);
        return Step::WaitFor {
            job: running.name.clone(),
            since: running.created,
            look_again,
            silences,
        };
    }
    if let Some(until) = next_second(observed, recent, now) {
        return Step::Rest { until };
    }
    match (observed.asked.as_deref(), observed.read_only) {
        (None, true) => return Step::Leave,
        (Some(_), true) => {
            return Step::Refuse("the location is read-only: its repositories are not maintained".into());
        }
        (Some("quick"), false) => return Step::Start(Mode::Quick),
        (Some("full"), false) => return Step::Start(Mode::Full),
        (Some(word), false) => {
            return Step::Refuse(format!(
                "annotation {MAINTAIN_NOW} is {word:?}; it may be \"quick\" or \"full\""
            ));
        }
        (None, false) => {}
    }
    if now >= due {
        Step::Start(Mode::Due)
    } else {
        Step::Rest { until: due }
    }
}

/// When its frequency has passed, and after a failure not at once.
fn due(
    observed: &Observed,
    recent: &[BackupRepositoryMaintenanceStatus],
    last: Option<Timestamp>,
) -> Timestamp {
    let due = last.map_or(Timestamp::MIN, |last| {
        let frequency = SignedDuration::try_from(observed.frequency).unwrap_or(SignedDuration::MAX);
        later(last, frequency)
    });
    let rested = history::last_failure(recent).map_or(Timestamp::MIN, |failed| later(failed, RETRY));
    due.max(rested)
}

/// A run is known by the second in which it began, so the next one begins in another. Our clock and the API server's may be
/// a little apart.
fn next_second(
    observed: &Observed,
    recent: &[BackupRepositoryMaintenanceStatus],
    now: Timestamp,
) -> Option<Timestamp> {
    let of_runs = recent
        .iter()
        .filter_map(|run| Some(run.start_timestamp.as_ref()?.0));
    let newest = observed.jobs.iter().map(|job| job.created).chain(of_runs).max()?;
    let since = now.as_second() - newest.as_second();
    (-2..=0)
        .contains(&since)
        .then(|| later(newest, SignedDuration::from_secs(1)))
}

/// When a Job that was created then is spoken of next, and how many times it was.
fn silence(created: Timestamp, now: Timestamp) -> (Timestamp, u32) {
    let (mut at, mut wait, mut passed) = (later(created, LONG), LONG, 0);
    while at <= now {
        passed += 1;
        wait = (wait * 2).min(LONGEST_SILENCE);
        at = later(at, wait);
    }
    (at, passed)
}

/// The oldest of those that ended, down to as many as are kept.
fn surplus(jobs: &[MaintenanceJob], keep: usize) -> Vec<String> {
    let ended: Vec<_> = jobs.iter().filter(|job| !job.is_running()).collect();
    let count = ended.len().saturating_sub(keep);
    ended[..count].iter().map(|job| job.name.clone()).collect()
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}
