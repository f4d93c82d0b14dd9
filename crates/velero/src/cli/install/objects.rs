//! The objects of an installation, in the order in which they are created (velero-behaviour.md section 11).
//!
//! Neighbours: `server.rs` and `node_agent.rs` hold the two workloads, `data_mover_role.rs` what the data mover pods
//! may do. Mirrors `pkg/install/resources.go`, `AllResources`.

use std::collections::BTreeMap;

use caravel_api::labels::{COMPONENT, COMPONENT_VELERO, DEFAULT_NAMESPACE};
use caravel_api::v1::{
    BackupStorageLocation, BackupStorageLocationSpec, ObjectStorageLocation, VolumeSnapshotLocation,
    VolumeSnapshotLocationSpec,
};
use k8s_openapi::ByteString;
use serde::Serialize;
use serde_json::{Value, json};

use super::options::{Location, Options, SnapshotLocation};
use super::{data_mover_role, leader_election_role, node_agent, server};

/// Name and key of the Secret with the provider's credentials.
pub const CREDENTIALS_SECRET: &str = "cloud-credentials";
/// Key in [`CREDENTIALS_SECRET`], and the file's name in the pods.
pub const CREDENTIALS_KEY: &str = "cloud";
/// ServiceAccount of server and node agent.
pub const SERVICE_ACCOUNT: &str = "velero";

/// The CustomResourceDefinitions.
pub fn crds() -> Vec<Value> {
    caravel_api::crds().iter().map(to_value).collect()
}

/// Everything else.
pub fn objects(options: &Options) -> Vec<Value> {
    let namespace = options.namespace.as_str();
    let mut objects = vec![annotated(
        self::namespace(namespace),
        &options.platform.namespace_annotations,
    )];
    objects.extend(accounts(options));
    if let Some(credentials) = &options.credentials {
        objects.push(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": metadata(CREDENTIALS_SECRET, namespace),
            "data": {CREDENTIALS_KEY: to_value(&ByteString(credentials.clone()))},
        }));
    }
    if let Some(password) = &options.repo_password {
        objects.push(password.secret(namespace));
    }
    if let Some(location) = &options.location {
        objects.push(backup_storage_location(namespace, location));
    }
    if let Some(location) = &options.snapshot_location {
        objects.push(volume_snapshot_location(namespace, location));
    }
    objects.push(server::deployment(options));
    if options.use_node_agent {
        objects.push(node_agent::daemon_set(options));
    }
    objects
}

/// Who the pods are, and what they may do.
fn accounts(options: &Options) -> Vec<Value> {
    let (namespace, platform) = (options.namespace.as_str(), &options.platform);
    let mut objects = Vec::new();
    if platform.makes_service_account() {
        objects.push(cluster_role_binding(namespace));
        objects.push(
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(SERVICE_ACCOUNT, namespace)}),
        );
    }
    objects.extend(data_mover_role::objects(namespace));
    // The data mover reaches the bucket too: an identity that a cloud gives by annotation must be its as well.
    for account in objects
        .iter_mut()
        .filter(|object| object["kind"] == "ServiceAccount")
    {
        *account = annotated(account.take(), &platform.service_account_annotations);
    }
    objects.extend(leader_election_role::objects(
        namespace,
        platform.service_account(),
    ));
    objects
}

fn annotated(mut object: Value, annotations: &BTreeMap<String, String>) -> Value {
    if !annotations.is_empty() {
        object["metadata"]["annotations"] = json!(annotations);
    }
    object
}

/// Name, namespace and the label that every object of an installation has.
pub fn metadata(name: &str, namespace: &str) -> Value {
    json!({"name": name, "namespace": namespace, "labels": {COMPONENT: COMPONENT_VELERO}})
}

/// An object of our own types as JSON.
fn to_value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("API objects hold only string keys")
}

fn namespace(name: &str) -> Value {
    let mut labels = json!({COMPONENT: COMPONENT_VELERO});
    for mode in ["enforce", "audit", "warn"] {
        labels[format!("pod-security.kubernetes.io/{mode}")] = "privileged".into();
        labels[format!("pod-security.kubernetes.io/{mode}-version")] = "latest".into();
    }
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}, "spec": {}})
}

/// One of its own for each installation of a cluster.
pub fn cluster_role_binding_name(namespace: &str) -> String {
    if namespace == DEFAULT_NAMESPACE {
        DEFAULT_NAMESPACE.to_owned()
    } else {
        format!("{DEFAULT_NAMESPACE}-{namespace}")
    }
}

/// The server reads and creates every kind of object, so it needs every right; as Velero's.
fn cluster_role_binding(namespace: &str) -> Value {
    let name = cluster_role_binding_name(namespace);
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": {COMPONENT: COMPONENT_VELERO}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": namespace}],
    })
}

fn backup_storage_location(namespace: &str, location: &Location) -> Value {
    let spec = BackupStorageLocationSpec {
        provider: location.provider.clone(),
        default: true,
        config: location.config.clone(),
        object_storage: ObjectStorageLocation {
            bucket: location.bucket.clone(),
            prefix: location.prefix.clone(),
            ca_cert: location.ca_cert.clone().map(ByteString),
            ca_cert_ref: None,
        },
        ..BackupStorageLocationSpec::default()
    };
    labelled(to_value(&BackupStorageLocation::new("default", spec)), namespace)
}

fn volume_snapshot_location(namespace: &str, location: &SnapshotLocation) -> Value {
    let spec = VolumeSnapshotLocationSpec {
        provider: location.provider.clone(),
        config: location.config.clone(),
        ..VolumeSnapshotLocationSpec::default()
    };
    labelled(to_value(&VolumeSnapshotLocation::new("default", spec)), namespace)
}

fn labelled(mut object: Value, namespace: &str) -> Value {
    object["metadata"] = metadata(object["metadata"]["name"].as_str().unwrap_or_default(), namespace);
    object
}
