//! CRDs from our types, shaped as Velero's tools shape theirs.
//!
//! schemars writes what serde accepts; controller-gen writes what the Go markers say. Our types accept more than the
//! CRD promises (a missing required field, a `null`), so the promise is written beside each field instead:
//! `x-required` (controller-gen: no `omitempty`) and `x-nullable` (`+nullable`). [`structural`] turns both into what
//! the API server reads and drops what schemars guessed. Sample of the result: `deploy/crds/`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceValidation,
};
use kube::CustomResourceExt;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::labels::{COMPONENT, COMPONENT_VELERO};
use crate::{v1, v2alpha1};

/// Every CRD that `velero install` applies, in Velero's order, labelled `component: velero`.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        crd::<v1::BackupRepository, v1::BackupRepositorySpec, v1::BackupRepositoryStatus>(),
        crd::<v1::Backup, v1::BackupSpec, v1::BackupStatus>(),
        crd::<v1::BackupStorageLocation, v1::BackupStorageLocationSpec, v1::BackupStorageLocationStatus>(),
        crd::<v1::DeleteBackupRequest, v1::DeleteBackupRequestSpec, v1::DeleteBackupRequestStatus>(),
        crd::<v1::DownloadRequest, v1::DownloadRequestSpec, v1::DownloadRequestStatus>(),
        crd::<v1::PodVolumeBackup, v1::PodVolumeBackupSpec, v1::PodVolumeBackupStatus>(),
        crd::<v1::PodVolumeRestore, v1::PodVolumeRestoreSpec, v1::PodVolumeRestoreStatus>(),
        crd::<v1::Restore, v1::RestoreSpec, v1::RestoreStatus>(),
        crd::<v1::Schedule, v1::ScheduleSpec, v1::ScheduleStatus>(),
        crd::<v1::ServerStatusRequest, v1::ServerStatusRequestSpec, v1::ServerStatusRequestStatus>(),
        crd::<v1::VolumeSnapshotLocation, v1::VolumeSnapshotLocationSpec, v1::VolumeSnapshotLocationStatus>(),
        crd::<v2alpha1::DataDownload, v2alpha1::DataDownloadSpec, v2alpha1::DataDownloadStatus>(),
        crd::<v2alpha1::DataUpload, v2alpha1::DataUploadSpec, v2alpha1::DataUploadStatus>(),
    ]
}

fn crd<K: CustomResourceExt, Spec: JsonSchema, Status: JsonSchema>() -> CustomResourceDefinition {
    let mut crd = K::crd();
    crd.metadata.labels = Some([(COMPONENT.to_owned(), COMPONENT_VELERO.to_owned())].into());
    let schema = json!({
        "type": "object",
        "description": format!("{} of Velero's API.", crd.spec.names.kind),
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this object's schema."},
            "kind": {"type": "string", "description": "Kind of this object."},
            "metadata": {"type": "object"},
            "spec": schema_of::<Spec>(),
            "status": schema_of::<Status>(),
        },
    });
    let schema =
        serde_json::from_value(schema).expect("our types give a schema that JSONSchemaProps can hold");
    // kube leaves out what the API server would fill in; Velero's files have it.
    crd.spec.names.list_kind = Some(format!("{}List", crd.spec.names.kind));
    let version = crd
        .spec
        .versions
        .first_mut()
        .expect("kube derives exactly one version");
    version.schema = Some(CustomResourceValidation {
        open_api_v3_schema: Some(schema),
    });
    // No Velero CRD has the status subresource: status is written through the main resource.
    version.subresources = None;
    crd
}

fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    structural(&mut schema);
    schema
}

/// Rewrites one schema object and everything below it. See the head of this file.
fn structural(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    unwrap_option(object);
    for guessed in [
        "title", "required", "default", "nullable", "minimum", "maximum", "$schema",
    ] {
        object.remove(guessed);
    }
    if object.get("format").is_some_and(|format| format == "int32") {
        object.remove("format");
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        let mut required = Vec::new();
        for (name, property) in properties.iter_mut() {
            structural(property);
            if let Some(property) = property.as_object_mut()
                && property.remove("x-required").is_some()
            {
                required.push(Value::String(name.clone()));
            }
        }
        if !required.is_empty() {
            object.insert("required".into(), required.into());
        }
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(nested) = object.get_mut(nested) {
            structural(nested);
        }
    }
    if object.remove("x-nullable").is_some() {
        object.insert("nullable".into(), true.into());
    }
    if let Some(default) = object.remove("x-default") {
        object.insert("default".into(), default);
    }
}

/// schemars writes `Option<T>` as a type list, an enum with `null` or an `anyOf`; the API server wants plain `T`.
fn unwrap_option(object: &mut Map<String, Value>) {
    for list in ["anyOf", "allOf", "oneOf"] {
        if let Some(Value::Array(branches)) = object.remove(list) {
            for branch in branches {
                if let Value::Object(branch) = branch
                    && branch.get("type").is_some_and(|kind| kind != "null")
                {
                    for (key, value) in branch {
                        object.entry(key).or_insert(value);
                    }
                }
            }
        }
    }
    if let Some(Value::Array(kinds)) = object.get("type") {
        let kind = kinds
            .iter()
            .find(|kind| *kind != "null")
            .cloned()
            .unwrap_or_else(|| "object".into());
        object.insert("type".into(), kind);
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    // An `i32` of Rust is Go's plain `int`.
    if object.get("additionalProperties").is_some_and(Value::is_boolean) {
        object.remove("additionalProperties");
    }
}

// Kubernetes' own types, as controller-gen writes them (k8s-openapi's schemas lack the list and map types).

pub(crate) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchExpressions": {
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "properties": {
                        "key": {"type": "string", "x-required": true},
                        "operator": {"type": "string", "x-required": true},
                        "values": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"},
                    },
                },
            },
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    })
}

pub(crate) fn label_selectors(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": label_selector(generator)})
}

pub(crate) fn secret_key_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "key": {"type": "string", "x-required": true},
            "name": {"type": "string", "x-default": ""},
            "optional": {"type": "boolean"},
        },
    })
}

pub(crate) fn typed_local_object_reference(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "apiGroup": {"type": "string"},
            "kind": {"type": "string", "x-required": true},
            "name": {"type": "string", "x-required": true},
        },
    })
}

pub(crate) fn object_reference(_: &mut SchemaGenerator) -> Schema {
    let fields = [
        "apiVersion",
        "fieldPath",
        "kind",
        "name",
        "namespace",
        "resourceVersion",
        "uid",
    ];
    let properties: Map<String, Value> = fields
        .iter()
        .map(|name| ((*name).to_owned(), json!({"type": "string"})))
        .collect();
    json_schema!({"type": "object", "x-kubernetes-map-type": "atomic", "properties": properties})
}

/// A list of objects whose content the CRD leaves open (init containers of restore hooks).
pub(crate) fn free_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-preserve-unknown-fields": true,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}

/// Base64 text, as Go writes `[]byte`.
pub(crate) fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "byte"})
}
