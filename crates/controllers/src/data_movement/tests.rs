//! The specification of `decide.rs`, case by case.

use std::time::Duration;

use caravel_api::v2alpha1::DataMovementPhase as Phase;
use caravel_exposer::{Next, Step};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::decide::{Decision, Direction, Elsewhere, End, Mover, Observed, Policy, Repository, Slot, decide};
use super::state::{Ending, Facts, State};
use super::transition::{Moved, Transition};
use super::{FINALIZER, Place, announce, once_configured};

const ME: &str = "node-a";
const OTHER: &str = "node-b";

fn at(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
}

fn policy() -> Policy {
    Policy::for_node(ME, "linux", Duration::from_secs(30 * 60))
}

/// A movement in some phase, at minute 0, observed without trouble.
pub(super) struct Case(Observed);

impl Case {
    fn upload(phase: Phase) -> Self {
        Self::of(Direction::Upload, phase)
    }

    fn download(phase: Phase) -> Self {
        Self::of(Direction::Download, phase)
    }

    fn of(direction: Direction, phase: Phase) -> Self {
        let begun = !matches!(phase, Phase::New | Phase::Accepted);
        let running = !matches!(phase, Phase::New | Phase::Accepted | Phase::Prepared);
        let facts = Facts {
            namespace: "velero".into(),
            name: "b-1".into(),
            uid: "u-1".into(),
            resource_version: "7".into(),
            finalizers: if phase == Phase::New {
                vec![]
            } else {
                vec![FINALIZER.into()]
            },
            operation_timeout: Duration::from_secs(600),
            accepted_by: if phase == Phase::New {
                String::new()
            } else {
                ME.into()
            },
            accepted_at: (phase != Phase::New).then(|| at(0)),
            node: if begun { ME.into() } else { String::new() },
            started_at: running.then(|| at(0)),
            completed_at: phase.is_finished().then(|| at(0)),
            phase,
            ..Facts::default()
        };
        Self(Observed {
            direction,
            state: State::parse(&facts),
            facts,
            cancel_seen: None,
            not_admitted: None,
            place: Place::Given,
            mover: if running {
                Mover::Running { node: ME.into() }
            } else {
                Mover::Absent
            },
            elsewhere: None,
            repository: Repository::Ready,
            slot: Slot::Free,
            next: Next::Done,
            rebind_since: None,
            last_error: None,
        })
    }

    fn owned_by(mut self, node: &str) -> Self {
        for owner in [&mut self.0.facts.accepted_by, &mut self.0.facts.node] {
            if !owner.is_empty() {
                *owner = node.into();
            }
        }
        self.0.state = State::parse(&self.0.facts);
        self
    }

    fn mover(mut self, mover: Mover) -> Self {
        self.0.mover = mover;
        self
    }

    /// Nothing has been heard since this minute; what the data mover is now.
    fn quiet_since(mut self, minutes: i64, mover: Option<Mover>) -> Self {
        self.0.elsewhere = Some(Elsewhere {
            quiet_since: at(minutes),
            mover,
        });
        self
    }

    fn next(mut self, next: Next) -> Self {
        self.0.next = next;
        self
    }

    fn repository(mut self, repository: Repository) -> Self {
        self.0.repository = repository;
        self
    }

    fn canceled_at(mut self, minutes: i64) -> Self {
        self.0.facts.cancel = true;
        self.0.cancel_seen = Some(at(minutes));
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Observed)) -> Self {
        change(&mut self.0);
        self
    }

    fn decided(&self, minutes: i64) -> Decision {
        decide(&self.0, &policy(), at(minutes))
    }

    #[track_caller]
    fn ends(&self, minutes: i64, expected: Ending) -> String {
        match self.decided(minutes) {
            Decision::Write(Transition::Finish { ending, message, .. }) => {
                assert_eq!(ending, expected, "{message}");
                message
            }
            other => panic!("expected an end, got {other:?}"),
        }
    }
}

fn pending(reason: &str) -> Mover {
    Mover::Pending {
        reason: reason.into(),
    }
}

fn waits(what: &str) -> Next {
    Next::Wait {
        what: what.into(),
        within: None,
    }
}

fn completed_mover() -> Mover {
    Mover::Ended(End::Completed {
        moved: Moved {
            total_bytes: 5,
            ..Moved::default()
        },
        message: String::new(),
    })
}

