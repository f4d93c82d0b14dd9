//! How the operations of a Restore stand, and whether the Restore can go on: velero-behaviour.md 8.8. Pure.
//!
//! ```text
//! WaitingForPluginOperations ──(one failed)──► WaitingForPluginOperationsPartiallyFailed
//!             └──(all ended)──► Finalizing          └──(all ended)──► FinalizingPartiallyFailed
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use caravel_api::phase::RestorePhase;
use caravel_backup_store::item_operations::{OperationPhase, RestoreOperation};
use caravel_item_action::OperationProgress;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Everything that the decision looks at.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// `status.phase`.
    pub phase: RestorePhase,
    /// The operations as last written.
    pub operations: Vec<RestoreOperation>,
    /// How far each is now; an operation whose DataDownload is gone is missing here.
    pub progress: BTreeMap<String, OperationProgress>,
    /// `spec.itemOperationTimeout`.
    pub timeout: Duration,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Another controller's turn.
    Nothing,
    /// Operations go on, or all have ended.
    Go(Box<Step>),
}

/// A look at all operations.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// As they stand now.
    pub operations: Vec<RestoreOperation>,
    /// Operations to cancel: their time is over.
    pub cancel: Vec<String>,
    /// The phase that follows.
    pub phase: RestorePhase,
    /// Ended well.
    pub completed: usize,
    /// Ended badly.
    pub failed: usize,
    /// True when an operation has ended since the last look: then file and status are written.
    pub changed: bool,
    /// Until the next operation's time is over; `None` when all have ended.
    pub next_deadline: Option<Duration>,
}

/// Decides.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let partially_failed = match observed.phase {
        RestorePhase::WaitingForPluginOperations => false,
        RestorePhase::WaitingForPluginOperationsPartiallyFailed => true,
        _ => return Decision::Nothing,
    };
    let ended_before = ended(&observed.operations);
    let mut operations = observed.operations.clone();
    let mut cancel = Vec::new();
    let mut next_deadline: Option<Duration> = None;
    for operation in operations
        .iter_mut()
        .filter(|operation| !operation.status.phase.is_terminal())
    {
        let id = operation.spec.operation_id.clone();
        look_at(operation, observed.progress.get(&id));
        if operation.status.phase.is_terminal() {
            continue;
        }
        let left = time_left(operation, observed.timeout, now);
        if left.is_zero() {
            fail(
                operation,
                format!(
                    "operation {id} timed out after {:?} (spec.itemOperationTimeout)",
                    observed.timeout
                ),
            );
            cancel.push(id);
        } else {
            next_deadline = Some(next_deadline.map_or(left, |earliest| earliest.min(left)));
        }
    }
    let failed = count(&operations, &OperationPhase::Failed);
    let completed = count(&operations, &OperationPhase::Completed);
    let phase = match (next_deadline.is_none(), partially_failed || failed > 0) {
        (true, false) => RestorePhase::Finalizing,
        (true, true) => RestorePhase::FinalizingPartiallyFailed,
        (false, false) => RestorePhase::WaitingForPluginOperations,
        (false, true) => RestorePhase::WaitingForPluginOperationsPartiallyFailed,
    };
    let changed = ended(&operations) != ended_before || phase != observed.phase;
    Decision::Go(Box::new(Step {
        operations,
        cancel,
        phase,
        completed,
        failed,
        changed,
        next_deadline,
    }))
}

fn look_at(operation: &mut RestoreOperation, progress: Option<&OperationProgress>) {
    let Some(progress) = progress else {
        return fail(
            operation,
            "its DataDownload does not exist any more; the volume is not restored".to_owned(),
        );
    };
    let status = &mut operation.status;
    status.n_completed = progress.n_completed;
    status.n_total = progress.n_total;
    status.operation_units.clone_from(&progress.operation_units);
    status.description.clone_from(&progress.description);
    status.started = progress.started.map(Time);
    status.updated = progress.updated.map(Time);
    status.error.clone_from(&progress.error);
    status.phase = match (progress.completed, progress.error.is_empty()) {
        (false, _) => OperationPhase::InProgress,
        (true, true) => OperationPhase::Completed,
        (true, false) => OperationPhase::Failed,
    };
}

fn fail(operation: &mut RestoreOperation, error: String) {
    operation.status.phase = OperationPhase::Failed;
    operation.status.error = error;
}

/// Zero when the time is over. Without a time of creation it counts from now on.
fn time_left(operation: &RestoreOperation, timeout: Duration, now: Timestamp) -> Duration {
    let Some(created) = &operation.status.created else {
        return timeout;
    };
    let passed = Duration::try_from(now.duration_since(created.0)).unwrap_or_default();
    timeout.saturating_sub(passed)
}

fn count(operations: &[RestoreOperation], phase: &OperationPhase) -> usize {
    operations
        .iter()
        .filter(|operation| operation.status.phase == *phase)
        .count()
}

fn ended(operations: &[RestoreOperation]) -> usize {
    operations
        .iter()
        .filter(|operation| operation.status.phase.is_terminal())
        .count()
}
