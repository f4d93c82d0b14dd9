//! One maintenance: the tasks in Kopia's order (kopia-format.md 11.4), each noted in the schedule. A dry run goes the
//! same way and writes nothing.

use bytes::Bytes;
use caravel_storage::BlobMetadata;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    MaintenanceParameters, Safety, due,
    due::Kind,
    logs, object_locks, pack_gc,
    plan::{Plan, Step},
    rewrite,
    schedule::{Extra, Run, Task},
    snapshot_gc,
};
use crate::{
    epoch::{IndexManager, upkeep::Listing},
    error::Result,
    format::EpochParameters,
    repository::Repository,
};

/// A maintenance under way.
pub(super) struct Maintenance<'r> {
    pub repository: &'r Repository,
    pub parameters: MaintenanceParameters,
    pub safety: Safety,
    pub dry_run: bool,
    pub plan: Plan,
}

/// What a task did, and how the schedule tells it.
pub(super) struct Figures {
    step: Step,
    extra: Option<Extra>,
}

impl Figures {
    pub fn none(step: Step) -> Self {
        Self { step, extra: None }
    }

    pub fn some(step: Step, kind: &str, data: Value) -> Self {
        let extra = Some(Extra {
            kind: kind.into(),
            data,
        });
        Self { step, extra }
    }
}

