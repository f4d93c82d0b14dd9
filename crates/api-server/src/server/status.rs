//! The status an object begins with, and which part of an update counts.
//! Source: Kubernetes v1.34, `PrepareForCreate` and `PrepareForUpdate` of each kind's `strategy.go`.

use serde_json::{Value, json};

use crate::kind::Kind;
use crate::server::metadata;

/// Sets the status (and what else a strategy sets) of a new object.
pub(crate) fn begin(kind: &Kind, object: &mut Value, now: jiff::Timestamp) {
    if kind.status_subresource && !(kind.custom.is_none() && kind.plural == "nodes") {
        remove(object, "status");
    }
    if kind.custom.is_some() {
        return;
    }
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => object["status"] = json!({"phase": "Pending", "qosClass": quality(object)}),
        ("", "persistentvolumeclaims") => object["status"] = json!({"phase": "Pending"}),
        ("", "persistentvolumes") => {
            object["status"] =
                json!({"phase": "Pending", "lastPhaseTransitionTime": metadata::timestamp(now)});
        }
        ("", "services") => object["status"] = json!({"loadBalancer": {}}),
        ("networking.k8s.io", "ingresses") => object["status"] = json!({"loadBalancer": {}}),
        ("storage.k8s.io", "volumeattachments") => object["status"] = json!({"attached": false}),
        ("apps", "deployments" | "daemonsets") | ("batch", "jobs" | "cronjobs") => {
            object["status"] = json!({})
        }
        ("apps", "replicasets" | "statefulsets") | ("", "replicationcontrollers") => {
            object["status"] = json!({"replicas": 0});
        }
        ("", "namespaces") => begin_namespace(object),
        _ => {}
    }
}

fn begin_namespace(object: &mut Value) {
    object["status"] = json!({"phase": "Active"});
    let mut finalizers = object["spec"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
        finalizers.push("kubernetes".into());
    }
    object["spec"] = json!({"finalizers": finalizers});
    name_label(object);
}

/// `kubernetes.io/metadata.name` is always the namespace's name.
pub(crate) fn name_label(namespace: &mut Value) {
    let name = namespace["metadata"]["name"].clone();
    namespace["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
}

/// `Guaranteed`, `Burstable` or `BestEffort`, from requests and limits of cpu and memory.
fn quality(pod: &Value) -> &'static str {
    let mut any = false;
    let mut all = true;
    let containers = ["containers", "initContainers"]
        .iter()
        .filter_map(|list| pod["spec"][*list].as_array())
        .flatten();
    for container in containers {
        let resources = &container["resources"];
        for name in ["cpu", "memory"] {
            let limit = &resources["limits"][name];
            let request = &resources["requests"][name];
            any |= !limit.is_null() || !request.is_null();
            all &= !limit.is_null() && (request.is_null() || request == limit);
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// The object that results when `new` is written through this subresource (or none) over `old`.
pub(crate) fn merged(kind: &Kind, subresource: Option<&str>, old: &Value, mut new: Value) -> Value {
    match subresource {
        Some("status") if kind.custom.is_some() => {
            let managed = new["metadata"]["managedFields"].take();
            let mut result = without(old, &["metadata", "status"]);
            result["metadata"] = without(&old["metadata"], &["managedFields"]);
            set(&mut result, "status", new["status"].take());
            set(&mut result["metadata"], "managedFields", managed);
            result["metadata"]["resourceVersion"] = new["metadata"]["resourceVersion"].take();
            result
        }
        Some("status") => {
            let keep_labels = kind.group == "apps";
            let mut result = without(old, &["metadata", "status"]);
            result["metadata"] = new["metadata"].take();
            if keep_labels {
                set(
                    &mut result["metadata"],
                    "labels",
                    old["metadata"]["labels"].clone(),
                );
            }
            set(
                &mut result["metadata"],
                "ownerReferences",
                old["metadata"]["ownerReferences"].clone(),
            );
            set(&mut result, "status", new["status"].take());
            result
        }
        Some("finalize") => {
            let finalizers = new["spec"]["finalizers"].take();
            let mut result = old.clone();
            result["metadata"]["resourceVersion"] = new["metadata"]["resourceVersion"].take();
            set(
                &mut result["metadata"],
                "managedFields",
                new["metadata"]["managedFields"].take(),
            );
            set(&mut result["spec"], "finalizers", finalizers);
            result
        }
        _ => {
            if kind.status_subresource {
                set(&mut new, "status", old["status"].clone());
            }
            if kind.custom.is_none() && kind.group.is_empty() && kind.plural == "namespaces" {
                set(&mut new, "spec", old["spec"].clone());
                name_label(&mut new);
            }
            new
        }
    }
}

/// A copy of the object without these fields, which are about to be set.
pub(crate) fn without(object: &Value, fields: &[&str]) -> Value {
    let all = object.as_object().into_iter().flatten();
    let kept = all.filter(|(name, _)| !fields.contains(&name.as_str()));
    Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

/// Sets a field; null takes it away.
fn set(object: &mut Value, field: &str, value: Value) {
    if value.is_null() {
        remove(object, field);
    } else {
        object[field] = value;
    }
}
