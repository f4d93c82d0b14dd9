//! Objects as their user sees them: without what the API server, the kubelet and controllers set, so that a restored
//! application can be compared with the one that was backed up.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::Cluster;

/// Made and removed by controllers at their own will: events, and what is derived of Services.
const LEFT_OUT: &[&str] = &["events", "events.events.k8s.io", "endpoints"];
/// Controllers whose EndpointSlices are derived of a Service and its pods.
const DERIVED_SLICES: &[&str] = &[
    "endpointslice-controller.k8s.io",
    "endpointslicemirroring-controller.k8s.io",
];
/// Of the metadata; owner references keep kind and name, see [`canonical`].
const SET_BY_THE_SERVER: &[&str] = &[
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "generateName",
];
/// Labels that say where an object came from, or repeat the namespace's name.
const LABELS: &[&str] = &[
    "velero.io/backup-name",
    "velero.io/restore-name",
    "kubernetes.io/metadata.name",
];
/// By these a Job knows its pods; made from its UID.
const JOB_LABELS: &[&str] = &["controller-uid", "batch.kubernetes.io/controller-uid"];

/// Objects by `resource.group namespace/name`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dump {
    objects: BTreeMap<String, Value>,
}

impl Dump {
    /// Everything in these namespaces (each with the name that it is called by in the dump) and these cluster-scoped objects.
    pub fn take(
        cluster: &Cluster,
        namespaces: &[(&str, &str)],
        cluster_scoped: &[(&str, String)],
    ) -> Result<Self> {
        let mut dump = Self::default();
        let resources = namespaced_resources(cluster)?;
        for (namespace, _) in namespaces {
            dump.add(cluster, &resources, &["--namespace", namespace], namespaces)?;
            dump.add(cluster, "namespaces", &[namespace], namespaces)?;
        }
        for (resource, name) in cluster_scoped {
            dump.add(cluster, resource, &[name, "--ignore-not-found"], namespaces)?;
        }
        Ok(dump)
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// True for a dump of nothing.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Number of objects of one resource, as `resource.group`.
    pub fn count(&self, resource: &str) -> usize {
        let prefix = format!("{resource} ");
        self.objects.keys().filter(|key| key.starts_with(&prefix)).count()
    }

    /// What differs, a line each: missing and new objects, and the paths of changed fields. Values are shown (nothing of these
    /// scenarios is secret).
    pub fn differences(&self, after: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (key, before) in &self.objects {
            match after.objects.get(key) {
                None => lines.push(format!("{key}: missing afterwards")),
                Some(after) => compare(key, before, after, &mut lines),
            }
        }
        let new = after
            .objects
            .keys()
            .filter(|key| !self.objects.contains_key(*key));
        lines.extend(new.map(|key| format!("{key}: only afterwards")));
        lines
    }

    /// What is to be found in another cluster: every namespace has the authority of its own cluster there, which a controller
    /// of Kubernetes writes and mends (ConfigMap `kube-root-ca.crt`).
    pub fn with_authority(mut self, certificate: &Value) -> Self {
        for (key, object) in &mut self.objects {
            if key.starts_with("configmaps ") && key.ends_with("/kube-root-ca.crt") {
                object["data"]["ca.crt"] = certificate.clone();
            }
        }
        self
    }

    /// Fails with the first differences.
    pub fn must_equal(&self, after: &Self) -> Result<()> {
        let differences = self.differences(after);
        ensure!(
            differences.is_empty(),
            "{} differences among {} objects:\n{}",
            differences.len(),
            self.len(),
            differences
                .iter()
                .take(30)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n")
        );
        Ok(())
    }

    fn add(
        &mut self,
        cluster: &Cluster,
        resources: &str,
        words: &[&str],
        names: &[(&str, &str)],
    ) -> Result<()> {
        let said = cluster.kubectl(&[&["get", resources, "--output=json"], words].concat())?;
        if said.trim().is_empty() {
            return Ok(());
        }
        let answer: Value = serde_json::from_str(&said).context("kubectl's answer is not JSON")?;
        let items = match answer["items"].as_array() {
            Some(items) => items.clone(),
            None => vec![answer],
        };
        for mut object in items.into_iter().filter(|object| !is_derived(object)) {
            canonical(&mut object, names);
            self.objects.insert(key(&object), object);
        }
        Ok(())
    }
}

/// All namespaced resources of the cluster that a user can make, with commas between.
fn namespaced_resources(cluster: &Cluster) -> Result<String> {
    let said = cluster.kubectl(&[
        "api-resources",
        "--namespaced=true",
        "--verbs=list,create",
        "--output=name",
    ])?;
    let names: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|name| !name.is_empty() && !LEFT_OUT.contains(name))
        .collect();
    Ok(names.join(","))
}

fn is_derived(object: &Value) -> bool {
    let by = object["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"].as_str();
    object["kind"] == "EndpointSlice" && by.is_some_and(|by| DERIVED_SLICES.contains(&by))
}

/// `deployments.apps shop/web`. The plural is the kind's in lower case with the usual ending, which is right for all that
/// scenarios use.
fn key(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let plural = if let Some(stem) = kind.strip_suffix('y') {
        format!("{stem}ies")
    } else if kind.ends_with("ss") {
        format!("{kind}es")
    } else {
        format!("{kind}s")
    };
    let group = object["apiVersion"]
        .as_str()
        .and_then(|version| version.split_once('/'))
        .map(|(group, _)| format!(".{group}"))
        .unwrap_or_default();
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{plural}{group} {namespace}/{name}"),
        None => format!("{plural}{group} {name}"),
    }
}

