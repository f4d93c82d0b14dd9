//! Objects as `kubectl get` shows them: the server fills the cells, kubectl only lays them out.
//! Source: `pkg/printers/internalversion/printers.go` of Kubernetes v1.34 for built-in kinds,
//! `pkg/registry/customresource/tableconvertor` of `k8s.io/apiextensions-apiserver` for the others. The server always
//! sends the columns of `-o wide`; their priority tells kubectl to hide them.

mod age;
mod cluster;
mod columns;
mod path;
mod pod;
mod storage;
mod workload;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kind::{Column, Kind};

/// What stands beside the cells of a row: `includeObject` of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

/// The cells of one object, in the order of its kind's columns.
type Cells = Vec<Value>;

/// A `meta.k8s.io/v1` Table of these objects. Its `metadata` is empty: resourceVersion and continue are the list's.
pub fn render(kind: &Kind, objects: &[Value], now: Timestamp, include: Include) -> Value {
    let printer = Printer::of(kind);
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = json!({"cells": printer.cells(object, now), "object": beside(object, include)});
            if let Some(conditions) = printer.conditions(object) {
                row["conditions"] = conditions;
            }
            row
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "columnDefinitions": printer.columns(), "rows": rows,
    })
}

fn beside(object: &Value, include: Include) -> Value {
    match include {
        Include::None => Value::Null,
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
        }),
        Include::Object => object.clone(),
    }
}

/// How a kind is printed.
enum Printer<'a> {
    BuiltIn {
        columns: &'static str,
        cells: columns::Fill,
    },
    Custom(&'a [Column]),
    /// Custom kinds without columns of their own.
    Age,
    /// Built-in kinds that Kubernetes has no printer for, as Role and CustomResourceDefinition.
    CreatedAt,
}

impl<'a> Printer<'a> {
    fn of(kind: &'a Kind) -> Self {
        if let Some(custom) = &kind.custom {
            return if custom.columns.is_empty() {
                Self::Age
            } else {
                Self::Custom(&custom.columns)
            };
        }
        match columns::of(&kind.group, &kind.kind) {
            Some((columns, cells)) => Self::BuiltIn { columns, cells },
            None => Self::CreatedAt,
        }
    }

    fn columns(&self) -> Vec<Value> {
        let mut defined = vec![definition("Name", "string", "name", "", 0)];
        match self {
            Self::BuiltIn { columns, .. } => return columns::definitions(columns),
            Self::Custom(columns) => defined.extend(columns.iter().map(|column| {
                let written = if column.description.is_empty() {
                    format!(
                        "Custom resource definition column (in JSONPath format): {}",
                        column.json_path
                    )
                } else {
                    column.description.clone()
                };
                definition(
                    &column.name,
                    &column.kind,
                    &column.format,
                    &written,
                    column.priority,
                )
            })),
            Self::Age => defined.push(definition("Age", "date", "", "", 0)),
            Self::CreatedAt => defined.push(definition("Created At", "date", "", "", 0)),
        }
        defined
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Cells {
        let name = || json!(text(object, "/metadata/name"));
        match self {
            Self::BuiltIn { cells, .. } => cells(object, now),
            Self::Custom(columns) => std::iter::once(name())
                .chain(columns.iter().map(|column| custom_cell(column, object, now)))
                .collect(),
            Self::Age => vec![name(), age::of(object, now)],
            Self::CreatedAt => vec![name(), json!(text(object, "/metadata/creationTimestamp"))],
        }
    }

    /// Pods that ended say so beside their row.
    fn conditions(&self, object: &Value) -> Option<Value> {
        let Self::BuiltIn {
            columns: columns::POD,
            ..
        } = self
        else {
            return None;
        };
        let (reason, message) = match text(object, "/status/phase") {
            "Succeeded" => ("Succeeded", "The pod has completed successfully."),
            "Failed" => ("Failed", "The pod failed."),
            _ => return None,
        };
        Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
    }
}

fn definition(name: &str, kind: &str, format: &str, description: &str, priority: i32) -> Value {
    json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority})
}

/// A cell of `additionalPrinterColumns`; null when there is nothing there or it is of another type.
fn custom_cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let Some(found) = path::first(&column.json_path, object) else {
        return Value::Null;
    };
    match (column.kind.as_str(), found) {
        (_, Value::Null) => Value::Null,
        ("string", Value::String(text)) => text.as_str().into(),
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => {
            #[allow(clippy::cast_possible_truncation)]
            let whole = number
                .as_i64()
                .or_else(|| number.as_f64().map(|number| number as i64));
            whole.into()
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => found.clone(),
        ("date", Value::String(text)) => match text.parse() {
            Ok(then) => age::between(then, now).into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

/// The text at a JSON pointer; empty when there is none.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The text at a JSON pointer, or what stands for nothing.
fn text_or<'a>(object: &'a Value, pointer: &str, otherwise: &'a str) -> &'a str {
    match text(object, pointer) {
        "" => otherwise,
        text => text,
    }
}

/// The number at a JSON pointer; zero when there is none.
fn number(object: &Value, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// The list at a JSON pointer; empty when there is none.
fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// How many entries the map at a JSON pointer has.
fn count(object: &Value, pointer: &str) -> usize {
    object
        .pointer(pointer)
        .and_then(Value::as_object)
        .map_or(0, serde_json::Map::len)
}

/// Texts of a list, one field of each item (or the item itself, empty pointer), with commas.
fn commas(object: &Value, pointer: &str, field: &str) -> String {
    let texts: Vec<&str> = list(object, pointer)
        .iter()
        .map(|item| text(item, field))
        .collect();
    texts.join(",")
}

/// `a=b,c=d`, or `<none>`.
fn labels(object: &Value, pointer: &str) -> String {
    let map = object.pointer(pointer).and_then(Value::as_object);
    let pairs: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() {
        "<none>".into()
    } else {
        pairs.join(",")
    }
}

#[cfg(test)]
mod tests;