#[test]
fn new_upload_is_accepted_with_the_version_that_was_read() {
    let case = Case::upload(Phase::New);
    let Decision::Write(transition) = case.decided(1) else {
        panic!()
    };
    assert_eq!(
        transition,
        Transition::Accept {
            node: ME.into(),
            at: at(1)
        }
    );
    let patch = transition.patch(&case.0.facts);
    assert_eq!(
        patch,
        json!({
            "metadata": {"resourceVersion": "7", "finalizers": [FINALIZER], "labels": {"velero.io/expose-on-going": "true"}},
            "status": {"phase": "Accepted", "acceptedByNode": ME, "acceptedTimestamp": "1970-01-01T00:01:00Z"},
        })
    );
}

#[test]
fn new_download_whose_target_is_missing_waits() {
    let case = Case::download(Phase::New)
        .with(|seen| seen.not_admitted = Some("target PVC shop/data to exist".into()));
    assert_eq!(
        case.decided(0),
        Decision::Wait {
            what: "target PVC shop/data to exist".into(),
            until: None
        }
    );
}

#[test]
fn new_movement_without_a_place_in_the_queue_waits_for_one_that_starts() {
    let case = Case::upload(Phase::New).with(|seen| seen.place = Place::Full { length: 10 });
    let Decision::Wait { what, until } = case.decided(1) else {
        panic!()
    };
    assert!(what.contains("10 movements in preparation"), "{what}");
    assert!(until.is_some());
    assert!(matches!(
        case.canceled_at(1).decided(1),
        Decision::Write(Transition::Finish { .. })
    ));
}

#[test]
fn a_place_is_reserved_before_the_movement_is_accepted_and_given_back_when_others_go_first() {
    let new = |place: Place| Case::upload(Phase::New).with(|seen| seen.place = place);
    let reserve = Transition::Reserve { node: ME.into() };
    let open = new(Place::Open);
    assert_eq!(open.decided(1), Decision::Write(reserve.clone()));
    assert_eq!(
        reserve.patch(&open.0.facts),
        json!({
            "metadata": {"resourceVersion": "7", "labels": {"velero.io/expose-on-going": "reserved"}},
            "status": {"acceptedByNode": ME},
        }),
        "the phase stays what it is"
    );
    let lost = new(Place::Lost);
    assert_eq!(lost.decided(1), Decision::Write(Transition::GiveBack));
    assert_eq!(
        Transition::GiveBack.patch(&lost.0.facts),
        json!({
            "metadata": {"resourceVersion": "7", "labels": {"velero.io/expose-on-going": null}},
            "status": {"acceptedByNode": null},
        })
    );
    let contended = new(Place::Contended { length: 2 }).decided(1);
    assert!(matches!(contended, Decision::Wait { until: Some(_), .. }));
}

#[test]
fn a_place_that_a_silent_node_has_reserved_is_taken_over() {
    let reserved = |since| {
        Case::upload(Phase::New).with(|seen| {
            seen.place = Place::Reserved {
                by: OTHER.into(),
                since: at(since),
            };
        })
    };
    assert!(
        matches!(reserved(1).decided(1), Decision::Wait { what, .. } if what.contains(OTHER)),
        "it needs milliseconds"
    );
    let take_over = Transition::Reserve { node: ME.into() };
    assert_eq!(reserved(0).decided(1), Decision::Write(take_over));
    let missing = |case: Case| case.with(|seen| seen.not_admitted = Some("target PVC".into()));
    assert_eq!(
        missing(reserved(0)).decided(1),
        Decision::Write(Transition::GiveBack),
        "nobody can accept it now"
    );
    let mine = Case::download(Phase::New).with(|seen| seen.place = Place::Lost);
    assert_eq!(missing(mine).decided(1), Decision::Write(Transition::GiveBack));
}

#[test]
fn what_is_waited_for_is_told_by_the_agent_that_acts_and_taken_back_when_the_phase_changes() {
    let told = |case: &Case| {
        let decision = case.decided(1);
        announce::told(&case.0, &decision, &policy()).map(|(what, _)| what.to_owned())
    };
    let case = Case::upload(Phase::Accepted).next(waits("PVC b-1 to be bound"));
    assert_eq!(told(&case).as_deref(), Some("PVC b-1 to be bound"));
    assert_eq!(told(&case.owned_by(OTHER)), None);
    let pod = Case::upload(Phase::Accepted).mover(pending("Unschedulable: no node"));
    assert_eq!(
        told(&pod).as_deref(),
        Some("the data mover pod to run (Unschedulable: no node)")
    );
    let runs = Case::upload(Phase::InProgress);
    assert_eq!(told(&runs), None, "its progress speaks");

    let waiting = Case::upload(Phase::Accepted)
        .with(|seen| seen.facts.message = announce::message("PVC b-1 to be bound", at(0)));
    let prepare = Transition::Prepare { node: ME.into() };
    assert_eq!(prepare.patch(&waiting.0.facts)["status"]["message"], json!(null));
    let said = Transition::Finish {
        ending: Ending::Failed,
        at: at(1),
        message: "no space".into(),
        result: None,
    };
    assert_eq!(said.patch(&waiting.0.facts)["status"]["message"], "no space");
    let other = Case::upload(Phase::Accepted).with(|seen| seen.facts.message = "by somebody".into());
    assert!(prepare.patch(&other.0.facts)["status"].get("message").is_none());
}

