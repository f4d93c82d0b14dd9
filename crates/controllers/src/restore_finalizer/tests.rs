//! Table tests of [`super::decide`].

use caravel_api::phase::RestorePhase;
use caravel_backup_store::volume_info::PvInfo;
use serde_json::{Value, json};

use super::decide::{ClaimDecision, ClaimState, created_objects, decide_claim, final_phase, operations_of};

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

fn old_volume(info: &Value) -> Option<PvInfo> {
    serde_json::from_value(info.clone()).unwrap()
}

#[test]
fn a_volume_is_patched_when_velero_patches_it() {
    caravel_cases::each("pkg_controller/TestNeedPatch.json", |case| {
        let state = ClaimState {
            old_volume: old_volume(case.input("pvInfo")),
            volume: serde_json::from_value(case.input("newPV").clone()).unwrap(),
            ..state()
        };
        let patches = matches!(decide_claim(&state), ClaimDecision::PatchVolume { .. });
        caravel_cases::same(&patches, &(case.want("expected") == true))
    });
}

/// Each restored claim as the controller observes it; what is decided must be Velero's patches and as many errors.
#[test]
fn restored_claims_get_the_patches_and_errors_that_they_get_in_velero() {
    caravel_cases::each("pkg_controller/TestPatchDynamicPVWithVolumeInfo.json", |case| {
        let (mut patched, mut wrong) = (std::collections::BTreeMap::new(), 0);
        for state in claims_of(case) {
            match decide_claim(&state) {
                ClaimDecision::PatchVolume { volume, patch } => {
                    patched.insert(volume, patch);
                }
                ClaimDecision::Wrong(_) => wrong += 1,
                ClaimDecision::Leave(_) => {}
                ClaimDecision::Wait => return Err(format!("waits for {}", state.name)),
            }
        }
        caravel_cases::same(&wrong, &case.want("expectedErrNum").as_u64().unwrap_or_default())?;
        let wanted = case.want("expectedPatch").as_object().into_iter().flatten();
        let wanted = wanted.map(|(volume, info)| {
            let patch = json!({"metadata": {"labels": info["labels"]},
                "spec": {"persistentVolumeReclaimPolicy": info["reclaimPolicy"]}});
            (volume.clone(), patch)
        });
        caravel_cases::same(&patched, &wanted.collect())
    });
}

fn claims_of(case: &caravel_cases::Case) -> Vec<ClaimState> {
    let names = caravel_cases::texts(case.input("restoredPVCNames"));
    let mapping = &case.input("restore")["spec"]["namespaceMapping"];
    let found = |list: &str, name: &str| {
        let mut objects = case.input(list).as_array().into_iter().flatten();
        let object = objects.find(|object| object["metadata"]["name"] == name);
        object.cloned().unwrap_or_default()
    };
    let state = |named: &String| {
        let (namespace, name) = named.split_once('/').unwrap();
        let mut infos = case.input("volumeInfo").as_array().into_iter().flatten();
        let about = |info: &&Value| {
            let source = info["pvcNamespace"].as_str().unwrap_or_default();
            let target = mapping[source].as_str().unwrap_or(source);
            info["pvcName"] == name && target == namespace
        };
        let claim = found("restoredPVC", name);
        let volume = found(
            "restoredPV",
            claim["spec"]["volumeName"].as_str().unwrap_or_default(),
        );
        ClaimState {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            old_volume: infos.find(about).and_then(|info| old_volume(&info["pvInfo"])),
            claim: serde_json::from_value(claim).unwrap(),
            volume: serde_json::from_value(volume).unwrap(),
            ..Default::default()
        }
    };
    names.iter().map(state).collect()
}

#[test]
fn the_operations_of_a_claim_are_veleros() {
    caravel_cases::each("pkg_controller/TestRestoreOperationList.json", |case| {
        let read = |list: &Value| -> Vec<caravel_backup_store::item_operations::RestoreOperation> {
            let entries = list.as_array().into_iter().flatten();
            let entries = entries.filter(|entry| !entry.is_null());
            entries
                .map(|entry| serde_json::from_value(entry.clone()).unwrap())
                .collect()
        };
        let text = |field: &str| case.input(field).as_str().unwrap_or_default();
        let all = read(case.input("items"));
        let ours: Vec<_> = operations_of(&all, text("inputPVCNS"), text("inputPVCName"))
            .cloned()
            .collect();
        caravel_cases::same(&ours, &read(case.want("expected")))
    });
}
