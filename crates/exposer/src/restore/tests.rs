//! The ladder from a waiting target PVC to a data mover pod.

use serde_json::json;

use super::*;

pub(crate) fn request() -> RestoreRequest {
    RestoreRequest {
        name: "r-1".into(),
        uid: "u-1".into(),
        owner: OwnerReference {
            uid: "u-1".into(),
            ..OwnerReference::default()
        },
        target_namespace: "shop".into(),
        target_pvc: "data".into(),
        operation_timeout: Duration::from_secs(600),
        resource_timeout: Duration::from_secs(600),
        location: LocationMount::default(),
        cache: None,
        settings: Arc::default(),
    }
}

fn target() -> PersistentVolumeClaim {
    serde_json::from_value(json!({
        "metadata": {"name": "data", "namespace": "shop", "labels": {"app": "shop"}, "annotations": {
            "note": "kept", "volume.kubernetes.io/storage-provisioner": "csi.example",
            "volume.kubernetes.io/selected-node": "n1"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeMode": "Block",
            "selector": {"matchLabels": {"velero.io/dynamic-pv-restore": "shop.data.abcde"}},
            "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"},
    }))
    .unwrap()
}

fn late() -> Option<StorageClass> {
    Some(
        serde_json::from_value(json!({"provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer"}))
            .unwrap(),
    )
}

#[test]
fn restore_pvc_is_the_targets_twin_without_its_selector() {
    let pvc = restore_pvc("velero", &request(), &target());
    let annotations = pvc.metadata.annotations.unwrap();
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["note", SELECTED_NODE]);
    assert_eq!(pvc.metadata.labels.unwrap()["app"], "shop");
    let spec = pvc.spec.unwrap();
    assert_eq!(
        (spec.selector, spec.volume_mode.as_deref()),
        (None, Some("Block"))
    );
}

#[test]
fn target_that_is_missing_or_bound_cannot_be_filled() {
    assert!(matches!(
        RestoreExposure::default().next(&request()),
        Next::Impossible { .. }
    ));
    let mut bound = target();
    bound.spec.as_mut().unwrap().volume_name = Some("pv-1".into());
    let exposure = RestoreExposure {
        target: Some(bound),
        ..RestoreExposure::default()
    };
    assert!(matches!(exposure.next(&request()), Next::Impossible { .. }));
}

#[test]
fn with_a_class_that_binds_late_a_pod_must_have_been_placed_first() {
    let mut unplaced = target();
    unplaced.metadata.annotations = None;
    let exposure = RestoreExposure {
        target: Some(unplaced),
        storage_class: late(),
        ..RestoreExposure::default()
    };
    assert!(matches!(
        exposure.next(&request()),
        Next::Wait { within: Some(_), .. }
    ));
    let exposure = RestoreExposure {
        target: Some(target()),
        ..exposure
    };
    assert_eq!(exposure.next(&request()), Next::Do(Step::CreateRestorePvc));
    // pod and PVC exist together then
    let exposure = RestoreExposure {
        restore_pvc: Some(restore_pvc("velero", &request(), &target())),
        ..exposure
    };
    assert_eq!(exposure.next(&request()), Next::Do(Step::CreateMoverPod));
}

#[test]
fn pod_is_created_when_the_restore_pvc_is_bound() {
    let mut pvc = restore_pvc("velero", &request(), &target());
    let exposure = RestoreExposure {
        target: Some(target()),
        restore_pvc: Some(pvc.clone()),
        ..RestoreExposure::default()
    };
    assert!(matches!(exposure.next(&request()), Next::Wait { .. }));
    pvc.status = Some(serde_json::from_value(json!({"phase": "Bound"})).unwrap());
    let exposure = RestoreExposure {
        restore_pvc: Some(pvc),
        ..exposure
    };
    assert_eq!(exposure.next(&request()), Next::Do(Step::CreateMoverPod));
    let exposure = RestoreExposure {
        pod: Some(Pod::default()),
        ..exposure
    };
    assert_eq!(exposure.next(&request()), Next::Done);
}

#[test]
fn when_delayed_binding_is_ignored_the_volume_is_made_wherever_the_data_mover_runs() {
    let settings = Settings {
        restore_pvc: crate::settings::RestorePvc {
            ignore_delay_binding: true,
        },
        ..Settings::default()
    };
    let request = RestoreRequest {
        settings: Arc::new(settings),
        ..request()
    };
    let mut unplaced = target();
    unplaced.metadata.annotations = None;
    let exposure = RestoreExposure {
        target: Some(unplaced),
        storage_class: late(),
        ..RestoreExposure::default()
    };
    assert_eq!(exposure.next(&request), Next::Do(Step::CreateRestorePvc));
    let pvc = restore_pvc("velero", &request, &target());
    assert!(
        !pvc.metadata
            .annotations
            .as_ref()
            .unwrap()
            .contains_key(SELECTED_NODE)
    );
    let exposure = RestoreExposure {
        restore_pvc: Some(pvc),
        ..exposure
    };
    assert_eq!(exposure.next(&request), Next::Do(Step::CreateMoverPod));
    assert_eq!(exposure.placed_on(), None);
}