#[test]
fn movement_of_a_node_whose_pod_state_nobody_knows_is_failed_by_another() {
    let unknown = || Mover::Broken {
        why: "its state is Unknown: NodeLost".into(),
    };
    let case = || {
        Case::upload(Phase::InProgress)
            .owned_by(OTHER)
            .quiet_since(0, Some(unknown()))
    };
    let message = case().ends(1, Ending::Failed);
    assert!(
        message.contains("NodeLost") && message.contains(OTHER),
        "{message}"
    );
    case().canceled_at(1).ends(1, Ending::Canceled);
}

#[test]
fn somebody_elses_data_mover_is_left_alone() {
    let case = Case::upload(Phase::New).with(|seen| seen.facts.datamover = "acme".into());
    assert!(matches!(case.decided(0), Decision::Leave { .. }));
}

#[test]
fn a_phase_of_a_newer_version_is_left_alone_even_when_canceled() {
    let case = Case::upload(Phase::Other("Hibernating".into())).canceled_at(0);
    assert!(matches!(case.decided(100), Decision::Leave { .. }));
}

#[test]
fn accepted_upload_is_exposed_step_by_step_until_its_deadline() {
    let case = Case::upload(Phase::Accepted).next(Next::Do(Step::CreateBackupPvc));
    assert_eq!(case.decided(1), Decision::Take(Step::CreateBackupPvc));
    let case = Case::upload(Phase::Accepted).next(waits("PVC b-1 to be bound"));
    assert_eq!(
        case.decided(1),
        Decision::Wait {
            what: "PVC b-1 to be bound".into(),
            until: Some(at(30))
        }
    );
}

#[test]
fn the_repository_is_asked_for_before_the_exposing_begins() {
    let case = Case::upload(Phase::Accepted)
        .repository(Repository::Absent)
        .next(Next::Do(Step::CreateBackupPvc));
    assert_eq!(case.decided(0), Decision::EnsureRepository);
    // and is prepared by the server meanwhile
    let case = case.repository(Repository::Preparing);
    assert_eq!(case.decided(0), Decision::Take(Step::CreateBackupPvc));
}

#[test]
fn accepted_upload_whose_pod_never_starts_fails_after_prepare_timeout_with_the_schedulers_reason() {
    let case = Case::upload(Phase::Accepted).mover(pending("Unschedulable: 0/1 nodes are available"));
    assert!(matches!(case.decided(29), Decision::Wait { .. }));
    let message = case.ends(30, Ending::Failed);
    assert!(
        message.starts_with("timeout on preparing data upload after 30m0s: "),
        "{message}"
    );
    assert!(message.contains("0/1 nodes are available"), "{message}");
}

#[test]
fn accepted_download_whose_pod_waits_for_a_claim_names_it() {
    let case = Case::download(Phase::Accepted)
        .mover(pending("Unschedulable: no node"))
        .next(waits("PVC r-1-cache to be bound (ProvisioningFailed: no space)"));
    let Decision::Wait { what, .. } = case.decided(29) else {
        panic!("{:?}", case.decided(29))
    };
    assert_eq!(what, "PVC r-1-cache to be bound (ProvisioningFailed: no space)");
    let message = case.ends(30, Ending::Failed);
    assert!(message.contains("Unschedulable: no node"), "{message}");
    assert!(
        message.contains("PVC r-1-cache to be bound (ProvisioningFailed: no space)"),
        "{message}"
    );
}

#[test]
fn accepted_upload_that_cannot_be_exposed_gives_its_last_error_at_the_deadline() {
    let case = Case::upload(Phase::Accepted)
        .with(|seen| seen.last_error = Some("cannot create Pod b-1: forbidden".into()));
    assert!(case.ends(30, Ending::Failed).contains("forbidden"));
}

