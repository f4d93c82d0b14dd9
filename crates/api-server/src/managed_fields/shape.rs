//! What can be owned apart: which objects are owned field by field, which lists item by item, and what is a whole.
//! Built-in kinds are read from the table of their types, custom ones from their schema
//! (`x-kubernetes-list-type`, `-list-map-keys`, `-map-type`, `-preserve-unknown-fields`). Where neither says anything,
//! objects are owned by field and lists as a whole.

use serde_json::{Map, Value};

use crate::builtin::types::{self, ListKind, Shape as Go, Type};
use crate::kind::Kind;

/// How values at one place are owned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape<'a> {
    BuiltIn(&'static Type),
    BuiltInMap(&'static Go),
    BuiltInSet,
    BuiltInList(&'static [&'static str], &'static Type),
    /// The root of a custom object, and anything in it.
    CustomRoot(&'a Value),
    Custom(&'a Value),
    /// Objects by field, lists as a whole.
    Unknown,
    Whole,
}

/// A value taken apart by its shape.
pub(crate) enum Form {
    Whole,
    Object,
    /// The items are told apart by value.
    Set,
    /// The items are told apart by keys.
    Items,
}

impl<'a> Shape<'a> {
    pub(crate) fn of(kind: &'a Kind) -> Self {
        match (&kind.custom, types::of(kind)) {
            (Some(custom), _) => Self::CustomRoot(&custom.open_api),
            (None, Some(of)) => Self::BuiltIn(of),
            (None, None) => Self::Unknown,
        }
    }

    /// How this value is owned. Values of another type than the shape says are wholes.
    pub(crate) fn form(self, value: &Value) -> Form {
        match (self, value) {
            (Self::BuiltIn(of), Value::Object(_)) if !of.atomic => Form::Object,
            (Self::BuiltInMap(_) | Self::Unknown | Self::CustomRoot(_), Value::Object(_)) => Form::Object,
            (Self::BuiltInSet, Value::Array(_)) => Form::Set,
            (Self::BuiltInList(..), Value::Array(_)) => Form::Items,
            (Self::Custom(schema), Value::Object(_)) if schema["x-kubernetes-map-type"] != "atomic" => {
                Form::Object
            }
            (Self::Custom(schema), Value::Array(_)) => match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => Form::Set,
                Some("map") => Form::Items,
                _ => Form::Whole,
            },
            _ => Form::Whole,
        }
    }

    /// The shape of a field or map value, and whether a type or schema names it as a field.
    pub(crate) fn field(self, name: &str) -> (Self, bool) {
        match self {
            Self::BuiltIn(of) => match of.fields.get(name) {
                Some(field) => (built_in(field), true),
                None => (Self::Unknown, false),
            },
            Self::BuiltInMap(inner) => (plain(inner), false),
            Self::CustomRoot(_) if name == "metadata" => (meta(), true),
            Self::CustomRoot(_) if matches!(name, "apiVersion" | "kind") => (Self::Whole, true),
            Self::CustomRoot(schema) | Self::Custom(schema) => custom_field(schema, name),
            Self::Unknown | Self::Whole | Self::BuiltInSet | Self::BuiltInList(..) => (Self::Unknown, false),
        }
    }

    /// Whether there can be such a field: an applied object may have no other.
    pub(crate) fn allows(self, name: &str) -> bool {
        match self {
            Self::BuiltIn(of) => of.fields.contains_key(name),
            Self::CustomRoot(_) if matches!(name, "metadata" | "apiVersion" | "kind") => true,
            Self::CustomRoot(schema) | Self::Custom(schema) => {
                let open =
                    schema["additionalProperties"].is_object() || schema["additionalProperties"] == true;
                schema["properties"].get(name).is_some()
                    || open
                    || schema["x-kubernetes-preserve-unknown-fields"] == true
                    // An object of which nothing is said.
                    || (schema.get("properties").is_none() && schema.get("additionalProperties").is_none())
            }
            _ => true,
        }
    }

    /// The shape of a list's items.
    pub(crate) fn item(self) -> Self {
        match self {
            Self::BuiltInList(_, of) => Self::BuiltIn(of),
            Self::Custom(schema) => Self::Custom(&schema["items"]),
            _ => Self::Whole,
        }
    }

    /// The branch that names a list item: `k:{"name":"a"}`, `v:"x"`.
    pub(crate) fn branch(self, item: &Value) -> String {
        let keys: Vec<String> = match self {
            Self::BuiltInList(keys, _) => keys.iter().map(|key| (*key).to_owned()).collect(),
            Self::Custom(schema) => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array();
                keys.into_iter()
                    .flatten()
                    .filter_map(|key| key.as_str().map(str::to_owned))
                    .collect()
            }
            _ => Vec::new(),
        };
        if keys.is_empty() {
            return format!("v:{item}");
        }
        let named = keys.into_iter().filter_map(|key| {
            let value = item.get(&key).cloned().or_else(|| self.key_default(&key))?;
            Some((key, value))
        });
        format!("k:{}", Value::Object(named.collect::<Map<_, _>>()))
    }

    /// What a key is when the item does not say it.
    fn key_default(self, key: &str) -> Option<Value> {
        match self {
            Self::BuiltInList(_, of) => {
                let field = of.fields.get(key)?;
                match (key, &field.shape) {
                    ("protocol", _) => Some("TCP".into()),
                    (_, Go::String) if field.always => Some("".into()),
                    (_, Go::Int32 | Go::Int64) if field.always => Some(0.into()),
                    _ => None,
                }
            }
            Self::Custom(schema) => schema["items"]["properties"][key].get("default").cloned(),
            _ => None,
        }
    }
}

fn meta() -> Shape<'static> {
    types::object_meta().map_or(Shape::Unknown, Shape::BuiltIn)
}

fn built_in(field: &'static types::Field) -> Shape<'static> {
    if field.atomic {
        return Shape::Whole;
    }
    match (&field.shape, &field.list) {
        (Go::List(_), ListKind::Set) => Shape::BuiltInSet,
        (Go::List(item), ListKind::Map(keys)) => item
            .element()
            .map_or(Shape::Whole, |of| Shape::BuiltInList(keys, of)),
        (shape, _) => plain(shape),
    }
}

fn plain(shape: &'static Go) -> Shape<'static> {
    match shape {
        Go::Struct(name) => types::named(name).map_or(Shape::Unknown, Shape::BuiltIn),
        Go::Map(inner) => Shape::BuiltInMap(inner),
        _ => Shape::Whole,
    }
}

fn custom_field<'a>(schema: &'a Value, name: &str) -> (Shape<'a>, bool) {
    if let Some(inner) = schema["properties"].get(name) {
        let inner = if inner["x-kubernetes-embedded-resource"] == true && inner.get("properties").is_none() {
            Shape::Unknown
        } else {
            Shape::Custom(inner)
        };
        return (inner, true);
    }
    match &schema["additionalProperties"] {
        Value::Object(_) => (Shape::Custom(&schema["additionalProperties"]), false),
        _ => (Shape::Unknown, false),
    }
}

/// Items of a list by their branches, in the list's order. Of items that are named alike the first counts.
pub(crate) fn items<'v>(shape: Shape<'_>, list: &'v [Value]) -> Vec<(String, &'v Value)> {
    let mut named: Vec<(String, &Value)> = Vec::with_capacity(list.len());
    for item in list {
        let branch = shape.branch(item);
        if !named.iter().any(|(there, _)| *there == branch) {
            named.push((branch, item));
        }
    }
    named
}
