//! The `schedule` controller: makes a Backup when a Schedule is due. Upstream: `pkg/controller/schedule_controller.go`.
//!
//! `decide.rs` decides (pure) on what was read; `cron.rs` knows when. A schedule that is not due is looked at again when
//! it is, and not every minute.

pub mod cron;
pub mod decide;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use caravel_api::labels;
use caravel_api::v1::{Backup, Schedule};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::decide::{Observed, Write, backup_of, decide};
use crate::context::Context;
use crate::reconcile::{Error, Key, Next, Reconciler, Source, run};

/// A decision waits at most this long, so that a clock that was set is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Starts the controller. `skip_by_default`: `--schedule-skip-immediately`.
pub fn spawn(context: Context, skip_by_default: bool, shutdown: CancellationToken) -> JoinHandle<()> {
    let source = Source::own(&context, |schedule: &Schedule| vec![Key::of(schedule)]);
    let schedules = Schedules {
        context,
        skip_by_default,
    };
    tokio::spawn(run(schedules, vec![source], 1, shutdown))
}

struct Schedules {
    context: Context,
    skip_by_default: bool,
}

#[async_trait]
impl Reconciler for Schedules {
    fn name(&self) -> &'static str {
        "schedule"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let api: Api<Schedule> = self.context.api();
        let Some(schedule) = api.get_opt(&key.name).await? else {
            return Ok(Next::Done);
        };
        let selector = format!("{}={}", labels::SCHEDULE_NAME, labels::label_value(&key.name));
        let observed = Observed {
            backups: self
                .context
                .list(&ListParams::default().labels(&selector))
                .await?,
            schedule,
            skip_by_default: self.skip_by_default,
        };
        let decision = decide(&observed, self.context.clock.now());
        let mut schedule = observed.schedule;
        if let Some(write) = decision.write {
            tracing::info!(schedule = %key, phase = %write.phase, errors = ?write.errors, "schedule is read");
            schedule = self.patch(&schedule, self.change(write)).await?;
        }
        if decision.submit {
            self.submit(&schedule).await?;
            return Ok(Next::After(Duration::from_millis(1)));
        }
        Ok(decision
            .again
            .map_or(Next::Done, |wait| Next::After(wait.min(LOOK_AGAIN))))
    }
}

impl Schedules {
    fn change(&self, write: Write) -> Value {
        let mut patch = json!({
            "spec": {"skipImmediately": false},
            "status": {"phase": write.phase, "validationErrors": write.errors},
        });
        if write.skipped {
            patch["status"]["lastSkipped"] = json!(self.context.now());
        }
        patch
    }

    /// The Backup first: one that is made twice is better than one that is not made.
    async fn submit(&self, schedule: &Schedule) -> Result<(), Error> {
        let backups: Api<Backup> = self.context.api();
        let now = self.context.now();
        let mut backup = backup_of(schedule, now.0);
        backup.metadata.namespace = Some(self.context.namespace.clone());
        match backups.create(&PostParams::default(), &backup).await {
            Ok(_) => {}
            // Made in this very second, by a try whose answer was lost.
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
            Err(error) => return Err(error.into()),
        }
        tracing::info!(schedule = %schedule.name_any(), backup = %backup.name_any(), "schedule is due, its backup is made");
        self.patch(schedule, json!({"status": {"lastBackup": now}}))
            .await?;
        Ok(())
    }

    async fn patch(&self, schedule: &Schedule, mut patch: Value) -> Result<Schedule, kube::Error> {
        patch["metadata"]["resourceVersion"] = json!(schedule.resource_version());
        let api: Api<Schedule> = self.context.api();
        api.patch(
            &schedule.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await
    }
}
