//! Table tests of [`super::decide`].

use caravel_api::phase::RestorePhase;
use caravel_backup_store::volume_info::PvInfo;
use serde_json::{Value, json};

use super::decide::{ClaimDecision, ClaimState, created_objects, decide_claim, final_phase};

/// A claim bound to a new volume `pv-new` that Kubernetes provisioned with Delete and no labels; the old one had
/// Retain and a label.
fn state() -> ClaimState {
    let mut old = PvInfo {
        reclaim_policy: "Retain".into(),
        ..PvInfo::default()
    };
    old.labels.insert("team".into(), "a".into());
    ClaimState {
        namespace: "shop".into(),
        name: "data".into(),
        old_volume: Some(old),
        claim: claim(json!({})),
        volume: volume("Delete", json!({})),
        ..Default::default()
    }
}

fn claim(annotations: Value) -> Option<k8s_openapi::api::core::v1::PersistentVolumeClaim> {
    Some(serde_json::from_value(json!({"metadata": {"name": "data", "annotations": annotations}})).unwrap())
}

fn volume(policy: &str, labels: Value) -> Option<k8s_openapi::api::core::v1::PersistentVolume> {
    let volume = json!({"metadata": {"name": "pv-new", "labels": labels}, "spec": {"persistentVolumeReclaimPolicy": policy}});
    Some(serde_json::from_value(volume).unwrap())
}

#[test]
fn a_new_volume_gets_the_old_ones_labels_and_reclaim_policy() {
    assert_eq!(
        decide_claim(&state()),
        ClaimDecision::PatchVolume {
            volume: "pv-new".into(),
            patch: json!({"metadata": {"labels": {"team": "a"}}, "spec": {"persistentVolumeReclaimPolicy": "Retain"}}),
        }
    );
}

#[test]
fn only_what_differs_is_patched() {
    let same = ClaimState {
        volume: volume("Retain", json!({"team": "a", "other": "b"})),
        ..state()
    };
    assert!(matches!(decide_claim(&same), ClaimDecision::Leave(_)));
    let policy = ClaimState {
        volume: volume("Delete", json!({"team": "a"})),
        ..state()
    };
    assert!(
        matches!(decide_claim(&policy), ClaimDecision::PatchVolume { patch, .. } if patch.get("metadata").is_none())
    );
}

#[test]
fn an_unbound_claim_is_waited_for_unless_only_a_pod_can_bind_it() {
    let unbound = ClaimState {
        volume: None,
        ..state()
    };
    assert_eq!(decide_claim(&unbound), ClaimDecision::Wait);
    let for_a_pod = ClaimState {
        waits_for_consumer: true,
        ..unbound.clone()
    };
    assert!(matches!(decide_claim(&for_a_pod), ClaimDecision::Leave(_)));
    let with_pod = ClaimState {
        claim: claim(json!({"volume.kubernetes.io/selected-node": "n1"})),
        ..for_a_pod
    };
    assert_eq!(decide_claim(&with_pod), ClaimDecision::Wait);
    let failed = ClaimState {
        download_failed: true,
        ..unbound.clone()
    };
    assert!(matches!(decide_claim(&failed), ClaimDecision::Leave(_)));
    let deleted = ClaimState {
        claim: None,
        ..unbound
    };
    assert!(matches!(decide_claim(&deleted), ClaimDecision::Leave(_)));
}

#[test]
fn a_restore_with_any_error_ends_partially_failed() {
    use RestorePhase::{Completed, Finalizing, FinalizingPartiallyFailed, InProgress, PartiallyFailed};
    for (phase, errors, end) in [
        (Finalizing, 0, Some(Completed)),
        (Finalizing, 1, Some(PartiallyFailed)),
        (FinalizingPartiallyFailed, 0, Some(PartiallyFailed)),
        (FinalizingPartiallyFailed, 2, Some(PartiallyFailed)),
        (InProgress, 0, None),
        (Completed, 0, None),
    ] {
        assert_eq!(final_phase(&phase, errors), end, "{phase} {errors}");
    }
}

#[test]
fn only_claims_that_this_restore_created_are_looked_at() {
    let entries = ["shop/data(created)", "shop/old(skipped)", "shop/bad(failed)"].map(str::to_owned);
    assert_eq!(
        created_objects(&entries),
        [("shop".to_owned(), "data".to_owned())]
    );
}
