//! A schema is structural if every field's place and type can be told without looking at values: only then can
//! unknown fields be dropped and defaults filled in.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/apiserver/schema/validation.go`, `complete.go` and
//! `defaulting/validation.go`.

use serde_json::Value;

use crate::error::FieldError;

use super::node::{Additional, Node};
use super::path::Path;
use super::{embedded, prune, validate};

/// Where a node stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

impl Level {
    fn empty_type(self) -> &'static str {
        match self {
            Self::Root => "must not be empty at the root",
            Self::Item => "must not be empty for specified array items",
            Self::Field => "must not be empty for specified object fields",
        }
    }
}

/// What keeps the schema from being structural, sorted; if nothing, what is wrong with its defaults.
pub(super) fn check(node: &Node, schema: &Value, path: &Path<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    invariants(node, schema, Level::Root, path, &mut errors);
    for (keyword, index, clause) in clauses(node) {
        let keyword = path.field(keyword);
        let at = index.map_or(keyword, |index| keyword.index(index));
        complete(clause, Some(node), path, &at, &mut errors);
    }
    errors.sort_by_cached_key(|error| format!("{}: {}", error.field, error.message));
    if errors.is_empty() {
        defaults(node, path, &mut errors);
    }
    errors
}

fn invariants(node: &Node, schema: &Value, level: Level, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let at = |keyword: &str| path.field(keyword).to_string();
    if node.kind == "array" && node.items.is_none() {
        errors.push(FieldError::required(at("items"), "must be specified"));
    }
    if let Some(items) = &node.items {
        invariants(items, &schema["items"], Level::Item, &path.field("items"), errors);
    }
    for (name, child) in &node.properties {
        let properties = path.field("properties");
        invariants(
            child,
            &schema["properties"][name],
            Level::Field,
            &properties.key(name),
            errors,
        );
    }
    if node.additional.is_some() && level == Level::Root {
        errors.push(FieldError::forbidden(
            at("additionalProperties"),
            "must not be used at the root",
        ));
    }
    if let Some(Additional::Schema(child)) = &node.additional {
        let inside = path.field("additionalProperties");
        invariants(
            child,
            &schema["additionalProperties"],
            Level::Field,
            &inside,
            errors,
        );
    }
    extensions(node, path, errors);
    check_clauses(node, schema, path, errors);
    types(node, level, path, errors);
    implied(node, schema, level, path, errors);
}

fn extensions(node: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let either = "must be false if x-kubernetes-int-or-string is true";
    if node.int_or_string && node.preserve_unknown_fields {
        let at = path.field("x-kubernetes-preserve-unknown-fields").to_string();
        errors.push(FieldError::invalid(at, &true.into(), either));
    }
    if node.int_or_string && node.embedded_resource {
        let at = path.field("x-kubernetes-embedded-resource").to_string();
        errors.push(FieldError::invalid(at, &true.into(), either));
    }
}

fn types(node: &Node, level: Level, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let at = path.field("type").to_string();
    let kind = Value::from(node.kind.as_str());
    if node.embedded_resource && node.kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if node.kind.is_empty() {
            FieldError::required(at.as_str(), why)
        } else {
            FieldError::invalid(at.as_str(), &kind, why)
        });
    } else if node.kind.is_empty() && !node.int_or_string && !node.preserve_unknown_fields {
        errors.push(FieldError::required(at.as_str(), level.empty_type()));
    }
    if level == Level::Root && !node.kind.is_empty() && node.kind != "object" {
        errors.push(FieldError::invalid(at, &kind, "must be object at the root"));
    }
}

/// apiVersion, kind and metadata of a resource are what they are everywhere; a schema may say little of them.
fn implied(node: &Node, schema: &Value, level: Level, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let properties = path.field("properties");
    let is_resource = level == Level::Root || node.embedded_resource;
    if node.embedded_resource && node.additional.is_some() {
        let at = path.field("additionalProperties").to_string();
        errors.push(FieldError::forbidden(
            at,
            "must not be used if x-kubernetes-embedded-resource is set",
        ));
    }
    if node.embedded_resource && !node.preserve_unknown_fields && node.properties.is_empty() {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                   x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(properties.to_string(), why));
    }
    for (name, kind) in [
        ("kind", "string"),
        ("apiVersion", "string"),
        ("metadata", "object"),
    ] {
        let Some(child) = node
            .properties
            .get(name)
            .filter(|child| is_resource && child.kind != kind)
        else {
            continue;
        };
        let at = properties.key(name).field("type").to_string();
        errors.push(FieldError::invalid(
            at,
            &child.kind.as_str().into(),
            &format!("must be {kind}"),
        ));
    }
    let Some(metadata) = schema["properties"]["metadata"]
        .as_object()
        .filter(|_| level == Level::Root)
    else {
        return;
    };
    let names_only = |properties: &Value| {
        properties
            .as_object()
            .is_some_and(|all| all.keys().all(|name| name == "name" || name == "generateName"))
    };
    let plain = metadata.iter().all(|(keyword, value)| match keyword.as_str() {
        "type" | "default" => true,
        "properties" => names_only(value),
        _ => false,
    });
    if !plain {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(properties.key("metadata").to_string(), why));
    }
}