#[test]
fn source_snapshot_that_is_not_ready_in_its_own_time_fails_the_upload() {
    let next = Next::Wait {
        what: "VolumeSnapshot shop/s to be ready (quota)".into(),
        within: Some(Duration::from_secs(600)),
    };
    let case = Case::upload(Phase::Accepted).next(next);
    assert!(matches!(case.decided(9), Decision::Wait { until: Some(until), .. } if until == at(10)));
    assert!(case.ends(10, Ending::Failed).contains("quota"));
}

#[test]
fn pod_that_can_never_run_fails_the_movement_at_once() {
    let case = Case::upload(Phase::Accepted).mover(Mover::Broken {
        why: "ErrImageNeverPull: not present".into(),
    });
    assert!(case.ends(1, Ending::Failed).contains("ErrImageNeverPull"));
}

#[test]
fn mover_that_refuses_its_volume_fails_the_movement_with_its_words() {
    let refused = Mover::Ended(End::Failed {
        message: "/u-1 is not a mount point".into(),
    });
    let case = Case::upload(Phase::Prepared).mover(refused);
    assert!(case.ends(1, Ending::Failed).contains("is not a mount point"));
}

#[test]
fn movement_accepted_by_another_node_is_prepared_by_the_node_that_its_pod_runs_on() {
    let case = Case::upload(Phase::Accepted)
        .owned_by(OTHER)
        .mover(Mover::Running { node: ME.into() });
    assert_eq!(
        case.decided(1),
        Decision::Write(Transition::Prepare { node: ME.into() })
    );
    let case = Case::upload(Phase::Accepted).mover(Mover::Running { node: OTHER.into() });
    assert!(matches!(case.decided(1), Decision::Wait { .. }));
}

#[test]
fn movement_of_a_silent_node_is_failed_by_another_a_minute_later() {
    let case = Case::upload(Phase::Accepted).owned_by(OTHER);
    assert!(matches!(case.decided(30), Decision::Wait { .. }));
    case.ends(31, Ending::Failed);
}

#[test]
fn prepared_movement_starts_only_with_a_ready_repository_and_a_free_slot() {
    let case = Case::upload(Phase::Prepared).mover(Mover::Running { node: ME.into() });
    assert_eq!(
        case.decided(1),
        Decision::Write(Transition::Start {
            at: at(1),
            node_os: "linux".into()
        })
    );
    let case = case.repository(Repository::Preparing);
    assert!(matches!(case.decided(1), Decision::Wait { .. }));
    let case = case
        .repository(Repository::Ready)
        .with(|seen| seen.slot = Slot::Full);
    assert!(matches!(case.decided(100), Decision::Wait { until: None, .. }));
}

#[test]
fn repository_that_is_not_ready_fails_the_movement_with_its_message() {
    for phase in [Phase::Accepted, Phase::Prepared] {
        let case = Case::upload(phase)
            .mover(Mover::Running { node: OTHER.into() })
            .repository(Repository::NotReady {
                message: "wrong password".into(),
            });
        assert_eq!(case.ends(1, Ending::Failed), "wrong password");
    }
}

#[test]
fn server_that_never_prepares_the_repository_fails_the_movement_at_the_deadline() {
    let case = Case::upload(Phase::Prepared)
        .mover(Mover::Running { node: ME.into() })
        .repository(Repository::Preparing);
    assert!(case.ends(30, Ending::Failed).contains("deployment/velero"));
}

#[test]
fn running_upload_completes_with_its_movers_result() {
    let moved = Moved {
        snapshot_id: Some("812e".into()),
        path: Some("/u-1".into()),
        total_bytes: 13,
        incremental_bytes: Some(5),
    };
    let word = End::Completed {
        moved,
        message: "left out: a/pipe (fifo)".into(),
    };
    let case = Case::upload(Phase::InProgress).mover(Mover::Ended(word));
    let Decision::Write(transition) = case.decided(2) else {
        panic!()
    };
    assert_eq!(
        transition.patch(&case.0.facts)["status"],
        json!({
            "phase": "Completed", "completionTimestamp": "1970-01-01T00:02:00Z", "message": "left out: a/pipe (fifo)",
            "snapshotID": "812e", "path": "/u-1", "incrementalBytes": 5, "progress": {"totalBytes": 13, "bytesDone": 13},
        })
    );
}

