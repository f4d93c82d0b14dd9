//! What an administrator installs for the storage: the snapshot API's CustomResourceDefinitions, a StorageClass, a
//! VolumeSnapshotClass and the CSIDriver. Source of the definitions: kubernetes-csi/external-snapshotter v8
//! `client/apis/volumesnapshot/v1/types.go`.

use std::time::Duration;

use k8s_openapi::api::storage::v1::{CSIDriver, StorageClass};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{DRIVER, SNAPSHOT_CLASS, STORAGE_CLASS};

const ESTABLISHED_WITHIN: Duration = Duration::from_secs(10);

/// Why the storage's objects could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("cannot create {object}: {source}")]
    Create {
        object: String,
        source: Box<kube::Error>,
    },
    #[error("CustomResourceDefinition {name} is not established after {} s", ESTABLISHED_WITHIN.as_secs())]
    NotEstablished { name: String },
    #[error("the definition of {object} is wrong: {source}")]
    Definition {
        object: String,
        source: serde_json::Error,
    },
}

/// Creates them; what exists already is left as it is.
///
/// # Errors
/// [`InstallError`], at the first that is refused.
pub async fn install(client: &Client) -> Result<(), InstallError> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in [
        snapshot_definition(),
        content_definition(),
        snapshot_class_definition(),
    ] {
        let name = create(&definitions, definition).await?;
        let established = await_condition(definitions.clone(), &name, conditions::is_crd_established());
        match tokio::time::timeout(ESTABLISHED_WITHIN, established).await {
            Ok(Ok(_)) => {}
            _ => return Err(InstallError::NotEstablished { name }),
        }
    }
    create(&Api::<StorageClass>::all(client.clone()), storage_class()).await?;
    create(&Api::<CSIDriver>::all(client.clone()), csi_driver()).await?;
    let resource = ApiResource {
        group: "snapshot.storage.k8s.io".into(),
        version: "v1".into(),
        api_version: "snapshot.storage.k8s.io/v1".into(),
        kind: "VolumeSnapshotClass".into(),
        plural: "volumesnapshotclasses".into(),
    };
    let classes: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    create(&classes, snapshot_class()).await.map(drop)
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<String, InstallError>
where
    K: kube::Resource + Clone + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let said = format!("{} {name}", object["kind"].as_str().unwrap_or_default());
    let object: K = serde_json::from_value(object).map_err(|source| InstallError::Definition {
        object: said.clone(),
        source,
    })?;
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(name),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(name),
        Err(source) => Err(InstallError::Create {
            object: said,
            source: Box::new(source),
        }),
    }
}

fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": DRIVER, "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate", "allowVolumeExpansion": true,
    })
}

fn snapshot_class() -> Value {
    json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
        "metadata": {
            "name": SNAPSHOT_CLASS,
            "annotations": {"snapshot.storage.kubernetes.io/is-default-class": "true"},
        },
        "driver": DRIVER, "deletionPolicy": "Delete",
    })
}

fn csi_driver() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER},
        "spec": {
            "attachRequired": false, "podInfoOnMount": false, "fsGroupPolicy": "File",
            "volumeLifecycleModes": ["Persistent"],
        },
    })
}

fn snapshot_definition() -> Value {
    let source = json!({
        "type": "object",
        "description": "Where the snapshot comes from; exactly one of the two.",
        "properties": {
            "persistentVolumeClaimName": {"type": "string", "description": "Cut from this claim of the namespace."},
            "volumeSnapshotContentName": {"type": "string", "description": "This content, which exists already."},
        },
        "oneOf": [{"required": ["persistentVolumeClaimName"]}, {"required": ["volumeSnapshotContentName"]}],
    });
    let status = json!({
        "boundVolumeSnapshotContentName": {"type": "string"},
        "creationTime": {"type": "string", "format": "date-time"},
        "error": error(),
        "readyToUse": {"type": "boolean"},
        "restoreSize": {
            "type": "string",
            "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
        },
        "volumeGroupSnapshotName": {"type": "string"},
    });
    let schema = schema(
        json!({"source": source, "volumeSnapshotClassName": {"type": "string"}}),
        &["source"],
        status,
    );
    let columns = json!([
        column("ReadyToUse", "boolean", ".status.readyToUse"),
        column("SourcePVC", "string", ".spec.source.persistentVolumeClaimName"),
        column(
            "SourceSnapshotContent",
            "string",
            ".spec.source.volumeSnapshotContentName"
        ),
        column("RestoreSize", "string", ".status.restoreSize"),
        column("SnapshotClass", "string", ".spec.volumeSnapshotClassName"),
        column(
            "SnapshotContent",
            "string",
            ".status.boundVolumeSnapshotContentName"
        ),
        column("CreationTime", "date", ".status.creationTime"),
        column("Age", "date", ".metadata.creationTimestamp"),
    ]);
    definition(
        "VolumeSnapshot",
        "volumesnapshots",
        &["vs"],
        "Namespaced",
        schema,
        columns,
        true,
    )
}

