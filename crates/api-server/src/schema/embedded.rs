//! Embedded resources carry an apiVersion, a kind and metadata as every object does.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/apiserver/schema/objectmeta/validation.go`.

use serde_json::Value;

use crate::error::FieldError;

use super::names;
use super::node::{Additional, Node};
use super::path::Path;

/// Checks every embedded resource inside an object.
pub(super) fn check(node: &Node, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(fields) => {
            if node.embedded_resource {
                resource(value, path, errors);
            }
            for (name, value) in fields {
                match (&node.additional, node.properties.get(name)) {
                    (_, Some(child)) => check(child, value, &path.field(name), errors),
                    (Some(Additional::Schema(child)), None) => check(child, value, &path.key(name), errors),
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(child) = node.items.as_deref() else {
                return;
            };
            for (index, item) in items.iter().enumerate() {
                check(child, item, &path.index(index), errors);
            }
        }
        _ => {}
    }
}

fn resource(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let at = |name: &str| path.field(name).to_string();
    for name in ["apiVersion", "kind"] {
        match value.get(name) {
            None => errors.push(FieldError::required(at(name), "")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::invalid(at(name), &"".into(), "must not be empty"));
            }
            Some(Value::String(_)) => {}
            Some(other) => errors.push(FieldError::invalid(at(name), other, "must be a string")),
        }
    }
    if let Some(text) = value.get("apiVersion").and_then(Value::as_str)
        && text.split('/').count() > 2
    {
        let detail = format!("unexpected GroupVersion string: {text}");
        errors.push(FieldError::invalid(at("apiVersion"), &text.into(), &detail));
    }
    if let Some(text) = value
        .get("kind")
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
    {
        let wrong = names::dns_1035_label(&text.to_ascii_lowercase());
        if !wrong.is_empty() {
            let detail = format!(
                "may have mixed case, but should otherwise match: {}",
                wrong.join(",")
            );
            errors.push(FieldError::invalid(at("kind"), &text.into(), &detail));
        }
    }
    if let Some(metadata) = value.get("metadata") {
        check_metadata(metadata, &path.field("metadata"), errors);
    }
}

fn check_metadata(metadata: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !metadata.is_object() {
        let detail = "json: cannot unmarshal into Go value of type v1.ObjectMeta";
        errors.push(FieldError::invalid(path.to_string(), metadata, detail));
        return;
    }
    if let Some(name) = metadata.get("name").and_then(Value::as_str) {
        for why in names::path_segment(name) {
            errors.push(FieldError::invalid(
                path.field("name").to_string(),
                &name.into(),
                &why,
            ));
        }
    }
    if let Some(namespace) = metadata
        .get("namespace")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
    {
        for why in names::dns_1123_label(namespace) {
            errors.push(FieldError::invalid(
                path.field("namespace").to_string(),
                &namespace.into(),
                &why,
            ));
        }
    }
    for (field, is_label) in [("labels", true), ("annotations", false)] {
        let at = path.field(field).to_string();
        for (key, value) in metadata
            .get(field)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            // Annotation keys are checked in lower case: older objects have capitals there.
            let checked = if is_label { key.clone() } else { key.to_lowercase() };
            for why in names::qualified_name(&checked) {
                errors.push(FieldError::invalid(at.as_str(), &key.as_str().into(), &why));
            }
            for why in value
                .as_str()
                .filter(|_| is_label)
                .map(names::label_value)
                .unwrap_or_default()
            {
                errors.push(FieldError::invalid(at.as_str(), value, &why));
            }
        }
    }
}
