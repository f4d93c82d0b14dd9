//! Maintenance: keeps the index small and removes what nobody needs, while others write (kopia-format.md 11; Kopia
//! v0.22.3 does the same on the same repository). *When* a Velero repository is maintained is decided in
//! `controllers/src/backup_repository/`.
//!
//! ```text
//! due? ─ schedule blob put, its time is "start" ─▶ quick: merge one epoch, advance
//!                                              └▶ full:  collect snapshots ▶ move contents ▶ drop ▶ delete packs
//!                                                        ▶ merge, advance, merge a range, clean up ▶ delete logs
//! ```
//! A content goes in steps, days apart, and every step can be undone by the next reader or writer that needs it: marked
//! by one collection, confirmed by another, dropped from the index, its pack deleted.
//!
//! Each neighbour has a plain `decide` over what was observed and an `act`; `due.rs` says when, `safety.rs` how long to
//! wait, `plan.rs` is what a dry run prints.

mod by_hand;
mod due;
mod epochs;
mod lock;
mod logs;
mod mark;
mod object_locks;
mod pack_gc;
mod parameters;
mod plan;
mod rewrite;
mod run;
mod safety;
mod schedule;
mod snapshot_gc;

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

pub use due::{Due, Kind, Mode};
pub use logs::CleanupLogs;
pub use object_locks::ExtendLocks;
pub(crate) use object_locks::check_period;
pub use pack_gc::PackGc;
pub use parameters::{Cycle, LogRetention, MaintenanceParameters};
pub use plan::{Plan, Step};
pub use rewrite::Rewrite;
pub use safety::Safety;
pub use schedule::{Extra, Run, SCHEDULE_BLOB, Schedule, Task};
pub use snapshot_gc::SnapshotGc;

use crate::{
    error::{RepositoryError, RepositoryErrorKind, Result},
    repository::Repository,
};

/// Local and storage's clocks may differ by so much (Kopia's own figure).
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// How to maintain.
#[derive(Clone, Debug)]
pub struct MaintenanceOptions {
    pub mode: Mode,
    /// Also when another client owns maintenance.
    pub force: bool,
    pub safety: Safety,
    /// A file whose lock keeps other processes of this machine out; Kopia's is `<config file>.mlock`.
    pub lock_file: Option<PathBuf>,
}

impl Default for MaintenanceOptions {
    /// What is due, safely, as the owner.
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            force: false,
            safety: Safety::full(),
            lock_file: None,
        }
    }
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The schedule says: later.
    NotDue,
    /// Another process of this machine holds the lock.
    RunningElsewhere,
    /// These steps were taken.
    Done(Plan),
}

impl Repository {
    /// Maintains, when that is due (blocking).
    ///
    /// Errors: `NotOwner`, `ClockSkew` or `TooSlow` (nothing was done but writing the schedule blob once and back), `Damaged` when a
    /// snapshot cannot be walked, `Storage`. Whatever it dies of leaves a whole repository; the next run goes on.
    pub fn run_maintenance(&self, options: &MaintenanceOptions) -> Result<Outcome> {
        let (parameters, schedule, due) = self.maintenance_due(options)?;
        let Some(kind) = due else {
            return Ok(Outcome::NotDue);
        };
        let Some(_lock) = lock::acquire(options.lock_file.as_deref())? else {
            return Ok(Outcome::RunningElsewhere);
        };
        // Before the schedule moves on: another client may be able to do it.
        self.inner.refuse_unkept_retention()?;
        self.refuse_lost_index()?;
        let start = self.begin_maintenance(kind, &parameters, schedule)?;
        self.maintenance(kind, start, parameters, options, false)
            .run()
            .map(Outcome::Done)
    }

    /// What maintenance would do now, as far as it can be known beforehand; writes nothing (blocking). With `Auto`,
    /// the kind that is due, or quick.
    pub fn plan_maintenance(&self, options: &MaintenanceOptions) -> Result<Plan> {
        let (parameters, _, due) = self.maintenance_due(options)?;
        let start = self.inner.environment.clock.now();
        self.inner.committed.refresh()?;
        self.maintenance(due.unwrap_or(Kind::Quick), start, parameters, options, true)
            .run()
    }

