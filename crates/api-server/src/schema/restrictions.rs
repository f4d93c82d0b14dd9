//! What Kubernetes forbids in a schema although JSON Schema has it, and what its own keywords need.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/apis/apiextensions/validation/validation.go`
//! (`ValidateCustomResourceDefinitionOpenAPISchema`).

use serde_json::Value;

use crate::error::FieldError;

use super::node::{Additional, Node};
use super::path::Path;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

/// Keywords that may stand at the root beside a status subresource, as the Go fields that the message names.
const AT_ROOT: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength \
                       MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties \
                       ExternalDocs Example XPreserveUnknownFields XValidations]";
const NOT_AT_ROOT: [&str; 16] = [
    "$ref",
    "$schema",
    "additionalProperties",
    "allOf",
    "anyOf",
    "default",
    "definitions",
    "dependencies",
    "enum",
    "id",
    "maxProperties",
    "minProperties",
    "not",
    "oneOf",
    "patternProperties",
    "x-kubernetes-map-type",
];

/// What may not stand at the root of a schema.
pub(super) fn at_root(schema: &Value, node: &Node, path: &Path<'_>, has_status: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if has_status && node.kind != "object" {
        let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(FieldError::invalid(
            path.field("type").to_string(),
            &node.kind.as_str().into(),
            why,
        ));
    } else if has_status && NOT_AT_ROOT.iter().any(|keyword| is_said(&schema[*keyword])) {
        let why = format!(
            "only {AT_ROOT} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        errors.push(FieldError::invalid(path.to_string(), schema, &why));
    }
    if node.nullable {
        let at = path.field("nullable").to_string();
        errors.push(FieldError::forbidden(at, "nullable cannot be true at the root"));
    }
    errors
}

fn is_said(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// Checks a schema and all schemas in it.
pub(super) fn check(schema: &Value, node: &Node, path: &Path<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(
        schema,
        node,
        path,
        Place {
            is_root: true,
            ..Place::default()
        },
        &mut errors,
    );
    errors
}

/// The error is of a keyword with which upstream cannot read the schema's structure.
pub(super) fn hides_structure(error: &FieldError) -> bool {
    let message = error.message.as_str();
    message.ends_with("is not supported")
        || message.ends_with("must be true or undefined")
        || message.ends_with("items must be a schema object and not an array")
}

/// What a schema's place forbids.
#[derive(Clone, Copy, Default)]
struct Place {
    is_root: bool,
    in_metadata: bool,
    /// Why no default may stand here.
    no_default: Option<&'static str>,
}

fn walk(schema: &Value, node: &Node, path: &Path<'_>, place: Place, errors: &mut Vec<FieldError>) {
    keywords(schema, node, path, place, errors);
    let below = Place {
        is_root: false,
        ..place
    };
    if let Some(additional) = &node.additional {
        let at = path.field("additionalProperties");
        if !node.properties.is_empty() && !matches!(additional, Additional::Any(true)) {
            let why = "additionalProperties and properties are mutual exclusive";
            errors.push(FieldError::forbidden(at.to_string(), why));
        }
        if let Additional::Schema(child) = additional {
            let why = "inside additionalProperties applying to object metadata";
            let no_default = if place.in_metadata {
                Some(why)
            } else {
                place.no_default
            };
            walk(
                &schema["additionalProperties"],
                child,
                &at,
                Place { no_default, ..below },
                errors,
            );
        }
    }
    for (name, child) in &node.properties {
        let mut inside = below;
        if place.is_root || node.embedded_resource {
            let top = match name.as_str() {
                "apiVersion" => Some("in top-level apiVersion"),
                "kind" => Some("in top-level kind"),
                "metadata" => Some("in top-level metadata"),
                _ => None,
            };
            inside.in_metadata |= top.is_some();
            if place.is_root && top.is_some() {
                inside.no_default = top;
            }
        }
        let properties = path.field("properties");
        walk(
            &schema["properties"][name],
            child,
            &properties.key(name),
            inside,
            errors,
        );
    }
    if let Some(not) = &node.not {
        walk(&schema["not"], not, &path.field("not"), below, errors);
    }
    for (keyword, nodes) in [
        ("allOf", &node.all_of),
        ("oneOf", &node.one_of),
        ("anyOf", &node.any_of),
    ] {
        for (index, child) in nodes.iter().enumerate() {
            walk(
                &schema[keyword][index],
                child,
                &path.field(keyword).index(index),
                below,
                errors,
            );
        }
    }
    if let Some(items) = &node.items {
        walk(&schema["items"], items, &path.field("items"), below, errors);
    }
    extensions(schema, node, path, errors);
    lists(node, path, errors);
    rules(node, path, errors);
}

fn keywords(schema: &Value, node: &Node, path: &Path<'_>, place: Place, errors: &mut Vec<FieldError>) {
    let at = |keyword: &str| path.field(keyword).to_string();
    if !node.kind.is_empty() && !TYPES.contains(&node.kind.as_str()) {
        errors.push(FieldError::not_supported(
            at("type"),
            &node.kind.as_str().into(),
            &TYPES,
        ));
    }
    if node.default.is_some()
        && let Some(why) = place.no_default
    {
        errors.push(FieldError::forbidden(
            at("default"),
            &format!("must not be set {why}"),
        ));
    }
    let unsupported = [
        "id",
        "additionalItems",
        "patternProperties",
        "definitions",
        "dependencies",
        "$ref",
    ];
    for keyword in unsupported {
        if !schema[keyword].is_null() {
            errors.push(FieldError::forbidden(
                at(keyword),
                &format!("{keyword} is not supported"),
            ));
        }
    }
    if node.kind == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(at("type"), why));
    }
    if schema["items"].is_array() {
        let why = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(at("items"), why));
    }
    if place.in_metadata && node.embedded_resource {
        let why = "must not be used inside of resource meta";
        errors.push(FieldError::forbidden(at("x-kubernetes-embedded-resource"), why));
    }
    if schema["uniqueItems"] == Value::Bool(true) {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(at("uniqueItems"), why));
    }
}

