//! When a repository is prepared, and what is written about it.

use std::collections::BTreeMap;

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
        let (frequency, nothing) = (super::DEFAULT_MAINTENANCE_FREQUENCY, BTreeMap::new());
        outcome_patch(&repository, prepared, frequency, &nothing, &now)
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
    assert_eq!(good["spec"], json!({"maintenanceFrequency": "1h0m0s"}));
}

#[test]
fn a_configuration_is_written_where_the_repository_does_not_say_it_already() {
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0));
    let config = BTreeMap::from([("enableCompression".to_owned(), "true".to_owned())]);
    for (spec, written) in [
        (
            json!({"maintenanceFrequency": "2h0m0s"}),
            json!({"repositoryConfig": {"enableCompression": "true"}}),
        ),
        (
            json!({}),
            json!({"maintenanceFrequency": "1h0m0s", "repositoryConfig": {"enableCompression": "true"}}),
        ),
        (
            json!({"maintenanceFrequency": "2h0m0s", "repositoryConfig": {"enableCompression": "true"}}),
            json!(null),
        ),
    ] {
        let repository: BackupRepository = serde_json::from_value(json!({
            "apiVersion": "velero.io/v1", "kind": "BackupRepository", "metadata": {"name": "r"}, "spec": spec
        }))
        .unwrap();
        for prepared in [Ok(()), Err("unreachable".to_owned())] {
            let frequency = super::DEFAULT_MAINTENANCE_FREQUENCY;
            let patch = outcome_patch(&repository, &prepared, frequency, &config, &now);
            assert_eq!(patch["spec"], written);
        }
    }
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
