//! Schemas of custom kinds: as their definitions say, with apiVersion, kind and metadata added.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/controller/openapi/builder`.

use serde_json::{Map, Value, json};

use super::builtin::resource_field;
use super::list_schema;
use crate::kind::Kind;

/// `io.velero.v1.Backup` of the group `velero.io`.
pub(super) fn name(kind: &Kind) -> String {
    let reversed: Vec<&str> = kind.group.rsplit('.').collect();
    format!("{}.{}.{}", reversed.join("."), kind.version, kind.kind)
}

/// The schemas of a kind and of its list.
pub(super) fn schemas(kind: &Kind) -> Vec<(String, Value)> {
    let name = name(kind);
    let mut schema = kind
        .custom
        .as_ref()
        .map(|custom| custom.open_api.clone())
        .unwrap_or_default();
    if !schema.is_object() {
        schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    publish(&mut schema);
    add_resource_fields(&mut schema);
    schema["x-kubernetes-group-version-kind"] =
        json!([{"group": kind.group, "version": kind.version, "kind": kind.kind}]);
    let list = list_schema(kind, &name, &["apiVersion", "kind"].map(resource_field));
    let list_name = match name.strip_suffix(kind.kind.as_str()) {
        Some(start) => format!("{start}{}", kind.list_kind),
        None => format!("{name}List"),
    };
    vec![(name, schema), (list_name, list)]
}

fn add_resource_fields(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    let properties = fields.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        for field in ["apiVersion", "kind", "metadata"] {
            properties.insert(field.to_owned(), resource_field(field));
        }
    }
}

/// Says int-or-string in OpenAPI's own words too, and gives embedded resources their fields.
fn publish(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    if fields.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) && !fields.contains_key("anyOf") {
        fields.insert(
            "anyOf".to_owned(),
            json!([{"type": "integer"}, {"type": "string"}]),
        );
    }
    for keyword in ["properties", "patternProperties"] {
        let children = fields.get_mut(keyword).and_then(Value::as_object_mut);
        children.into_iter().flat_map(Map::values_mut).for_each(publish);
    }
    for keyword in ["items", "additionalProperties", "not"] {
        if let Some(child) = fields.get_mut(keyword) {
            publish(child);
        }
    }
    if fields.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true)) {
        add_resource_fields(schema);
    }
}