fn extensions(schema: &Value, node: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let at = |keyword: &str| path.field(keyword).to_string();
    if schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(false) {
        let field = at("x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(
            field,
            &false.into(),
            "must be true or undefined",
        ));
    }
    let mut needs = |keyword: &str, kind: &str| {
        let why = format!("must be {kind} if {keyword} is specified");
        if node.kind.is_empty() {
            errors.push(FieldError::required(at("type"), &why));
        } else if node.kind != kind {
            errors.push(FieldError::invalid(at("type"), &node.kind.as_str().into(), &why));
        }
    };
    if node.map_type.is_some() {
        needs("x-kubernetes-map-type", "object");
    }
    if node.list_type.is_some() {
        needs("x-kubernetes-list-type", "array");
    }
    if let Some(other) = node
        .map_type
        .as_deref()
        .filter(|kind| !["atomic", "granular"].contains(kind))
    {
        let field = at("x-kubernetes-map-type");
        errors.push(FieldError::not_supported(
            field,
            &other.into(),
            &["atomic", "granular"],
        ));
    }
    if let Some(other) = node
        .list_type
        .as_deref()
        .filter(|kind| !["atomic", "set", "map"].contains(kind))
    {
        let field = at("x-kubernetes-list-type");
        errors.push(FieldError::not_supported(
            field,
            &other.into(),
            &["atomic", "set", "map"],
        ));
    }
}

