//! Whether an applied object has only fields its kind has, of the right type, and no list item twice: server-side
//! apply refuses all else before it merges. The sentences are those of `sigs.k8s.io/structured-merge-diff` v6.3.

use serde_json::Value;

use crate::builtin::types::{self, Shape as Go};
use crate::managed_fields::set;
use crate::managed_fields::shape::{Form, Shape};

/// What is wrong, as Kubernetes says it; one line for each.
pub(super) fn check(shape: Shape<'_>, applied: &Value) -> Vec<String> {
    let mut said = Vec::new();
    visit(shape, applied, "", &mut said);
    said
}

fn visit(shape: Shape<'_>, value: &Value, path: &str, said: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    if let Some(wanted) = expected(shape, value) {
        said.push(format!("{path}: expected {wanted}, got &{{{}}}", go(value)));
        return;
    }
    match (shape.form(value), value) {
        (Form::Object, Value::Object(fields)) => {
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                if !shape.allows(name) {
                    said.push(format!("{path}: field not declared in schema"));
                    continue;
                }
                if let Some(wanted) = scalar(shape, name, value) {
                    let got = match value {
                        Value::String(text) => format!("{text:?}"),
                        other => other.to_string(),
                    };
                    said.push(format!(
                        "{path}: expected {wanted}, got &value.valueUnstructured{{Value:{got}}}"
                    ));
                    continue;
                }
                visit(shape.field(name).0, value, &path, said);
            }
        }
        (Form::Set | Form::Items, Value::Array(list)) => {
            let mut seen: Vec<String> = Vec::new();
            for item in list {
                let branch = shape.branch(item);
                let shown = set::shown(&branch);
                if seen.contains(&branch) {
                    said.push(format!("{path}: duplicate entries for key {shown}"));
                    continue;
                }
                seen.push(branch);
                visit(shape.item(), item, &format!("{path}{shown}"), said);
            }
        }
        _ => {}
    }
}

/// `map` or `list`, when the value is neither but should be.
fn expected(shape: Shape<'_>, value: &Value) -> Option<&'static str> {
    let wanted = match shape {
        Shape::BuiltIn(_) | Shape::BuiltInMap(_) => "map",
        Shape::BuiltInSet | Shape::BuiltInList(..) => "list",
        Shape::Custom(schema) if schema["x-kubernetes-preserve-unknown-fields"] != true => {
            match schema["type"].as_str() {
                Some("object") => "map",
                Some("array") => "list",
                _ => return None,
            }
        }
        _ => return None,
    };
    let fits = if wanted == "map" {
        value.is_object()
    } else {
        value.is_array()
    };
    (!fits).then_some(wanted)
}

/// The scalar type a field should have, when the value has another.
fn scalar(shape: Shape<'_>, name: &str, value: &Value) -> Option<&'static str> {
    if value.is_null() {
        return None;
    }
    let wanted = match shape {
        Shape::BuiltIn(of) => go_scalar(&of.fields.get(name)?.shape)?,
        Shape::BuiltInMap(inner) => go_scalar(inner)?,
        Shape::CustomRoot(schema) | Shape::Custom(schema) => {
            let inner = schema["properties"]
                .get(name)
                .unwrap_or(&schema["additionalProperties"]);
            match inner["type"].as_str()? {
                "string" => "string",
                "boolean" => "boolean",
                "integer" | "number" => "numeric (int or float)",
                _ => return None,
            }
        }
        _ => return None,
    };
    let fits = match wanted {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        _ => value.is_number(),
    };
    (!fits).then_some(wanted)
}

fn go_scalar(shape: &types::Shape) -> Option<&'static str> {
    match shape {
        Go::String | Go::Bytes | Go::Time | Go::MicroTime => Some("string"),
        Go::Bool => Some("boolean"),
        Go::Int32 | Go::Int64 | Go::Float64 => Some("numeric (int or float)"),
        _ => None,
    }
}

/// A value as Go prints it.
fn go(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let shown: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}:{}", go(value)))
                .collect();
            format!("map[{}]", shown.join(" "))
        }
        other => other.to_string(),
    }
}