    /// [`Repository::run_maintenance`] for callers on a runtime.
    pub async fn maintain(&self, options: MaintenanceOptions) -> Result<Outcome> {
        let repository = self.clone();
        crate::blob::run(&self.inner.environment, move || {
            repository.run_maintenance(&options)
        })
        .await
    }

    fn maintenance_due(
        &self,
        options: &MaintenanceOptions,
    ) -> Result<(MaintenanceParameters, Schedule, Option<Kind>)> {
        let parameters = self.maintenance_parameters()?;
        let schedule = self.maintenance_schedule()?;
        let identity = &self.inner.identity;
        let who = format!("{}@{}", identity.username, identity.hostname);
        let now = self.inner.environment.clock.now();
        match due::due(options.mode, options.force, &who, &parameters, &schedule, now) {
            Due::Run(kind) => Ok((parameters, schedule, Some(kind))),
            Due::NotYet => Ok((parameters, schedule, None)),
            Due::OwnedBy(owner) => Err(RepositoryError::new(
                RepositoryErrorKind::NotOwner,
                format!(
                    "maintenance of this repository belongs to {owner:?}, this client is {who:?}; run it there, or take it \
                     over by setting the owner"
                ),
            )),
        }
    }

    /// An index without a single content beside packs is a lost index: its recovery needs every pack.
    fn refuse_lost_index(&self) -> Result<()> {
        if self.inner.committed.refresh()?.index.all().next().is_some() {
            return Ok(());
        }
        for letter in ["q", "p"] {
            if !self.inner.blobs.list(letter)?.is_empty() {
                return Err(RepositoryError::damaged(
                    "the repository has packs but its index is empty, so nothing is maintained; recover the index from the \
                     packs first",
                ));
            }
        }
        Ok(())
    }

    /// Writes the next times, so that a maintenance that dies is not repeated at once, and returns the storage's time.
    fn begin_maintenance(
        &self,
        kind: Kind,
        parameters: &MaintenanceParameters,
        before: Schedule,
    ) -> Result<Timestamp> {
        let now = self.inner.environment.clock.now();
        let (next_full, next_quick) = due::next_times(kind, parameters, &before, now);
        let schedule = Schedule {
            next_full,
            next_quick,
            runs: before.runs.clone(),
        };
        self.storage_time(&schedule, &before)
    }

    /// Writes the schedule blob and gives the time at which the storage says that it was written.
    ///
    /// Errors: `ClockSkew` when that is far from this machine's own, `TooSlow` when the writing took so long that it says
    /// nothing of the clocks; the blob is then as `before` again.
    fn storage_time(&self, schedule: &Schedule, before: &Schedule) -> Result<Timestamp> {
        let clock = &self.inner.environment.clock;
        let began = clock.now();
        self.put_schedule(schedule)?;
        let start = self.inner.blobs.metadata(SCHEDULE_BLOB)?.timestamp;
        let now = clock.now();
        let took = now.duration_since(began).abs();
        // Written at some time from `began` to `now`, if both clocks are right.
        let skew = began.duration_since(start).max(start.duration_since(now));
        let (kind, why) = if took > MAX_SKEW {
            let why = format!(
                "writing `{SCHEDULE_BLOB}` took {took:#}, too long to compare this machine's clock with the storage's by it, \
                 so nothing was maintained; try again"
            );
            (RepositoryErrorKind::TooSlow, why)
        } else if skew > MAX_SKEW {
            let why = format!(
                "this machine's clock ({now:.0}) and the storage's ({start:.0}) differ by more than 5 minutes, so ages cannot \
                 be trusted; set the clock and try again"
            );
            (RepositoryErrorKind::ClockSkew, why)
        } else {
            return Ok(start);
        };
        self.put_schedule(before)?;
        Err(RepositoryError::new(kind, why))
    }

    fn maintenance(
        &self,
        kind: Kind,
        start: Timestamp,
        parameters: MaintenanceParameters,
        options: &MaintenanceOptions,
        dry_run: bool,
    ) -> run::Maintenance<'_> {
        run::Maintenance {
            repository: self,
            parameters,
            safety: options.safety,
            dry_run,
            plan: Plan {
                kind,
                start,
                steps: Vec::new(),
            },
        }
    }
}
