//! Defaults of the built-in kinds: what Kubernetes fills in while it decodes an object.
//! Source: `pkg/apis/{core,apps,batch,storage,rbac,discovery,networking}/v1/defaults.go` of Kubernetes v1.34 and the
//! `+default` marks of the API types. What is filled in later, when an object is created (a pod's tolerations, a
//! Service's address), is not a default in this sense: that is admission.

mod pod;
mod service;
mod workload;

use serde_json::{Value, json};

use crate::kind::Kind;

/// Fills in what is missing. Kinds of a CustomResourceDefinition are left alone: their schema has their defaults.
pub fn apply(kind: &Kind, object: &mut Value) {
    if kind.custom.is_some() {
        return;
    }
    let name = kind.kind.as_str();
    match (kind.group.as_str(), name) {
        ("", "Pod") => at(object, &["spec"], pod::pod),
        ("", "PodTemplate") => at(object, &["template", "spec"], pod::spec),
        ("", "Service") => at(object, &["spec"], service::service),
        ("", "Secret") => secret(object),
        ("", "Namespace") => namespace(object),
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "PersistentVolume") => volume(object),
        ("", "Node") => at(object, &["status"], node_status),
        ("", "Endpoints") => service::endpoints(object),
        ("discovery.k8s.io", "EndpointSlice") => service::endpoint_slice(object),
        ("apps", "Deployment") => at(object, &["spec"], workload::deployment),
        ("apps", "ReplicaSet") => at(object, &["spec"], workload::replica_set),
        ("apps", "StatefulSet") => at(object, &["spec"], workload::stateful_set),
        ("apps", "DaemonSet") => at(object, &["spec"], workload::daemon_set),
        ("batch", "Job") => workload::job(object),
        ("batch", "CronJob") => at(object, &["spec"], workload::cron_job),
        ("storage.k8s.io", "StorageClass") => storage_class(object),
        ("storage.k8s.io", "CSIDriver") => at(object, &["spec"], csi_driver),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(object),
        ("scheduling.k8s.io", "PriorityClass") => set(object, "preemptionPolicy", "PreemptLowerPriority"),
        ("networking.k8s.io", "NetworkPolicy") => at(object, &["spec"], service::network_policy),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => at(object, &["spec"], definition),
        _ => {}
    }
}

/// Calls `fill` with the object at the path, if there is one.
fn at(object: &mut Value, path: &[&str], fill: impl FnOnce(&mut Value)) {
    let mut inner = object;
    for name in path {
        match inner.get_mut(*name) {
            Some(next) => inner = next,
            None => return,
        }
    }
    if inner.is_object() {
        fill(inner);
    }
}

/// Calls `fill` with each object of the list.
fn each(object: &mut Value, list: &str, fill: impl FnMut(&mut Value)) {
    let items = object.get_mut(list).and_then(Value::as_array_mut);
    items
        .into_iter()
        .flatten()
        .filter(|item| item.is_object())
        .for_each(fill);
}

/// Sets the field unless it has a value; `null` and the empty string are none.
fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    let unset = match fields.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    };
    if unset {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Sets the number unless it has a value; zero is none.
fn set_nonzero(object: &mut Value, name: &str, value: i64) {
    if object.get(name).and_then(Value::as_i64) == Some(0) {
        object[name] = value.into();
    } else {
        set(object, name, value);
    }
}

/// The object in this field, created when missing. `None`: another kind of value is there.
fn child<'a>(object: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    set(object, name, json!({}));
    object.get_mut(name).filter(|inner| inner.is_object())
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn secret(object: &mut Value) {
    set(object, "type", "Opaque");
    // Write-only: never stored, merged into `data` while decoding.
    let Some(Value::Object(plain)) = object
        .as_object_mut()
        .and_then(|fields| fields.remove("stringData"))
    else {
        return;
    };
    let Some(data) = child(object, "data") else { return };
    for (key, value) in plain {
        use base64::Engine as _;
        let value = value.as_str().unwrap_or_default();
        data[key] = base64::engine::general_purpose::STANDARD.encode(value).into();
    }
}

fn namespace(object: &mut Value) {
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if !name.is_empty() {
        let labels = child(object, "metadata").and_then(|metadata| child(metadata, "labels"));
        if let Some(labels) = labels {
            labels["kubernetes.io/metadata.name"] = name.into();
        }
    }
    phase(object, "Active");
}

fn phase(object: &mut Value, phase: &str) {
    if let Some(status) = child(object, "status") {
        set(status, "phase", phase);
    }
}

fn claim(object: &mut Value) {
    at(object, &["spec"], |spec| set(spec, "volumeMode", "Filesystem"));
    phase(object, "Pending");
}

fn volume(object: &mut Value) {
    at(object, &["spec"], |spec| {
        set(spec, "persistentVolumeReclaimPolicy", "Retain");
        set(spec, "volumeMode", "Filesystem");
        at(spec, &["hostPath"], pod::host_path);
    });
    phase(object, "Pending");
}

fn node_status(status: &mut Value) {
    if let Some(capacity) = status.get("capacity").cloned() {
        set(status, "allocatable", capacity);
    }
}

fn storage_class(object: &mut Value) {
    set(object, "reclaimPolicy", "Delete");
    set(object, "volumeBindingMode", "Immediate");
}

fn csi_driver(spec: &mut Value) {
    set(spec, "attachRequired", true);
    for flag in [
        "podInfoOnMount",
        "storageCapacity",
        "requiresRepublish",
        "seLinuxMount",
    ] {
        set(spec, flag, false);
    }
    set(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    set(spec, "volumeLifecycleModes", json!(["Persistent"]));
}

fn binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    at(object, &["roleRef"], |role| set(role, "apiGroup", GROUP));
    each(object, "subjects", |subject| {
        if matches!(text(subject, "kind"), "User" | "Group") {
            set(subject, "apiGroup", GROUP);
        }
    });
}

fn definition(spec: &mut Value) {
    set(spec, "conversion", json!({"strategy": "None"}));
    at(spec, &["names"], |names| {
        let kind = text(names, "kind").to_owned();
        if !kind.is_empty() {
            set(names, "singular", kind.to_lowercase());
            set(names, "listKind", format!("{kind}List"));
        }
    });
}

#[cfg(test)]
mod tests;
