//! Velero's own table tests of what a pod's status means, and where a volume can be (`pkg_util_kube`).

use caravel_cases::{Case, each, same};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::json;

use crate::pod_state::PodState;
use crate::rebind::volume_name;
use crate::snapshot::SnapshotExposure;

/// The state of a case's pod; the cases leave its containers out.
fn state(case: &Case) -> PodState {
    let mut pod = case.input("pod").clone();
    pod["spec"] = json!({"containers": []});
    let pod: Pod = serde_json::from_value(pod).unwrap();
    PodState::of(&pod)
}

#[test]
fn a_pod_is_given_up_where_velero_gives_it_up() {
    each("pkg_util_kube/TestIsPodUnrecoverable.json", |case| {
        let ours = matches!(
            state(case),
            PodState::Broken { .. } | PodState::Ended { succeeded: false, .. }
        );
        same(&json!(ours), case.want("want"))
    });
}

#[test]
fn the_last_word_of_a_pod_is_read_where_velero_reads_it() {
    for file in [
        "pkg_util_kube/TestGetPodContainerTerminateMessage.json",
        "pkg_util_kube/TestGetPodTerminateMessage.json",
    ] {
        each(file, |case| {
            let ours = match state(case) {
                PodState::Ended { message, .. } => message,
                _ => String::new(),
            };
            same(&json!(ours), case.want("message"))
        });
    }
}

#[test]
fn a_claim_is_bound_when_velero_says_so() {
    each("pkg_util_kube/TestIsPVCBound.json", |case| {
        let mut claim = case.input("pvc").clone();
        claim["status"] = json!({});
        let claim: PersistentVolumeClaim = serde_json::from_value(claim).unwrap();
        same(&json!(!volume_name(&claim).is_empty()), case.want("expect"))
    });
}

#[test]
fn a_volume_of_a_snapshot_is_looked_for_where_velero_looks_for_it() {
    each("pkg_util_kube/TestGetVolumeTopology.json", |case| {
        let objects = case.input("kubeClientObj").as_array().into_iter().flatten();
        let objects: Vec<&serde_json::Value> = objects.collect();
        let of = |kind: &str, name: &str| {
            let name = case.input(name);
            let is_it =
                |object: &&&serde_json::Value| object["$type"] == kind && object["metadata"]["name"] == *name;
            objects.iter().find(is_it).map(|object| (*object).clone())
        };
        let exposure = SnapshotExposure {
            storage_class: of("v1.StorageClass", "scName")
                .map(|class| serde_json::from_value(class).unwrap()),
            source_volume: of("v1.PersistentVolume", "pvName")
                .map(|volume| serde_json::from_value(volume).unwrap()),
            ..SnapshotExposure::default()
        };
        same(&json!(exposure.topology()), case.want("expected"))?;
        same("", case.want("expectedErr").as_str().unwrap_or_default())
    });
}