/// The schemas that a value is checked with beyond the structure, with their keywords.
fn clauses(node: &Node) -> impl Iterator<Item = (&'static str, Option<usize>, &Node)> {
    let any = node
        .any_of
        .iter()
        .enumerate()
        .map(|(index, node)| ("anyOf", Some(index), node));
    let all = node
        .all_of
        .iter()
        .enumerate()
        .map(|(index, node)| ("allOf", Some(index), node));
    let one = node
        .one_of
        .iter()
        .enumerate()
        .map(|(index, node)| ("oneOf", Some(index), node));
    any.chain(all)
        .chain(one)
        .chain(node.not.as_deref().map(|not| ("not", None, not)))
}

/// `anyOf: [{type: integer}, {type: string}]`, which int-or-string fields may carry.
fn is_int_or_string(nodes: &Value) -> bool {
    *nodes == serde_json::json!([{"type": "integer"}, {"type": "string"}])
}

fn check_clauses(node: &Node, schema: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (keyword, index, clause) in clauses(node) {
        if keyword == "anyOf" && is_int_or_string(&schema["anyOf"]) {
            continue;
        }
        let spoken = path.field(keyword);
        let (at, inside) = match index {
            Some(index) => (spoken.index(index), &schema[keyword][index]),
            None => (spoken, &schema[keyword]),
        };
        let lenient = keyword == "allOf" && index == Some(0) && is_int_or_string(&inside["anyOf"]);
        check_clause(clause, inside, lenient, &at, errors);
    }
    if let Some(pattern) = &node.limits.pattern
        && let Err(why) = &pattern.compiled
    {
        let why = format!("must be a valid regular expression, but isn't: error parsing regexp: {why}");
        let at = path.field("pattern").to_string();
        errors.push(FieldError::invalid(at, &pattern.source.as_str().into(), &why));
    }
}

/// A schema below anyOf, allOf, oneOf or not checks values only: it says nothing of structure.
fn check_clause(node: &Node, schema: &Value, lenient: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !lenient {
        check_clauses(node, schema, path, errors);
    }
    if let Some(items) = &node.items {
        check_clause(items, &schema["items"], false, &path.field("items"), errors);
    }
    for (name, child) in &node.properties {
        let properties = path.field("properties");
        check_clause(
            child,
            &schema["properties"][name],
            false,
            &properties.key(name),
            errors,
        );
    }
    let mut forbid = |keyword: &str, why: &str| {
        errors.push(FieldError::forbidden(path.field(keyword).to_string(), why));
    };
    let (empty, undefined, unset) = (
        "must be empty to be structural",
        "must be undefined to be structural",
        "must be false to be structural",
    );
    let texts = [("type", empty), ("title", empty), ("description", empty)];
    for (keyword, why) in texts {
        if schema[keyword].as_str().is_some_and(|text| !text.is_empty()) {
            forbid(keyword, why);
        }
    }
    let lists = [
        ("x-kubernetes-list-map-keys", empty),
        ("x-kubernetes-validations", empty),
    ];
    for (keyword, why) in lists {
        if schema[keyword].as_array().is_some_and(|list| !list.is_empty()) {
            forbid(keyword, why);
        }
    }
    let present = [
        ("additionalProperties", undefined),
        ("default", undefined),
        ("x-kubernetes-list-type", undefined),
        ("x-kubernetes-map-type", undefined),
    ];
    for (keyword, why) in present {
        if !schema[keyword].is_null() && schema[keyword] != Value::Bool(false) {
            forbid(keyword, why);
        }
    }
    let flags = [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
    ];
    for keyword in flags {
        if schema[keyword] == Value::Bool(true) {
            forbid(keyword, unset);
        }
    }
    if node.properties.contains_key("metadata") {
        let at = path.field("properties").key("metadata").to_string();
        errors.push(FieldError::forbidden(
            at,
            "must not be specified in a nested context",
        ));
    }
}

/// Every field that a clause at the root speaks of is also in the structure.
fn complete(
    clause: &Node,
    structure: Option<&Node>,
    at: &Path<'_>,
    spoken: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let Some(structure) = structure else {
        errors.push(FieldError::required(
            at.to_string(),
            &format!("because it is defined in {spoken}"),
        ));
        return;
    };
    for (keyword, index, inner) in clauses(clause) {
        let keyword = spoken.field(keyword);
        let spoken = index.map_or(keyword, |index| keyword.index(index));
        complete(inner, Some(structure), at, &spoken, errors);
    }
    if let Some(items) = &clause.items {
        complete(
            items,
            structure.items.as_deref(),
            &at.field("items"),
            &spoken.field("items"),
            errors,
        );
    }
    for (name, child) in &clause.properties {
        let (at, spoken) = (at.field("properties"), spoken.field("properties"));
        complete(
            child,
            structure.properties.get(name),
            &at.key(name),
            &spoken.key(name),
            errors,
        );
    }
}

/// A default is what the schema allows and nothing that would be dropped.
fn defaults(node: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some(value) = &node.default {
        let at = path.field("default");
        let mut pruned = value.clone();
        prune::prune(node, &mut pruned);
        if pruned != *value {
            errors.push(FieldError::invalid(
                at.to_string(),
                value,
                "must not have unknown fields",
            ));
        }
        let mut wrong = Vec::new();
        embedded::check(node, value, &at, &mut wrong);
        if wrong.is_empty() {
            validate::check(node, value, None, &Path::ROOT, &mut wrong);
            for error in &mut wrong {
                error.field = match error.field.as_str() {
                    "<nil>" => at.to_string(),
                    inside => format!("{at}.{inside}"),
                };
            }
        }
        errors.extend(wrong);
    }
    if let Some(items) = &node.items {
        defaults(items, &path.field("items"), errors);
    }
    for (name, child) in &node.properties {
        defaults(child, &path.field("properties").key(name), errors);
    }
}