impl Maintenance<'_> {
    /// All tasks; stops at the first that fails.
    pub fn run(mut self) -> Result<Plan> {
        let epochs = self.repository.inner.format.config.index_manager() == IndexManager::Epochs;
        if self.plan.kind == Kind::Quick {
            self.epoch_tasks(epochs, false)?;
            return Ok(self.plan);
        }
        self.compact_manifests()?;
        self.collect_snapshots()?;
        self.rewrite_contents()?;
        if epochs {
            self.drop_deleted_contents()?;
        }
        self.delete_packs()?;
        self.extend_locks()?;
        self.epoch_tasks(epochs, true)?;
        self.delete_logs()?;
        Ok(self.plan)
    }

    /// Only the tasks of the index, settled epochs until none is left to merge.
    pub fn index_only(mut self) -> Result<Plan> {
        let epochs = self.repository.inner.format.config.index_manager() == IndexManager::Epochs;
        if epochs {
            self.compact_single_epochs()?;
        }
        self.plan.steps.pop_if(|step| matches!(step, Step::Skip { .. }));
        self.epoch_tasks(epochs, true)?;
        Ok(self.plan)
    }

    /// Every settled epoch; in a dry run the first, which it would find again.
    fn compact_single_epochs(&mut self) -> Result<()> {
        loop {
            self.compact_single_epoch()?;
            if self.dry_run || matches!(self.plan.steps.last(), Some(Step::Skip { .. })) {
                return Ok(());
            }
        }
    }

    fn epoch_tasks(&mut self, epochs: bool, full: bool) -> Result<()> {
        if !epochs {
            let why = "this repository has no epochs; merging its index is left to kopia";
            self.plan.steps.push(self.skip(Task::IndexCompaction, why));
            return Ok(());
        }
        self.compact_single_epoch()?;
        self.advance_epoch()?;
        if full {
            self.compact_range()?;
            self.clean_up_markers()?;
            self.delete_superseded_indexes()?;
        }
        Ok(())
    }

    /// Runs a task and notes it in the schedule, be it as a failure.
    pub(super) fn task(&mut self, task: Task, work: impl FnOnce(&Self) -> Result<Figures>) -> Result<()> {
        let start = self.now();
        let done = work(self);
        if !self.dry_run {
            let (extra, error) = match &done {
                Ok(figures) => (figures.extra.iter().cloned().collect(), String::new()),
                Err(error) => (Vec::new(), error.to_string()),
            };
            let run = Run {
                start,
                end: self.now(),
                success: error.is_empty(),
                error,
                extra,
            };
            let noted = self.note(task, run);
            if done.is_ok() {
                // What is not noted counts as not done: later steps that build on it wait longer.
                noted?;
            }
        }
        self.plan.steps.push(
            done.map_err(|e| e.while_doing(format_args!("maintenance, {}", task.name())))?
                .step,
        );
        Ok(())
    }

    fn note(&self, task: Task, run: Run) -> Result<()> {
        let mut schedule = self.repository.maintenance_schedule()?;
        schedule.add(task, run);
        self.repository.put_schedule(&schedule)
    }

    pub(super) fn skip(&self, task: Task, why: impl Into<String>) -> Step {
        Step::Skip {
            task,
            why: why.into(),
        }
    }

    pub(super) fn epoch_parameters(&self) -> &EpochParameters {
        &self.repository.inner.format.config.epoch_parameters
    }

    pub(super) fn list_index_blobs(&self) -> Result<(Timestamp, Vec<BlobMetadata>)> {
        Ok((self.now(), self.repository.inner.blobs.list("x")?))
    }

    fn now(&self) -> Timestamp {
        self.repository.inner.environment.clock.now()
    }

    /// Not a task of Kopia's schedule: any of its clients does this on its own.
    fn compact_manifests(&mut self) -> Result<()> {
        let writer = self.repository.write()?;
        let contents = writer.compact_manifests()? as u64;
        if contents == 0 {
            return Ok(());
        }
        if !self.dry_run {
            writer.commit()?;
        }
        self.plan.steps.push(Step::CompactManifests { contents });
        Ok(())
    }

    fn collect_snapshots(&mut self) -> Result<()> {
        let start = self.plan.start.as_second();
        self.task(Task::SnapshotGc, |run| {
            let figures = match run.dry_run {
                true => snapshot_gc::plan(run.repository, start, &run.safety)?,
                false => snapshot_gc::act(run.repository, start, &run.safety)?,
            };
            let data = json!(figures);
            Ok(Figures::some(
                Step::CollectSnapshots(figures),
                "snapshotGCStats",
                data,
            ))
        })
    }

    fn rewrite_contents(&mut self) -> Result<()> {
        let schedule = self.repository.maintenance_schedule()?;
        let task = Task::FullRewriteContents;
        if !due::may_rewrite(&schedule, &self.safety) {
            let why = "packs that the last move emptied are not deleted yet";
            self.plan.steps.push(self.skip(task, why));
            return Ok(());
        }
        let dropped = due::safe_drop_time(&schedule, &self.safety, self.now());
        let (figures, moves) = rewrite::plan(self.repository, dropped, &self.safety)?;
        if moves.is_empty() {
            // Not noted: nothing was moved that packs would have to wait for.
            self.plan
                .steps
                .push(self.skip(task, "there are no two short packs to join"));
            return Ok(());
        }
        if !self.dry_run {
            // Noted first: should we die while moving, packs stay for an hour all the same.
            let start = self.now();
            let error = "not finished".to_owned();
            let unfinished = Run {
                start,
                end: start,
                success: false,
                error,
                extra: Vec::new(),
            };
            self.note(task, unfinished)?;
        }
        self.task(task, |run| {
            let figures = match run.dry_run {
                true => figures,
                false => rewrite::act(run.repository, figures, &moves)?,
            };
            let data = json!(figures);
            Ok(Figures::some(
                Step::RewriteContents(figures),
                "rewriteContentsStats",
                data,
            ))
        })
    }

    fn drop_deleted_contents(&mut self) -> Result<()> {
        let schedule = self.repository.maintenance_schedule()?;
        let task = Task::FullDropDeletedContent;
        let Some(before) = due::safe_drop_time(&schedule, &self.safety, self.now()) else {
            let why = "two collections of snapshots, some hours apart, must have succeeded first";
            self.plan.steps.push(self.skip(task, why));
            return Ok(());
        };
        self.task(task, |run| {
            let (_, blobs) = run.list_index_blobs()?;
            let seconds = before.as_second();
            if seconds <= i64::try_from(Listing::of(&blobs).watermark).unwrap_or(i64::MAX) {
                return Ok(Figures::none(run.skip(task, "they were dropped before")));
            }
            if !run.dry_run {
                let body = Bytes::from_static(b"deletion-watermark");
                run.repository.inner.blobs.put(&format!("xw{seconds}"), body)?;
                run.repository.inner.committed.refresh()?;
            }
            let data = json!({"droppedContentsDeletedBefore": before});
            let step = Step::DropDeletedContents { before };
            Ok(Figures::some(step, "compactIndexesStats", data))
        })
    }

    fn delete_packs(&mut self) -> Result<()> {
        let schedule = self.repository.maintenance_schedule()?;
        let task = Task::FullDeleteBlobs;
        if let Some(from) =
            due::packs_deletable_from(&schedule, &self.safety).filter(|from| self.now() < *from)
        {
            let why = format!(
                "contents were moved lately, readers may look for them in their old packs until {from:.0}"
            );
            self.plan.steps.push(self.skip(task, why));
            return Ok(());
        }
        let start = self.plan.start;
        self.task(task, |run| {
            let figures = match run.dry_run {
                true => pack_gc::decide(&pack_gc::observe(run.repository)?, start, &run.safety).0,
                false => pack_gc::act(run.repository, start, &run.safety)?,
            };
            let data = json!(figures);
            Ok(Figures::some(
                Step::DeletePacks(figures),
                "deleteUnreferencedPacksStats",
                data,
            ))
        })
    }

    fn extend_locks(&mut self) -> Result<()> {
        let retention = self.repository.inner.format.retention.clone();
        let Some(retention) = retention.filter(|_| self.parameters.extend_object_locks) else {
            return Ok(());
        };
        self.task(Task::ExtendBlobRetentionTime, |run| {
            let (mut figures, names) = object_locks::plan(run.repository, &retention)?;
            if !run.dry_run {
                figures = object_locks::act(run.repository, figures, &names, run.now())?;
            }
            let data = json!(figures);
            Ok(Figures::some(
                Step::ExtendLocks(figures),
                "extendBlobRetentionStats",
                data,
            ))
        })
    }

    fn delete_logs(&mut self) -> Result<()> {
        self.task(Task::CleanupLogs, |run| {
            let logs = run.repository.inner.blobs.list("_")?;
            let (mut figures, delete) = logs::decide(logs, run.parameters.log_retention, run.now());
            if !run.dry_run {
                run.repository.inner.blobs.delete_all(&delete)?;
                figures.deleted_blob_count = figures.to_delete_blob_count;
                figures.deleted_blob_size = figures.to_delete_blob_size;
            }
            let data = json!(figures);
            Ok(Figures::some(Step::DeleteLogs(figures), "cleanupLogsStats", data))
        })
    }
}
