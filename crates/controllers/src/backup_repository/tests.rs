//! When a repository is prepared, and what is written about it.

use caravel_api::phase::BackupRepositoryPhase as Phase;
use caravel_api::v1::BackupRepository;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::decide::{Decision, LastTry, decide};
use super::outcome_patch;

fn at(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
}

fn tried(fingerprint: &str, minutes: i64) -> Option<LastTry> {
    Some(LastTry {
        fingerprint: fingerprint.into(),
        at: at(minutes),
    })
}

#[test]
fn a_new_repository_is_prepared_at_once() {
    assert_eq!(decide(&Phase::New, None, "a", at(0)), Decision::Prepare);
}

#[test]
fn a_repository_that_is_not_ready_rests_five_minutes() {
    let last = tried("a", 0);
    assert_eq!(
        decide(&Phase::NotReady, last.as_ref(), "a", at(1)),
        Decision::Wait { until: at(5) }
    );
    assert_eq!(
        decide(&Phase::NotReady, last.as_ref(), "a", at(5)),
        Decision::Prepare
    );
}

#[test]
fn a_corrected_password_or_location_is_tried_at_once() {
    let last = tried("wrong", 0);
    assert_eq!(
        decide(&Phase::NotReady, last.as_ref(), "right", at(1)),
        Decision::Prepare
    );
}

#[test]
fn a_ready_repository_whose_location_changes_is_opened_again() {
    let last = tried("old", 0);
    assert_eq!(
        decide(&Phase::Ready, last.as_ref(), "new", at(1)),
        Decision::Prepare
    );
    assert_eq!(
        decide(&Phase::Ready, last.as_ref(), "old", at(100)),
        Decision::Leave
    );
}

#[test]
fn a_server_that_restarts_leaves_ready_repositories_alone() {
    assert_eq!(decide(&Phase::Ready, None, "a", at(0)), Decision::Remember);
}

#[test]
fn a_failed_preparation_is_not_ready_with_its_reason_and_a_good_one_clears_it() {
    let repository: BackupRepository = serde_json::from_value(json!({
        "apiVersion": "velero.io/v1", "kind": "BackupRepository", "metadata": {"name": "r", "resourceVersion": "7"},
        "spec": {"maintenanceFrequency": "0s"}
    }))
    .unwrap();
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0));
    let patch = |prepared: &Result<(), String>| {
        outcome_patch(&repository, prepared, super::DEFAULT_MAINTENANCE_FREQUENCY, &now)
    };
    let failed = patch(&Err("wrong password".into()));
    assert_eq!(
        failed["status"],
        json!({"phase": "NotReady", "message": "wrong password"})
    );
    assert_eq!(failed["metadata"]["resourceVersion"], "7");
    let good = patch(&Ok(()));
    let first = json!({"phase": "Ready", "message": null, "lastMaintenanceTime": "1970-01-01T00:00:00Z"});
    assert_eq!(good["status"], first);
    assert_eq!(good["spec"]["maintenanceFrequency"], "1h0m0s");
}

#[test]
fn the_well_known_password_is_recognised_with_white_space_around_it() {
    let secret = |text: &str| -> k8s_openapi::api::core::v1::Secret {
        serde_json::from_value(json!({"data": {"repository-password": k8s_openapi::ByteString(text.into())}}))
            .expect("a Secret")
    };
    assert!(super::is_default_password(&secret("static-passw0rd\n")));
    assert!(!super::is_default_password(&secret("my own")));
    assert!(!super::is_default_password(&Default::default()));
}