#[test]
fn the_data_mover_runs_where_the_applications_pod_was_placed() {
    let exposure = RestoreExposure {
        target: Some(target()),
        storage_class: late(),
        restore_pvc: Some(restore_pvc("velero", &request(), &target())),
        ..RestoreExposure::default()
    };
    assert_eq!(exposure.placed_on(), Some("n1"));
}

fn with_cache() -> RestoreRequest {
    RestoreRequest {
        cache: Some(CacheVolume {
            storage_class: "cheap".into(),
            limit_mb: 5000,
        }),
        ..request()
    }
}

fn claim(from: PersistentVolumeClaim, phase: &str) -> Option<PersistentVolumeClaim> {
    Some(PersistentVolumeClaim {
        status: Some(serde_json::from_value(json!({"phase": phase})).unwrap()),
        ..from
    })
}

fn cache_claim(phase: &str) -> Option<PersistentVolumeClaim> {
    let request = with_cache();
    claim(
        request.cache.as_ref().unwrap().claim("velero", &request, None),
        phase,
    )
}

#[test]
fn the_cache_pvc_is_made_beside_the_restore_pvc_and_both_are_bound_before_there_is_a_pod() {
    let request = with_cache();
    let unbound = RestoreExposure {
        target: Some(target()),
        restore_pvc: claim(restore_pvc("velero", &request, &target()), "Pending"),
        ..RestoreExposure::default()
    };
    assert_eq!(unbound.next(&request), Next::Do(Step::CreateCachePvc));
    let both = RestoreExposure {
        cache_pvc: cache_claim("Pending"),
        cache_warning: Some("ProvisioningFailed: no space".into()),
        ..unbound
    };
    assert_eq!(both.next(&request), Next::wait("PVC r-1 to be bound"));
    let bound = RestoreExposure {
        restore_pvc: claim(restore_pvc("velero", &request, &target()), "Bound"),
        ..both
    };
    assert_eq!(
        bound.next(&request),
        Next::wait("PVC r-1-cache to be bound (ProvisioningFailed: no space)")
    );
    let late_cache = RestoreExposure {
        cache_class: late(),
        ..bound.clone()
    };
    assert_eq!(late_cache.next(&request), Next::Do(Step::CreateMoverPod));
    // As a second try, and a node agent that was restarted, find it.
    let cached = RestoreExposure {
        cache_pvc: cache_claim("Bound"),
        ..bound
    };
    assert_eq!(cached.next(&request), Next::Do(Step::CreateMoverPod));
}

#[test]
fn a_cache_pvc_that_can_never_serve_ends_the_exposure_by_its_name() {
    let bound = RestoreExposure {
        target: Some(target()),
        restore_pvc: claim(restore_pvc("velero", &request(), &target()), "Bound"),
        ..RestoreExposure::default()
    };
    let mut strange = cache_claim("Bound").unwrap();
    strange.metadata.owner_references = None;
    for (cache_pvc, why) in [
        (Some(strange), "PVC r-1-cache exists already and is not ours"),
        (cache_claim("Lost"), "PVC r-1-cache has lost its volume"),
    ] {
        let exposure = RestoreExposure {
            cache_pvc,
            ..bound.clone()
        };
        assert_eq!(exposure.next(&with_cache()), Next::impossible(why));
        // Nobody asks for it where none is wanted.
        assert_eq!(exposure.next(&request()), Next::Do(Step::CreateMoverPod));
    }
}

#[test]
fn a_pod_that_waits_for_its_cache_pvc_says_what_is_wrong_with_it() {
    let waiting = RestoreExposure {
        pod: Some(Pod::default()),
        cache_pvc: cache_claim("Pending"),
        cache_class: late(),
        cache_warning: Some("ProvisioningFailed: no space".into()),
        ..RestoreExposure::default()
    };
    assert_eq!(
        waiting.next(&with_cache()),
        Next::wait("PVC r-1-cache to be bound (ProvisioningFailed: no space)")
    );
    let there = RestoreExposure {
        cache_warning: None,
        ..waiting
    };
    assert_eq!(there.next(&with_cache()), Next::Done);
}
