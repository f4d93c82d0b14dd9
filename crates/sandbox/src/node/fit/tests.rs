use serde_json::{Value, json};

use super::*;

fn node(name: &str, spec: Value) -> Node {
    let labels = json!({"kubernetes.io/os": "linux", "kubernetes.io/hostname": name});
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "spec": spec})).unwrap()
}

fn pod(extra: Value) -> PodSpec {
    let mut spec = json!({"containers": []});
    json_patch::merge(&mut spec, &extra);
    serde_json::from_value(spec).unwrap()
}

#[test]
fn a_plain_pod_fits_a_plain_node() {
    assert_eq!(misfit(&pod(json!({})), &[], &node("one", json!({}))), None);
}

#[test]
fn a_cordoned_node_takes_only_pods_that_tolerate_it() {
    let cordoned = node("one", json!({"unschedulable": true}));
    let why = misfit(&pod(json!({})), &[], &cordoned);
    assert_eq!(why.as_deref(), Some("node(s) were unschedulable"));
    let tolerant =
        pod(json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}));
    assert_eq!(misfit(&tolerant, &[], &cordoned), None);
}

#[test]
fn a_taint_is_named_with_key_and_value() {
    let tainted = node(
        "one",
        json!({"taints": [{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]}),
    );
    let why = misfit(&pod(json!({})), &[], &tainted);
    assert_eq!(
        why.as_deref(),
        Some("node(s) had untolerated taint {dedicated: gpu}")
    );
    for toleration in [
        json!({"key": "dedicated", "value": "gpu"}),
        json!({"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}),
        json!({"operator": "Exists"}),
    ] {
        let tolerant = pod(json!({"tolerations": [toleration]}));
        assert_eq!(misfit(&tolerant, &[], &tainted), None, "{tolerant:?}");
    }
}

#[test]
fn selector_and_required_affinity_must_both_hold() {
    let one = node("one", json!({}));
    let not_windows = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "NotIn", "values": ["windows"]}]}]}}});
    assert_eq!(misfit(&pod(json!({"affinity": not_windows})), &[], &one), None);
    let elsewhere = pod(json!({"affinity": not_windows, "nodeSelector": {"kubernetes.io/hostname": "two"}}));
    let why = misfit(&elsewhere, &[], &one);
    assert_eq!(
        why.as_deref(),
        Some("node(s) didn't match Pod's node affinity/selector")
    );
}

#[test]
fn a_daemon_set_pod_names_its_node_by_field() {
    let by_field = pod(
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["two"]}]}]}}}}),
    );
    assert!(misfit(&by_field, &[], &node("one", json!({}))).is_some());
    assert!(misfit(&by_field, &[], &node("two", json!({}))).is_none());
}

#[test]
fn the_scheduler_says_what_kubernetes_1_34_says() {
    // Read from a cluster of v1.34.4.
    assert_eq!(
        no_node(&["node(s) didn't match Pod's node affinity/selector".to_owned()]),
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, \
         preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
    assert_eq!(
        not_looked_at(1, "persistentvolumeclaim \"missing\" not found"),
        "0/1 nodes are available: persistentvolumeclaim \"missing\" not found. not found"
    );
}
