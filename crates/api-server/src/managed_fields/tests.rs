//! What Kubernetes v1.34.4 wrote for the same objects.

use super::*;
use crate::builtin::defaults;
use crate::builtin::samples::kind;

fn now() -> Timestamp {
    "2026-11-21T08:27:15Z".parse().expect("a timestamp")
}

/// Decoded, defaulted and tracked, as the server does.
fn tracked(
    kind: &Kind,
    old: Option<&Value>,
    object: Value,
    manager: &str,
    subresource: Option<&str>,
) -> Value {
    let mut object = typed::normalise(kind, object).expect("decodes").0;
    defaults::apply(kind, &mut object);
    track(kind, old, &mut object, manager, "Update", subresource, now());
    object
}

fn fields(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array();
    let entry = entries
        .into_iter()
        .flatten()
        .find(|entry| entry["manager"] == manager);
    entry.map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

#[test]
fn a_created_claim_is_owned_by_who_created_it() {
    let pvc = kind("", "PersistentVolumeClaim");
    let claim = json!({"metadata": {"name": "p"}, "spec": {"storageClassName": "", "accessModes": ["ReadWriteOnce"],
                       "resources": {"requests": {"storage": "1Gi"}}}});
    let claim = tracked(&pvc, None, claim, "curl", None);
    assert_eq!(
        claim["metadata"]["managedFields"],
        json!([{"manager": "curl", "operation": "Update", "apiVersion": "v1", "time": "2026-11-21T08:27:15Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {"f:accessModes": {}, "f:resources": {"f:requests": {".": {}, "f:storage": {}}},
                             "f:storageClassName": {}, "f:volumeMode": {}}}}])
    );
}

#[test]
fn a_created_deployment_is_owned_down_to_its_containers() {
    let kind = kind("apps", "Deployment");
    let container = json!({"name": "a", "image": "i", "resources": {"limits": {"cpu": "1"}}});
    let deployment = json!({"metadata": {"name": "p"}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}}});
    let deployment = tracked(&kind, None, deployment, "curl", None);
    assert_eq!(
        fields(&deployment, "curl"),
        json!({"f:spec": {
            "f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:revisionHistoryLimit": {}, "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {
                    "f:containers": {"k:{\"name\":\"a\"}": {
                        ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {},
                        "f:resources": {".": {}, "f:limits": {".": {}, "f:cpu": {}}},
                        "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}}},
                    "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {},
                    "f:terminationGracePeriodSeconds": {}}}}})
    );
}

#[test]
fn the_status_is_owned_apart() {
    let pod = kind("", "Pod");
    let first = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "i"}]}});
    let first = tracked(&pod, None, first, "curl", None);
    assert_eq!(fields(&first, "curl").get("f:status"), None);
    let mut second = first.clone();
    second["status"] = json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}],
                              "conditions": [{"type": "Ready", "status": "True"}]});
    let second = tracked(&pod, Some(&first), second, "kubelet", Some("status"));
    assert_eq!(second["metadata"]["managedFields"][1]["subresource"], "status");
    assert_eq!(
        fields(&second, "kubelet"),
        json!({"f:status": {"f:phase": {}, "f:podIPs": {".": {}, "k:{\"ip\":\"10.0.0.1\"}": {".": {}, "f:ip": {}}},
               "f:conditions": {".": {}, "k:{\"type\":\"Ready\"}": {
                   ".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}}}}})
    );
    assert_eq!(fields(&second, "curl"), fields(&first, "curl"));
}

#[test]
fn a_change_moves_the_field_and_a_write_without_change_moves_nothing() {
    let cm = kind("", "ConfigMap");
    let first = tracked(
        &cm,
        None,
        json!({"metadata": {"name": "m"}, "data": {"a": "1", "b": "2"}}),
        "one",
        None,
    );
    let same = tracked(&cm, Some(&first), first.clone(), "two", None);
    assert_eq!(same, first);
    let mut changed = first.clone();
    changed["data"] = json!({"a": "3"});
    let changed = tracked(&cm, Some(&first), changed, "two", None);
    assert_eq!(fields(&changed, "one"), json!({"f:data": {}}));
    assert_eq!(fields(&changed, "two"), json!({"f:data": {"f:a": {}}}));
}

#[test]
fn owner_references_and_finalizers_are_owned_one_by_one() {
    let cm = kind("", "ConfigMap");
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"});
    let metadata = json!({"name": "m", "finalizers": ["a/b"], "ownerReferences": [owner]});
    let object = tracked(&cm, None, json!({"metadata": metadata}), "one", None);
    assert_eq!(
        fields(&object, "one"),
        json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"a/b\"": {}},
                              "f:ownerReferences": {".": {}, "k:{\"uid\":\"u\"}": {}}}})
    );
}

#[test]
fn one_empty_entry_forgets_all_owners() {
    let cm = kind("", "ConfigMap");
    let first = tracked(
        &cm,
        None,
        json!({"metadata": {"name": "m"}, "data": {"a": "1"}}),
        "one",
        None,
    );
    let mut second = first.clone();
    second["metadata"]["managedFields"] = json!([{}]);
    let second = tracked(&cm, Some(&first), second, "two", None);
    assert_eq!(second["metadata"].get("managedFields"), None);
}

#[test]
fn more_than_ten_updaters_are_merged_oldest_first() {
    let cm = kind("", "ConfigMap");
    let mut object = tracked(
        &cm,
        None,
        json!({"metadata": {"name": "m"}, "data": {"k": "v"}}),
        "m00",
        None,
    );
    for number in 1..14 {
        let mut next = object.clone();
        next["data"][format!("k{number}")] = "v".into();
        object = tracked(&cm, Some(&object), next, &format!("m{number:02}"), None);
    }
    let entries = object["metadata"]["managedFields"].as_array().expect("entries");
    assert_eq!(entries.len(), 10);
    assert_eq!(entries[0]["manager"], "ancient-changes");
}
