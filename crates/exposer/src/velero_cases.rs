//! Velero's own table tests of what a pod's status means (`pkg_util_kube`).

use caravel_cases::{Case, each, same};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::json;

use crate::pod_state::PodState;
use crate::rebind::volume_name;

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
