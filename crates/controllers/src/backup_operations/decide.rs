//! How the operations of a backup stand, and what that means for its phase (velero-behaviour.md 3.7). Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use caravel_api::v1::BackupPhase;
use caravel_backup_store::item_operations::{BackupOperation, OperationPhase};
use caravel_item_action::OperationProgress;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What is known of a backup that waits for its operations.
#[derive(Clone, Debug)]
pub struct Observed {
    pub phase: BackupPhase,
    /// As last saved.
    pub operations: Vec<BackupOperation>,
    /// What each operation's action says now, by operation id. An operation that is missing here is lost.
    pub progress: BTreeMap<String, OperationProgress>,
    /// `spec.itemOperationTimeout`.
    pub timeout: Duration,
    /// Why the location cannot be written to any more, if so.
    pub location_error: Option<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing ended. Save the progress when it is old, look again at `next_deadline` or when a DataUpload changes.
    Wait {
        operations: Vec<BackupOperation>,
        next_deadline: Duration,
    },
    /// Something ended: save, write counters and phase; go on waiting for the others.
    Update {
        operations: Vec<BackupOperation>,
        cancel: Vec<String>,
        phase: BackupPhase,
        next_deadline: Duration,
    },
    /// Everything ended: save, write counters and `Finalizing…`.
    Finalize {
        operations: Vec<BackupOperation>,
        cancel: Vec<String>,
        phase: BackupPhase,
    },
    /// The results can never be saved: the backup ends here.
    GiveUp { reason: String },
}

/// Velero's words, which scripts look for.
const TIMED_OUT: &str = "Asynchronous action timed out";

/// Decides for one backup in `WaitingForPluginOperations[PartiallyFailed]`.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    if let Some(reason) = &observed.location_error {
        return Decision::GiveUp {
            reason: reason.clone(),
        };
    }
    let mut operations = observed.operations.clone();
    let mut cancel = Vec::new();
    let mut ended = false;
    for operation in operations
        .iter_mut()
        .filter(|operation| !operation.status.phase.is_terminal())
    {
        step(operation, observed, now, &mut cancel);
        ended |= operation.status.phase.is_terminal();
    }
    let failed = operations
        .iter()
        .any(|operation| operation.status.phase == OperationPhase::Failed);
    let was_partial = observed.phase == BackupPhase::WaitingForPluginOperationsPartiallyFailed;
    let partial = failed || was_partial;
    if operations
        .iter()
        .all(|operation| operation.status.phase.is_terminal())
    {
        let phase = if partial {
            BackupPhase::FinalizingPartiallyFailed
        } else {
            BackupPhase::Finalizing
        };
        return Decision::Finalize {
            operations,
            cancel,
            phase,
        };
    }
    let next_deadline = next_deadline(&operations, observed.timeout, now);
    if ended {
        let phase = if partial {
            BackupPhase::WaitingForPluginOperationsPartiallyFailed
        } else {
            BackupPhase::WaitingForPluginOperations
        };
        return Decision::Update {
            operations,
            cancel,
            phase,
            next_deadline,
        };
    }
    Decision::Wait {
        operations,
        next_deadline,
    }
}

fn step(operation: &mut BackupOperation, observed: &Observed, now: Timestamp, cancel: &mut Vec<String>) {
    let id = operation.spec.operation_id.clone();
    let status = &mut operation.status;
    let Some(progress) = observed.progress.get(&id) else {
        status.phase = OperationPhase::Failed;
        status.error =
            format!("what operation {id} waited for does not exist any more; it was deleted before it ended");
        status.updated = Some(Time(now));
        return;
    };
    status.n_completed = progress.n_completed;
    status.n_total = progress.n_total;
    status.operation_units.clone_from(&progress.operation_units);
    status.description.clone_from(&progress.description);
    status.started = progress.started.map(Time).or_else(|| status.started.clone());
    status.updated = progress.updated.map(Time).or_else(|| status.updated.clone());
    if progress.completed {
        status.error.clone_from(&progress.error);
        status.phase = if progress.error.is_empty() {
            OperationPhase::Completed
        } else {
            OperationPhase::Failed
        };
    } else if deadline(status.created.as_ref(), observed.timeout).is_some_and(|deadline| now >= deadline) {
        status.phase = OperationPhase::Failed;
        status.error = TIMED_OUT.to_owned();
        cancel.push(id);
    } else if progress.started.is_some() {
        status.phase = OperationPhase::InProgress;
    }
}

fn deadline(created: Option<&Time>, timeout: Duration) -> Option<Timestamp> {
    created?.0.checked_add(timeout).ok()
}

fn next_deadline(operations: &[BackupOperation], timeout: Duration, now: Timestamp) -> Duration {
    let running = operations
        .iter()
        .filter(|operation| !operation.status.phase.is_terminal());
    let deadlines = running.filter_map(|operation| deadline(operation.status.created.as_ref(), timeout));
    let earliest = deadlines.min().map(|deadline| deadline.duration_since(now));
    earliest
        .and_then(|wait| Duration::try_from(wait).ok())
        .unwrap_or(timeout)
}

/// Counters of the Backup's status: (attempted, completed, failed).
pub fn counters(operations: &[BackupOperation]) -> (usize, usize, usize) {
    let count = |phase: OperationPhase| {
        operations
            .iter()
            .filter(|operation| operation.status.phase == phase)
            .count()
    };
    (
        operations.len(),
        count(OperationPhase::Completed),
        count(OperationPhase::Failed),
    )
}