#[test]
fn running_upload_whose_pod_is_gone_fails() {
    let case = Case::upload(Phase::InProgress).mover(Mover::Absent);
    assert!(case.ends(1, Ending::Failed).contains("velero/b-1 is gone"));
}

#[test]
fn download_completes_only_after_its_volume_is_handed_over() {
    let case = Case::download(Phase::InProgress).mover(completed_mover());
    assert_eq!(case.0.rebind_since, None);
    let rebinding = case.next(Next::Do(Step::RecordVolume));
    assert_eq!(rebinding.decided(1), Decision::Take(Step::RecordVolume));
    let waiting = rebinding
        .next(waits("target PVC to be bound"))
        .with(|seen| seen.rebind_since = Some(at(1)));
    assert_eq!(
        waiting.decided(2),
        Decision::Wait {
            what: "target PVC to be bound".into(),
            until: Some(at(11))
        }
    );
    let done = waiting.next(Next::Done);
    done.ends(3, Ending::Completed);
}

#[test]
fn download_whose_volume_cannot_be_handed_over_fails_with_the_reason() {
    let case = Case::download(Phase::InProgress)
        .mover(completed_mover())
        .next(Next::Impossible {
            why: "target PVC shop/data was deleted".into(),
        });
    assert!(case.ends(1, Ending::Failed).contains("was deleted"));
    let late = case
        .next(waits("target PVC to be bound"))
        .with(|seen| seen.rebind_since = Some(at(0)));
    assert!(late.ends(10, Ending::Failed).starts_with("timeout handing over"));
}

#[test]
fn cancel_before_the_movement_has_begun_acts_at_once() {
    for phase in [Phase::New, Phase::Accepted, Phase::Prepared] {
        Case::upload(phase).canceled_at(0).ends(0, Ending::Canceled);
    }
}

#[test]
fn cancel_of_a_running_movement_tells_the_mover_and_ends_with_it() {
    let running = Case::upload(Phase::InProgress).canceled_at(0);
    assert_eq!(running.decided(0), Decision::Write(Transition::Cancel));
    let canceling = Case::upload(Phase::Canceling).canceled_at(0);
    assert!(
        matches!(canceling.decided(0), Decision::Wait { until: Some(until), .. } if until == at(0) + SignedDuration::from_secs(15))
    );
    let stopped = Mover::Ended(End::Canceled {
        message: "data path is canceled".into(),
    });
    canceling.mover(stopped).ends(0, Ending::Canceled);
}

#[test]
fn mover_that_does_not_stop_is_removed_seconds_after_the_cancel() {
    let case = Case::upload(Phase::Canceling).canceled_at(0);
    let Decision::Wait { until, .. } = case.decided(0) else {
        panic!()
    };
    assert_eq!(until, Some(at(0) + SignedDuration::from_secs(15)));
    case.ends(1, Ending::Canceled);
}

#[test]
fn cancel_that_comes_after_the_movers_result_keeps_the_result() {
    Case::upload(Phase::Canceling)
        .canceled_at(0)
        .mover(completed_mover())
        .ends(1, Ending::Completed);
}

#[test]
fn canceled_movement_of_a_dead_node_is_ended_by_another() {
    let hour = 60;
    for (phase, grace) in [
        (Phase::Accepted, 1),
        (Phase::Prepared, 5),
        (Phase::Canceling, 5),
        (Phase::InProgress, hour),
    ] {
        let case = Case::upload(phase).owned_by(OTHER).canceled_at(0);
        assert!(matches!(case.decided(grace - 1), Decision::Wait { .. }));
        case.ends(grace, Ending::Canceled);
    }
}

#[test]
fn deletion_of_a_running_upload_cancels_it_first() {
    let case = Case::upload(Phase::InProgress).with(|seen| seen.facts.deleting = true);
    let Decision::Write(transition) = case.decided(0) else {
        panic!()
    };
    let patch = transition.patch(&case.0.facts);
    assert_eq!(patch["spec"], json!({"cancel": true}));
    assert_eq!(
        patch["status"]["message"],
        "Cancel dataupload because it is being deleted"
    );
}

#[test]
fn contradictory_status_fails_the_movement_openly() {
    let case = Case::upload(Phase::Accepted).with(|seen| {
        seen.facts.accepted_at = None;
        seen.state = State::parse(&seen.facts);
    });
    assert!(
        case.ends(0, Ending::Failed)
            .contains("phase Accepted without status.acceptedTimestamp")
    );
}

