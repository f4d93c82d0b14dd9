//! The hand-over of a filled volume, rung by rung; the volume is never without somebody who keeps it.

use serde_json::{Value, json};

use super::*;
use crate::restore::tests::request;

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Option<T> {
    Some(serde_json::from_value(value).unwrap())
}

fn record() -> RebindRecord {
    RebindRecord {
        persistent_volume: "pv-1".into(),
        reclaim_policy: "Delete".into(),
        since: Timestamp::UNIX_EPOCH,
        total_bytes: 5,
    }
}

fn volume(policy: &str, phase: &str, claim: (&str, &str)) -> Option<PersistentVolume> {
    object(json!({
        "metadata": {"name": "pv-1"},
        "spec": {"persistentVolumeReclaimPolicy": policy, "claimRef": {"namespace": claim.0, "name": claim.1}},
        "status": {"phase": phase},
    }))
}

fn claim(volume: &str, phase: &str) -> Option<PersistentVolumeClaim> {
    object(json!({"metadata": {"name": "x"}, "spec": {"volumeName": volume}, "status": {"phase": phase}}))
}

const TEMPORARY: (&str, &str) = ("velero", "r-1");
const TARGET: (&str, &str) = ("shop", "data");

/// The mover has just ended.
fn filled() -> Rebinding {
    Rebinding {
        record: None,
        target: claim("", "Pending"),
        restore_pvc: claim("pv-1", "Bound"),
        pod: Some(Pod::default()),
        volume: volume("Delete", "Bound", TEMPORARY),
    }
}

#[test]
fn volume_is_recorded_and_retained_before_anything_is_deleted() {
    let rebinding = filled();
    assert_eq!(rebinding.next(&request()), Next::Do(Step::RecordVolume));
    let rebinding = Rebinding {
        record: Some(record()),
        ..rebinding
    };
    assert_eq!(rebinding.next(&request()), Next::Do(Step::RetainVolume));
    let rebinding = Rebinding {
        volume: volume("Retain", "Bound", TEMPORARY),
        ..rebinding
    };
    assert_eq!(rebinding.next(&request()), Next::Do(Step::DeleteRestorePvc));
}

#[test]
fn volume_is_offered_when_the_restore_pvc_is_gone_and_claimed_when_it_is_available() {
    let gone = Rebinding {
        record: Some(record()),
        restore_pvc: None,
        pod: None,
        volume: volume("Retain", "Released", TEMPORARY),
        ..filled()
    };
    assert_eq!(gone.next(&request()), Next::Do(Step::OfferVolume));
    let offered = Rebinding {
        volume: volume("Retain", "Released", TARGET),
        ..gone
    };
    assert!(matches!(offered.next(&request()), Next::Wait { .. }));
    let available = Rebinding {
        volume: volume("Retain", "Available", TARGET),
        ..offered
    };
    assert_eq!(available.next(&request()), Next::Do(Step::ClaimVolume));
}

#[test]
fn hand_over_is_done_when_both_are_bound_and_the_policy_is_back() {
    let bound = Rebinding {
        record: Some(record()),
        target: claim("pv-1", "Bound"),
        restore_pvc: None,
        pod: None,
        volume: volume("Retain", "Bound", TARGET),
    };
    assert_eq!(bound.next(&request()), Next::Do(Step::RestoreReclaimPolicy));
    let done = Rebinding {
        volume: volume("Delete", "Bound", TARGET),
        ..bound
    };
    assert_eq!(done.next(&request()), Next::Done);
}

#[test]
fn target_that_is_deleted_or_bound_elsewhere_ends_the_hand_over() {
    let deleted = Rebinding {
        target: None,
        ..filled()
    };
    assert!(matches!(deleted.next(&request()), Next::Impossible { .. }));
    let elsewhere = Rebinding {
        record: Some(record()),
        target: claim("pv-9", "Bound"),
        ..filled()
    };
    assert!(matches!(elsewhere.next(&request()), Next::Impossible { .. }));
}

#[test]
fn note_on_the_download_survives_its_own_annotation() {
    let text = serde_json::to_string(&record()).unwrap();
    let download: DataDownload = serde_json::from_value(json!({
        "apiVersion": "velero.io/v2alpha1", "kind": "DataDownload",
        "metadata": {"name": "r-1", "annotations": {RECORD_ANNOTATION: text}}, "spec": {},
    }))
    .unwrap();
    assert_eq!(RebindRecord::of(&download), Some(record()));
}
