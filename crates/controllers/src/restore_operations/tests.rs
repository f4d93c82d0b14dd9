//! Table tests of [`super::decide`].

use std::time::Duration;

use caravel_api::phase::RestorePhase;
use caravel_backup_store::item_operations::{OperationPhase, RestoreOperation};
use caravel_item_action::OperationProgress;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decide::{Decision, Observed, Step, decide};

const NOW: &str = "2026-11-21T04:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn operation(id: &str, minutes_ago: i64) -> RestoreOperation {
    let mut operation = RestoreOperation::default();
    operation.spec.operation_id = id.to_owned();
    operation.status.phase = OperationPhase::InProgress;
    operation.status.created = Some(Time(now() - jiff::SignedDuration::from_mins(minutes_ago)));
    operation
}

fn going() -> OperationProgress {
    OperationProgress {
        n_completed: 5,
        n_total: 10,
        description: "InProgress".into(),
        ..Default::default()
    }
}

fn done(error: &str) -> OperationProgress {
    OperationProgress {
        completed: true,
        error: error.into(),
        ..going()
    }
}

/// Two operations, an hour's timeout.
fn observed(phase: RestorePhase, a: Option<OperationProgress>, b: Option<OperationProgress>) -> Observed {
    let progress = [("a", a), ("b", b)]
        .into_iter()
        .filter_map(|(id, progress)| Some((id.to_owned(), progress?)));
    Observed {
        phase,
        operations: vec![operation("a", 10), operation("b", 20)],
        progress: progress.collect(),
        timeout: Duration::from_secs(3600),
    }
}

fn step(observed: &Observed) -> Step {
    match decide(observed, now()) {
        Decision::Go(step) => *step,
        Decision::Nothing => panic!("a waiting restore is followed"),
    }
}

#[test]
fn a_restore_goes_on_only_when_all_its_downloads_have_ended() {
    use RestorePhase::{
        Finalizing, FinalizingPartiallyFailed, WaitingForPluginOperations as Waiting,
        WaitingForPluginOperationsPartiallyFailed as WaitingFailed,
    };
    for (phase, a, b, next) in [
        (Waiting, going(), going(), Waiting),
        (Waiting, done(""), going(), Waiting),
        (Waiting, done("disk full"), going(), WaitingFailed),
        (Waiting, done(""), done(""), Finalizing),
        (Waiting, done("disk full"), done(""), FinalizingPartiallyFailed),
        (WaitingFailed, done(""), done(""), FinalizingPartiallyFailed),
        (WaitingFailed, going(), done(""), WaitingFailed),
    ] {
        let step = step(&observed(phase.clone(), Some(a.clone()), Some(b.clone())));
        assert_eq!(step.phase, next, "{phase} {a:?} {b:?}");
    }
}

#[test]
fn other_phases_are_left_alone() {
    for phase in [
        RestorePhase::New,
        RestorePhase::InProgress,
        RestorePhase::Finalizing,
        RestorePhase::Completed,
    ] {
        assert_eq!(decide(&observed(phase, None, None), now()), Decision::Nothing);
    }
}

#[test]
fn a_download_that_takes_too_long_is_canceled_and_fails() {
    let mut observed = observed(
        RestorePhase::WaitingForPluginOperations,
        Some(going()),
        Some(going()),
    );
    observed.timeout = Duration::from_secs(15 * 60);
    let step = step(&observed);
    assert_eq!(step.cancel, ["b"]);
    assert_eq!(step.failed, 1);
    assert!(
        step.operations[1].status.error.contains("timed out"),
        "{:?}",
        step.operations[1]
    );
    assert_eq!(
        step.next_deadline,
        Some(Duration::from_secs(5 * 60)),
        "until the other's time is over"
    );
}

#[test]
fn a_download_that_somebody_deleted_fails_and_does_not_hang() {
    let step = step(&observed(
        RestorePhase::WaitingForPluginOperations,
        None,
        Some(done("")),
    ));
    assert_eq!((step.completed, step.failed), (1, 1));
    assert_eq!(step.phase, RestorePhase::FinalizingPartiallyFailed);
    assert_eq!(step.next_deadline, None);
}

#[test]
fn progress_alone_writes_nothing() {
    let before = observed(
        RestorePhase::WaitingForPluginOperations,
        Some(going()),
        Some(going()),
    );
    assert!(!step(&before).changed);
    let one_ended = observed(
        RestorePhase::WaitingForPluginOperations,
        Some(done("")),
        Some(going()),
    );
    assert!(step(&one_ended).changed);
}

#[test]
fn a_restore_without_operations_goes_straight_on() {
    let observed = Observed {
        phase: RestorePhase::WaitingForPluginOperations,
        ..Default::default()
    };
    assert_eq!(step(&observed).phase, RestorePhase::Finalizing);
}