#[test]
fn finished_movement_keeps_its_finalizer_until_its_temporary_objects_are_gone() {
    let case = Case::upload(Phase::Failed).next(Next::Do(Step::DeletePodAndPvc));
    assert_eq!(case.decided(0), Decision::Take(Step::DeletePodAndPvc));
    let case = case.next(Next::Done);
    let Decision::Write(transition) = case.decided(0) else {
        panic!()
    };
    assert_eq!(
        transition.patch(&case.0.facts),
        json!({"metadata": {"resourceVersion": "7", "finalizers": []}})
    );
    let case = case.with(|seen| seen.facts.finalizers.clear());
    assert!(matches!(case.decided(0), Decision::Leave { .. }));
}

#[test]
fn upload_canceled_before_anybody_accepted_it_still_has_its_source_snapshot_cleaned_up() {
    let case = Case::upload(Phase::New).canceled_at(0);
    let Decision::Write(transition) = case.decided(0) else {
        panic!()
    };
    assert_eq!(
        transition.patch(&case.0.facts)["metadata"]["finalizers"],
        json!([FINALIZER])
    );
}

#[test]
fn temporary_objects_of_a_dead_node_are_deleted_by_another() {
    let case = Case::upload(Phase::Failed)
        .owned_by(OTHER)
        .next(Next::Do(Step::DeletePodAndPvc));
    assert!(matches!(case.decided(0), Decision::Wait { .. }));
    assert_eq!(case.decided(1), Decision::Take(Step::DeletePodAndPvc));
}

#[test]
fn movement_of_a_lost_node_is_failed_by_another_when_its_data_mover_is_gone() {
    for phase in [Phase::Prepared, Phase::InProgress] {
        let case = Case::upload(phase.clone()).owned_by(OTHER);
        let Decision::Wait {
            until: Some(look), ..
        } = case.quiet_since(0, None).decided(0)
        else {
            panic!("it is looked at again")
        };
        assert_eq!(look, at(0) + SignedDuration::from_secs(10));
        let case = Case::upload(phase).owned_by(OTHER);
        let why = case.quiet_since(0, Some(Mover::Absent)).ends(1, Ending::Failed);
        assert!(why.contains("node agent of node node-b has not said so"), "{why}");
    }
}

#[test]
fn movement_of_a_quiet_node_whose_data_mover_runs_is_left_to_it() {
    let running = Mover::Running { node: OTHER.into() };
    for phase in [Phase::Prepared, Phase::InProgress] {
        let case = Case::upload(phase)
            .owned_by(OTHER)
            .quiet_since(0, Some(running.clone()));
        match case.decided(600) {
            Decision::Wait { until, .. } => assert_eq!(until, Some(at(601)), "it is looked at again"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_a_lost_nodes_data_mover_has_said_last_still_counts() {
    let upload = || Case::upload(Phase::InProgress).owned_by(OTHER);
    upload()
        .quiet_since(0, Some(completed_mover()))
        .ends(1, Ending::Completed);
    let failed = Mover::Ended(End::Failed {
        message: "EIO".into(),
    });
    assert_eq!(
        upload().quiet_since(0, Some(failed)).ends(1, Ending::Failed),
        "EIO"
    );
    // Handing its volume over is its owner's work.
    let download = Case::download(Phase::InProgress).owned_by(OTHER);
    let download = download.quiet_since(0, Some(completed_mover()));
    assert!(matches!(download.decided(600), Decision::Wait { .. }));
}

#[test]
fn canceled_movement_of_a_lost_node_ends_when_its_data_mover_is_gone() {
    for phase in [Phase::Prepared, Phase::InProgress, Phase::Canceling] {
        let case = Case::upload(phase).owned_by(OTHER).canceled_at(0);
        let why = case.quiet_since(0, Some(Mover::Absent)).ends(1, Ending::Canceled);
        assert!(why.contains("is that node down?"), "{why}");
    }
}

#[test]
fn a_data_mover_pod_waits_until_its_repository_is_configured_and_nothing_else_does() {
    let config = caravel_api::RepositoryConfig::default();
    for step in [Step::CreateMoverPod, Step::CreateCachePvc] {
        let Next::Wait { what, within: None } = once_configured(Next::Do(step), None) else {
            panic!("{step:?} is not held back");
        };
        assert!(what.contains("repository"), "{what}");
        assert_eq!(once_configured(Next::Do(step), Some(&config)), Next::Do(step));
    }
    for next in [Next::Do(Step::CreateBackupPvc), Next::Done] {
        assert_eq!(once_configured(next.clone(), None), next);
    }
}