fn content_definition() -> Value {
    let of = json!({"type": "object", "x-kubernetes-map-type": "atomic", "properties": {
        "apiVersion": {"type": "string"}, "fieldPath": {"type": "string"}, "kind": {"type": "string"},
        "name": {"type": "string"}, "namespace": {"type": "string"}, "resourceVersion": {"type": "string"},
        "uid": {"type": "string"},
    }});
    let source = json!({
        "type": "object",
        "description": "The volume to cut, or the snapshot that exists; exactly one of the two.",
        "properties": {"snapshotHandle": {"type": "string"}, "volumeHandle": {"type": "string"}},
        "oneOf": [{"required": ["volumeHandle"]}, {"required": ["snapshotHandle"]}],
    });
    let spec = json!({
        "deletionPolicy": {"type": "string", "enum": ["Delete", "Retain"]},
        "driver": {"type": "string"},
        "source": source,
        "sourceVolumeMode": {"type": "string"},
        "volumeSnapshotClassName": {"type": "string"},
        "volumeSnapshotRef": of,
    });
    let status = json!({
        "creationTime": {"type": "integer", "format": "int64", "description": "Nanoseconds since 1970."},
        "error": error(),
        "readyToUse": {"type": "boolean"},
        "restoreSize": {"type": "integer", "format": "int64", "minimum": 0, "description": "Bytes."},
        "snapshotHandle": {"type": "string"},
        "volumeGroupSnapshotHandle": {"type": "string"},
    });
    let schema = schema(
        spec,
        &["deletionPolicy", "driver", "source", "volumeSnapshotRef"],
        status,
    );
    let columns = json!([
        column("ReadyToUse", "boolean", ".status.readyToUse"),
        column("RestoreSize", "integer", ".status.restoreSize"),
        column("DeletionPolicy", "string", ".spec.deletionPolicy"),
        column("Driver", "string", ".spec.driver"),
        column("VolumeSnapshotClass", "string", ".spec.volumeSnapshotClassName"),
        column("VolumeSnapshot", "string", ".spec.volumeSnapshotRef.name"),
        column(
            "VolumeSnapshotNamespace",
            "string",
            ".spec.volumeSnapshotRef.namespace"
        ),
        column("Age", "date", ".metadata.creationTimestamp"),
    ]);
    let names = &["vsc", "vscs"];
    definition(
        "VolumeSnapshotContent",
        "volumesnapshotcontents",
        names,
        "Cluster",
        schema,
        columns,
        true,
    )
}

fn snapshot_class_definition() -> Value {
    let schema = json!({
        "type": "object",
        "description": "How snapshots are cut and deleted.",
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "deletionPolicy": {"type": "string", "enum": ["Delete", "Retain"]},
            "driver": {"type": "string"},
            "parameters": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "required": ["deletionPolicy", "driver"],
    });
    let columns = json!([
        column("Driver", "string", ".driver"),
        column("DeletionPolicy", "string", ".deletionPolicy"),
        column("Age", "date", ".metadata.creationTimestamp"),
    ]);
    let names = &["vsclass", "vsclasses"];
    definition(
        "VolumeSnapshotClass",
        "volumesnapshotclasses",
        names,
        "Cluster",
        schema,
        columns,
        false,
    )
}

fn error() -> Value {
    json!({"type": "object", "properties": {
        "message": {"type": "string"}, "time": {"type": "string", "format": "date-time"},
    }})
}

fn column(name: &str, kind: &str, path: &str) -> Value {
    json!({"name": name, "type": kind, "jsonPath": path})
}

fn schema(spec: Value, required: &[&str], status: Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "spec": {"type": "object", "properties": spec, "required": required},
            "status": {"type": "object", "properties": status},
        },
        "required": ["spec"],
    })
}

fn definition(
    kind: &str,
    plural: &str,
    short: &[&str],
    scope: &str,
    schema: Value,
    columns: Value,
    has_status: bool,
) -> Value {
    let subresources = if has_status {
        json!({"status": {}})
    } else {
        json!({})
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.snapshot.storage.k8s.io"),
            "annotations": {
                "api-approved.kubernetes.io": "https://github.com/kubernetes-csi/external-snapshotter/pull/814",
            },
        },
        "spec": {
            "group": "snapshot.storage.k8s.io", "scope": scope,
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": plural,
                "singular": kind.to_lowercase(), "shortNames": short,
            },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": subresources,
                "schema": {"openAPIV3Schema": schema}, "additionalPrinterColumns": columns,
            }],
        },
    })
}