/// `status.errors` of a backup or restore of whose operations `failed` have failed by now. `counted`: how many of those it
/// has in it already, which is what the status says beside it, so that one write has both. Source: Velero v1.18.3
/// `pkg/controller/backup_operations_controller.go`, `ErrsSinceUpdate`.
pub fn errors_after(errors: i32, counted: i32, failed: usize) -> i32 {
    let failed = i32::try_from(failed).unwrap_or(i32::MAX);
    errors.saturating_add(failed.saturating_sub(counted.max(0)).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> Timestamp {
        "2026-11-21T04:00:00Z".parse().unwrap()
    }

    fn operation(id: &str) -> BackupOperation {
        let mut operation = BackupOperation::default();
        operation.spec.operation_id = id.to_owned();
        operation.status.phase = OperationPhase::New;
        operation.status.created = Some(Time(now()));
        operation
    }

    fn running(done: i64) -> OperationProgress {
        OperationProgress {
            n_completed: done,
            started: Some(now()),
            ..OperationProgress::default()
        }
    }

    fn ended(error: &str) -> OperationProgress {
        OperationProgress {
            completed: true,
            error: error.to_owned(),
            ..OperationProgress::default()
        }
    }

    fn observed(progress: &[(&str, OperationProgress)]) -> Observed {
        Observed {
            phase: BackupPhase::WaitingForPluginOperations,
            operations: vec![operation("a"), operation("b")],
            progress: progress
                .iter()
                .map(|(id, progress)| ((*id).to_owned(), progress.clone()))
                .collect(),
            timeout: HOUR,
            location_error: None,
        }
    }

    fn phases(operations: &[BackupOperation]) -> Vec<&str> {
        operations
            .iter()
            .map(|operation| operation.status.phase.as_str())
            .collect()
    }

    #[test]
    fn running_operations_are_waited_for_until_their_deadline() {
        let observed = observed(&[("a", running(5)), ("b", OperationProgress::default())]);
        let Decision::Wait {
            operations,
            next_deadline,
        } = decide(&observed, now())
        else {
            panic!("expected Wait")
        };
        assert_eq!(phases(&operations), ["InProgress", "New"]);
        assert_eq!((operations[0].status.n_completed, next_deadline), (5, HOUR));
    }

    #[test]
    fn the_last_operation_to_complete_finalizes_the_backup() {
        let observed = observed(&[("a", ended("")), ("b", ended(""))]);
        let Decision::Finalize {
            operations, phase, ..
        } = decide(&observed, now())
        else {
            panic!("expected Finalize")
        };
        assert_eq!(
            (phase, counters(&operations)),
            (BackupPhase::Finalizing, (2, 2, 0))
        );
    }

    #[test]
    fn the_first_failure_makes_the_backup_partially_failed_while_it_waits() {
        let observed = observed(&[("a", ended("disk gone")), ("b", running(1))]);
        let Decision::Update {
            operations, phase, ..
        } = decide(&observed, now())
        else {
            panic!("expected Update")
        };
        assert_eq!(phase, BackupPhase::WaitingForPluginOperationsPartiallyFailed);
        assert_eq!(operations[0].status.error, "disk gone");
    }

    #[test]
    fn each_failed_operation_is_one_error_however_often_it_is_looked_at() {
        assert_eq!(errors_after(2, 0, 1), 3, "beside those of the run");
        assert_eq!(errors_after(3, 1, 1), 3, "counted already");
        assert_eq!(errors_after(3, 1, 3), 5);
        assert_eq!(errors_after(0, 0, 0), 0);
    }

    #[test]
    fn a_partially_failed_backup_stays_so() {
        let mut observed = observed(&[("a", ended("")), ("b", ended(""))]);
        observed.phase = BackupPhase::WaitingForPluginOperationsPartiallyFailed;
        assert!(matches!(
            decide(&observed, now()),
            Decision::Finalize {
                phase: BackupPhase::FinalizingPartiallyFailed,
                ..
            }
        ));
    }

    #[test]
    fn an_operation_past_its_timeout_fails_and_is_canceled() {
        let observed = observed(&[("a", running(1)), ("b", ended(""))]);
        let late = now().checked_add(HOUR).unwrap();
        let Decision::Finalize {
            operations,
            cancel,
            phase,
        } = decide(&observed, late)
        else {
            panic!("expected Finalize")
        };
        assert_eq!(operations[0].status.error, TIMED_OUT);
        assert_eq!(
            (cancel, phase),
            (vec!["a".to_owned()], BackupPhase::FinalizingPartiallyFailed)
        );
    }

    #[test]
    fn a_deleted_data_upload_fails_its_operation() {
        let observed = observed(&[("b", ended(""))]);
        let Decision::Finalize { operations, .. } = decide(&observed, now()) else {
            panic!("expected Finalize")
        };
        assert!(operations[0].status.error.contains("deleted"));
    }

    #[test]
    fn without_a_writable_location_the_backup_is_given_up() {
        let mut observed = observed(&[]);
        observed.location_error = Some("location default does not exist".into());
        assert!(matches!(decide(&observed, now()), Decision::GiveUp { .. }));
    }
}
