//! Kinds of one's own: what a CustomResourceDefinition adds to the server.
//!
//! A write of one is defaulted ([`default`]), checked ([`validate`], [`validate_update`]) and accepted
//! ([`accept`]); its served versions are then kinds like any other ([`kinds`]). Versions are not converted:
//! strategy `Webhook` is answered with 501.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/apis/apiextensions`, `pkg/controller/status` and
//! `pkg/controller/establish`.

mod names;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::error::{ApiError, Reason};
use crate::kind::{Column, Custom, Kind, Scale, Scope};
use crate::schema::Schema;

pub use names::accept;
pub use validate::{validate, validate_update};

/// The group of CustomResourceDefinitions.
pub const GROUP: &str = "apiextensions.k8s.io";

/// The kinds of a CustomResourceDefinition, one for each served version, in the order of `spec.versions`.
///
/// Errors: `Invalid` with what Kubernetes would say of the definition; `NotImplemented` for conversion by webhook.
pub fn kinds(crd: &Value) -> Result<Vec<Kind>, ApiError> {
    let mut crd = crd.clone();
    default(&mut crd);
    let wrong = validate(&crd);
    let name = crd["metadata"]["name"].as_str().unwrap_or_default();
    if !wrong.is_empty() {
        return Err(ApiError::invalid(GROUP, "CustomResourceDefinition", name, &wrong));
    }
    if crd["spec"]["conversion"]["strategy"] == "Webhook" {
        let message =
            format!("customresourcedefinitions.{GROUP} \"{name}\": conversion by webhook is not implemented");
        return Err(ApiError::new(Reason::NotImplemented, message));
    }
    if names::is_established(&crd["status"]) == Some(false) {
        return Ok(Vec::new());
    }
    let versions = crd["spec"]["versions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    Ok(versions
        .iter()
        .filter(|version| version["served"] == true)
        .map(|version| kind(&crd["spec"], version))
        .collect())
}

fn kind(spec: &Value, version: &Value) -> Kind {
    let names = &spec["names"];
    let open_api = version["schema"]["openAPIV3Schema"].clone();
    let schema = Schema::read(&open_api);
    Kind {
        group: text(&spec["group"]),
        version: text(&version["name"]),
        kind: text(&names["kind"]),
        list_kind: text(&names["listKind"]),
        plural: text(&names["plural"]),
        singular: text(&names["singular"]),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        scope: if spec["scope"] == "Cluster" {
            Scope::Cluster
        } else {
            Scope::Namespaced
        },
        status_subresource: version["subresources"]["status"].is_object(),
        stored: version["storage"] == true,
        generation: true,
        custom: Some(Arc::new(Custom {
            open_api,
            schema,
            columns: columns(&version["additionalPrinterColumns"]),
            preserve_unknown_fields: spec["preserveUnknownFields"] == true,
            scale: scale(&version["subresources"]["scale"]),
            selectable_fields: version["selectableFields"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|field| undotted(&field["jsonPath"]))
                .collect(),
        })),
    }
}

fn scale(scale: &Value) -> Option<Scale> {
    let label_selector = undotted(&scale["labelSelectorPath"]);
    scale.is_object().then(|| Scale {
        spec_replicas: undotted(&scale["specReplicasPath"]),
        status_replicas: undotted(&scale["statusReplicasPath"]),
        label_selector: Some(label_selector).filter(|path| !path.is_empty()),
    })
}

/// `.spec.replicas` as `spec.replicas`.
fn undotted(path: &Value) -> String {
    let path = path.as_str().unwrap_or_default();
    path.strip_prefix('.').unwrap_or(path).to_owned()
}

/// The columns of a version; without any, the age.
fn columns(columns: &Value) -> Vec<Column> {
    let read = |column: &Value| Column {
        name: text(&column["name"]),
        kind: text(&column["type"]),
        format: text(&column["format"]),
        description: text(&column["description"]),
        priority: column["priority"]
            .as_i64()
            .and_then(|number| number.try_into().ok())
            .unwrap_or_default(),
        json_path: text(&column["jsonPath"]),
    };
    match columns.as_array().map(Vec::as_slice).unwrap_or_default() {
        [] => vec![Column {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            format: String::new(),
            description:
                "CreationTimestamp is a timestamp representing the server time when this object was \
                          created."
                    .to_owned(),
            priority: 0,
            json_path: ".metadata.creationTimestamp".to_owned(),
        }],
        columns => columns.iter().map(read).collect(),
    }
}

/// Fills in what a definition may leave out: singular, listKind, conversion, storedVersions.
pub fn default(crd: &mut Value) {
    if !crd["spec"].is_object() {
        return;
    }
    let spec = &mut crd["spec"];
    let kind = text(&spec["names"]["kind"]);
    let names = spec.get_mut("names").and_then(Value::as_object_mut);
    if let Some(names) = names.filter(|_| !kind.is_empty()) {
        let empty = |name: Option<&Value>| name.and_then(Value::as_str).is_none_or(str::is_empty);
        if empty(names.get("singular")) {
            names.insert("singular".to_owned(), kind.to_lowercase().into());
        }
        if empty(names.get("listKind")) {
            names.insert("listKind".to_owned(), format!("{kind}List").into());
        }
    }
    if spec["conversion"].is_null() {
        spec["conversion"] = json!({"strategy": "None"});
    }
    let mut versions = texts(&crd["status"]["storedVersions"]);
    if let Some(stored) = storage_version(crd).filter(|stored| !versions.contains(stored)) {
        versions.push(stored);
        if !crd["status"].is_object() {
            crd["status"] = json!({});
        }
        crd["status"]["storedVersions"] = json!(versions);
    }
}

fn storage_version(crd: &Value) -> Option<String> {
    let versions = crd["spec"]["versions"].as_array()?;
    let stored = versions.iter().find(|version| version["storage"] == true)?;
    stored["name"].as_str().map(str::to_owned)
}

/// [`accept`] of a definition that is alone in its group.
pub fn established(crd: &mut Value, now: Timestamp) {
    accept(crd, [], now);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().map(Vec::as_slice).unwrap_or_default();
    texts
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