fn lists(node: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list_type = node.list_type.as_deref();
    let at = |keyword: &str| path.field(keyword).to_string();
    let below = path.field("items");
    let in_items = |keyword: &str| below.field(keyword).to_string();
    if let (Some("set"), "array", Some(items)) = (list_type, node.kind.as_str(), &node.items) {
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let inner = Value::from(items.list_type.clone());
        let is_atomic = |kind: &Option<String>| kind.as_deref() == Some("atomic");
        if items.kind == "array" && items.list_type.is_some() && !is_atomic(&items.list_type) {
            errors.push(FieldError::invalid(
                in_items("x-kubernetes-list-type"),
                &inner,
                why,
            ));
        } else if items.kind == "object" && !is_atomic(&items.map_type) {
            errors.push(FieldError::invalid(
                in_items("x-kubernetes-map-type"),
                &inner,
                why,
            ));
        }
    }
    if !node.list_map_keys.is_empty() && list_type != Some("map") {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(match list_type {
            None => FieldError::required(at("x-kubernetes-list-type"), why),
            Some(other) => FieldError::invalid(at("x-kubernetes-list-type"), &other.into(), why),
        });
    }
    if list_type == Some("map") {
        if node.list_map_keys.is_empty() {
            let why = "must not be empty if x-kubernetes-list-type is map";
            errors.push(FieldError::required(at("x-kubernetes-list-map-keys"), why));
        }
        match &node.items {
            None => {
                let why = "must have a schema if x-kubernetes-list-type is map";
                errors.push(FieldError::required(at("items"), why));
            }
            Some(items) if items.kind != "object" => {
                let why = "must be object if parent array's x-kubernetes-list-type is map";
                errors.push(FieldError::invalid(
                    in_items("type"),
                    &items.kind.as_str().into(),
                    why,
                ));
            }
            Some(items) => map_keys(node, items, path, errors),
        }
    }
    if let (Some(kind @ ("set" | "map")), Some(true)) =
        (list_type, node.items.as_ref().map(|items| items.nullable))
    {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(FieldError::forbidden(in_items("nullable"), &why));
    }
}

/// The keys of a map list are fields of its items, always there and never null.
fn map_keys(node: &Node, items: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let at = path.field("x-kubernetes-list-map-keys").to_string();
    let keys = Value::from(node.list_map_keys.clone());
    let properties = path.field("items");
    let properties = properties.field("properties");
    for (index, key) in node.list_map_keys.iter().enumerate() {
        match items.properties.get(key) {
            None => {
                let why = "entries must all be names of item properties";
                errors.push(FieldError::invalid(at.as_str(), &keys, why));
            }
            Some(child) if child.kind == "array" || child.kind == "object" => {
                let field = properties.key(key).field("type").to_string();
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.push(FieldError::invalid(field, &items.kind.as_str().into(), why));
            }
            Some(_) => {}
        }
        if node.list_map_keys[..index].contains(key) {
            errors.push(FieldError::invalid(
                at.as_str(),
                &keys,
                "must not contain duplicate entries",
            ));
        }
    }
    for key in &node.list_map_keys {
        let Some(child) = items.properties.get(key) else {
            continue;
        };
        let of_key = properties.key(key);
        if !items.limits.required.contains(key) && child.default.is_none() {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(of_key.field("default").to_string(), why));
        }
        if child.nullable {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(of_key.field("nullable").to_string(), why));
        }
    }
}

/// The frame of CEL rules; the expressions themselves are not compiled here.
fn rules(node: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = path.field("x-kubernetes-validations");
    for (index, rule) in node.rules.iter().enumerate() {
        let of_rule = list.index(index);
        let at = |keyword: &str| of_rule.field(keyword).to_string();
        let (text, message) = (rule.rule.trim(), rule.message.trim());
        let has_lines = |text: &str| text.contains(['\n', '\r']);
        if text.is_empty() {
            errors.push(FieldError::required(at("rule"), "rule is not specified"));
        } else if !rule.message.is_empty() && message.is_empty() {
            let shown = rule.message.as_str().into();
            errors.push(FieldError::invalid(
                at("message"),
                &shown,
                "must be non-empty if specified",
            ));
        } else if has_lines(message) {
            let shown = rule.message.as_str().into();
            errors.push(FieldError::invalid(
                at("message"),
                &shown,
                "must not contain line breaks",
            ));
        } else if has_lines(text) && message.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(at("message"), why));
        }
        if !rule.reason.is_empty() && !REASONS.contains(&rule.reason.as_str()) {
            errors.push(FieldError::not_supported(
                at("reason"),
                &rule.reason.as_str().into(),
                &REASONS,
            ));
        }
    }
}