/// Takes away what is not the user's, and calls namespaces by their names in the dump.
fn canonical(object: &mut Value, names: &[(&str, &str)]) {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    metadata(&mut object["metadata"], kind == "Namespace", names);
    match kind.as_str() {
        "Service" => service(&mut object["spec"]),
        "Pod" => remove(&mut object["spec"], &["nodeName"]),
        "Secret" => token(object),
        "Job" => {
            remove(&mut object["spec"]["selector"]["matchLabels"], JOB_LABELS);
            remove(&mut object["spec"]["template"]["metadata"]["labels"], JOB_LABELS);
            remove(&mut object["metadata"]["labels"], JOB_LABELS);
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            for subject in object["subjects"].as_array_mut().into_iter().flatten() {
                rename(subject, "namespace", names);
            }
        }
        _ => {}
    }
    drop_empty(&mut object["metadata"]);
}

fn metadata(metadata: &mut Value, of_a_namespace: bool, names: &[(&str, &str)]) {
    remove(metadata, SET_BY_THE_SERVER);
    remove(&mut metadata["labels"], LABELS);
    rename(metadata, "namespace", names);
    if of_a_namespace {
        rename(metadata, "name", names);
    }
    // That a pod belongs to its ReplicaSet again is worth comparing; by which UID is not.
    for owner in metadata["ownerReferences"].as_array_mut().into_iter().flatten() {
        remove(owner, &["uid"]);
    }
}

/// Addresses and ports are the cluster's to give; that there is none (`None`) is the user's.
fn service(spec: &mut Value) {
    if spec["clusterIP"] != "None" {
        remove(spec, &["clusterIP", "clusterIPs"]);
    }
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        remove(port, &["nodePort"]);
    }
}

/// The token of a ServiceAccount is made anew for the new one.
fn token(secret: &mut Value) {
    if secret["type"] == "kubernetes.io/service-account-token" {
        remove(&mut secret["data"], &["token", "ca.crt", "namespace"]);
        remove(
            &mut secret["metadata"]["annotations"],
            &["kubernetes.io/service-account.uid"],
        );
    }
}

fn remove(object: &mut Value, fields: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        for field in fields {
            object.remove(*field);
        }
    }
}

fn rename(object: &mut Value, field: &str, names: &[(&str, &str)]) {
    let Some(now) = object.get(field).and_then(Value::as_str) else {
        return;
    };
    if let Some((_, called)) = names.iter().find(|(actual, _)| *actual == now) {
        object[field] = json!(called);
    }
}

/// `labels: {}` and no labels mean the same.
fn drop_empty(metadata: &mut Value) {
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.retain(|_, value| !value.is_null() && !value.as_object().is_some_and(Map::is_empty));
    }
}

fn compare(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for (field, value) in old {
                compare(
                    &format!("{path} .{field}"),
                    value,
                    new.get(field).unwrap_or(&Value::Null),
                    lines,
                );
            }
            for (field, value) in new.iter().filter(|(field, _)| !old.contains_key(*field)) {
                compare(&format!("{path} .{field}"), &Value::Null, value, lines);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path} [{at}]"), old, new, lines);
            }
        }
        _ if before != after => lines.push(format!("{path}: {before} became {after}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(object: Value) -> Dump {
        let mut object = object;
        canonical(&mut object, &[("new", "old")]);
        Dump {
            objects: BTreeMap::from([(key(&object), object)]),
        }
    }

    #[test]
    fn what_the_server_sets_and_where_it_was_restored_to_makes_no_difference() {
        let before = of(
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {
            "name": "web-1", "namespace": "old", "uid": "1", "resourceVersion": "7", "labels": {"app": "web"},
            "ownerReferences": [{"kind": "Deployment", "name": "web", "uid": "2"}]},
            "spec": {"replicas": 2}, "status": {"replicas": 2}}),
        );
        let after = of(
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {
            "name": "web-1", "namespace": "new", "uid": "9",
            "labels": {"app": "web", "velero.io/restore-name": "r"},
            "ownerReferences": [{"kind": "Deployment", "name": "web", "uid": "8"}]},
            "spec": {"replicas": 2}}),
        );
        assert_eq!(before.differences(&after), Vec::<String>::new());
        assert_eq!(before.count("replicasets.apps"), 1);
    }

    #[test]
    fn a_lost_owner_a_changed_value_and_another_name_are_seen() {
        let pod = |value: u32, owners: Value| {
            of(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "namespace": "old", "ownerReferences": owners}, "spec": {"a": [value]}}))
        };
        let before = pod(1, json!([{"kind": "ReplicaSet", "name": "web-1", "uid": "1"}]));
        let after = pod(2, Value::Null);
        let lines = before.differences(&after);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[1], "pods old/p .spec .a [0]: 1 became 2");
        let other =
            of(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q", "namespace": "old"}}));
        assert_eq!(before.differences(&other).len(), 2);
    }

    #[test]
    fn resources_are_called_by_their_plural() {
        for (kind, group, plural) in [
            (
                "NetworkPolicy",
                "networking.k8s.io/v1",
                "networkpolicies.networking.k8s.io",
            ),
            ("Ingress", "networking.k8s.io/v1", "ingresses.networking.k8s.io"),
            ("ConfigMap", "v1", "configmaps"),
            (
                "PriorityClass",
                "scheduling.k8s.io/v1",
                "priorityclasses.scheduling.k8s.io",
            ),
        ] {
            let object = json!({"apiVersion": group, "kind": kind, "metadata": {"name": "x"}});
            assert_eq!(key(&object), format!("{plural} x"));
        }
    }
}
