//! What is deleted at the end, in which order, and what never is.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::restore::tests::request as restore_request;

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Option<T> {
    Some(serde_json::from_value(value).unwrap())
}

fn upload() -> CleanUpRequest {
    CleanUpRequest {
        name: "b-1".into(),
        uid: "u".into(),
        source: Some(("shop".into(), "s".into())),
        unfinished_rebind: None,
    }
}

fn failed_hand_over() -> CleanUpRequest {
    let record = RebindRecord {
        persistent_volume: "pv-1".into(),
        reclaim_policy: "Delete".into(),
        since: Timestamp::UNIX_EPOCH,
        total_bytes: 0,
    };
    CleanUpRequest {
        unfinished_rebind: Some((record, restore_request())),
        ..CleanUpRequest::default()
    }
}

fn snapshot() -> Option<VolumeSnapshot> {
    object(
        json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {}, "spec": {}}),
    )
}

fn volume(policy: &str) -> Option<PersistentVolume> {
    object(json!({"metadata": {"name": "pv-1"}, "spec": {"persistentVolumeReclaimPolicy": policy}}))
}

fn target(volume: &str) -> Option<PersistentVolumeClaim> {
    object(json!({"metadata": {}, "spec": {"volumeName": volume}}))
}

#[test]
fn temporary_objects_go_in_order_and_then_it_is_done() {
    let mut left = Leftovers {
        pod: Some(Pod::default()),
        pvc: Some(PersistentVolumeClaim::default()),
        backup: snapshot(),
        source: snapshot(),
        ..Leftovers::default()
    };
    assert_eq!(left.next(&upload()), Next::Do(Step::DeletePodAndPvc));
    (left.pod, left.pvc) = (None, None);
    assert_eq!(left.next(&upload()), Next::Do(Step::DeleteBackupSnapshot));
    left.backup = None;
    assert_eq!(left.next(&upload()), Next::Do(Step::DeleteSource));
    left.source = None;
    assert_eq!(left.next(&upload()), Next::Done);
}

#[test]
fn what_is_being_deleted_is_waited_for() {
    let pvc: PersistentVolumeClaim =
        object(json!({"metadata": {"deletionTimestamp": "2026-11-21T00:00:00Z"}})).unwrap();
    let left = Leftovers {
        pvc: Some(pvc),
        ..Leftovers::default()
    };
    assert!(matches!(left.next(&upload()), Next::Wait { .. }));
}

#[test]
fn volume_that_the_target_holds_is_never_deleted_it_only_gets_its_policy_back() {
    let mut left = Leftovers {
        rebound_volume: volume("Retain"),
        target: target("pv-1"),
        ..Leftovers::default()
    };
    assert!(left.target_holds(&failed_hand_over().unfinished_rebind.unwrap().0));
    assert_eq!(left.next(&failed_hand_over()), Next::Do(Step::DeleteVolume));
    left.rebound_volume = volume("Delete");
    assert_eq!(left.next(&failed_hand_over()), Next::Done);
}

#[test]
fn volume_of_a_failed_hand_over_that_nobody_holds_does_not_leak() {
    let left = Leftovers {
        rebound_volume: volume("Delete"),
        target: target(""),
        ..Leftovers::default()
    };
    assert_eq!(left.next(&failed_hand_over()), Next::Do(Step::DeleteVolume));
}

#[test]
fn volume_of_a_completed_download_is_not_even_looked_at() {
    let left = Leftovers {
        rebound_volume: volume("Retain"),
        ..Leftovers::default()
    };
    assert_eq!(left.next(&CleanUpRequest::default()), Next::Done);
}

#[test]
fn the_cache_pvc_goes_with_the_pod_and_is_waited_for() {
    let download = CleanUpRequest {
        name: "r-1".into(),
        uid: "u-1".into(),
        ..CleanUpRequest::default()
    };
    let mut left = Leftovers {
        cache_pvc: Some(PersistentVolumeClaim::default()),
        ..Leftovers::default()
    };
    assert_eq!(left.next(&download), Next::Do(Step::DeletePodAndPvc));
    left.cache_pvc = object(json!({"metadata": {"deletionTimestamp": "2026-11-21T00:00:00Z"}}));
    assert!(matches!(left.next(&download), Next::Wait { .. }));
    left.cache_pvc = None;
    assert_eq!(left.next(&download), Next::Done);
}
