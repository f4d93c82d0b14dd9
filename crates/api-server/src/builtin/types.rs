//! What the built-in kinds are made of: every field of every type, with what the server must know to decode, merge
//! and own it.
//!
//! The facts are in `types.txt`, read once by reflection from the Go types of `k8s.io/api` and
//! `k8s.io/apiextensions-apiserver` v0.34.4 (names, types, `omitempty`, pointers, `patchStrategy`, `patchMergeKey`)
//! and from the OpenAPI of Kubernetes v1.34.4 (`x-kubernetes-list-type`, `-list-map-keys`, `-map-type`). One line is
//! one type, `package.version.Name` and its fields:
//!
//! ```text
//! core.v1.Container name:string! ports:[]core.v1.ContainerPort@containerPort,protocol~containerPort stdin:bool
//! ```
//!
//! | sign | meaning |
//! |---|---|
//! | `[]T`, `{}T` | list, map with string keys |
//! | `!` | written even when it has its zero value |
//! | `*` | a pointer: a zero value that was given stays |
//! | `@set`, `@a,b` | list of distinct values; list of objects with these keys (server-side apply) |
//! | `~`, `~key` | strategic merge by value; by this key |
//! | `^` | strategic merge with `retainKeys` |
//! | `#` | owned as a whole (server-side apply), on a type or a field |

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::kind::Kind;

/// How a value is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    String,
    Bool,
    Int32,
    Int64,
    Float64,
    Quantity,
    IntOrString,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// Base64.
    Bytes,
    /// Anything: a schema, an extension, field sets.
    Any,
    /// The name of another type of the table.
    Struct(&'static str),
    List(Box<Shape>),
    Map(Box<Shape>),
}

/// How the parts of a list are told apart by server-side apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListKind {
    Atomic,
    Set,
    /// The fields that together name an item.
    Map(Vec<&'static str>),
}

/// One field of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub shape: Shape,
    /// Written even when it has its zero value: no `omitempty`, or a struct.
    pub always: bool,
    /// A zero value that was given stays.
    pub pointer: bool,
    pub list: ListKind,
    /// The list is merged by a strategic merge patch: by the key of its objects, or (empty key) by value.
    pub merge_key: Option<&'static str>,
    pub retain_keys: bool,
    /// Owned as a whole.
    pub atomic: bool,
}

/// One type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// `Container`.
    pub name: &'static str,
    pub fields: BTreeMap<&'static str, Field>,
    /// Owned as a whole.
    pub atomic: bool,
}

static TYPES: LazyLock<BTreeMap<&'static str, Type>> =
    LazyLock::new(|| include_str!("types.txt").lines().map(parse_type).collect());

/// The type of a built-in kind; `None` for kinds of a CustomResourceDefinition and kinds the table lacks.
pub fn of(kind: &Kind) -> Option<&'static Type> {
    if kind.custom.is_some() {
        return None;
    }
    let group = kind.group.split('.').next().unwrap_or_default();
    let package = if group.is_empty() { "core" } else { group };
    named(&format!("{package}.{}.{}", kind.version, kind.kind))
}

/// A type by its name in the table, `core.v1.PodSpec`.
pub fn named(name: &str) -> Option<&'static Type> {
    TYPES.get(name)
}

/// `metadata` of every kind.
pub fn object_meta() -> Option<&'static Type> {
    named("meta.v1.ObjectMeta")
}

impl Shape {
    /// The type, when this is a struct, a list of structs or a map of structs.
    pub fn element(&self) -> Option<&'static Type> {
        match self {
            Self::Struct(name) => named(name),
            Self::List(inner) | Self::Map(inner) => inner.element(),
            _ => None,
        }
    }

    /// As Go names it in the message of a value of a wrong type.
    pub fn go_name(&self) -> String {
        match self {
            Self::String => "string".into(),
            Self::Bool => "bool".into(),
            Self::Int32 => "int32".into(),
            Self::Int64 => "int64".into(),
            Self::Float64 => "float64".into(),
            Self::Quantity => "resource.Quantity".into(),
            Self::IntOrString => "intstr.IntOrString".into(),
            Self::Time => "v1.Time".into(),
            Self::MicroTime => "v1.MicroTime".into(),
            Self::Bytes => "[]uint8".into(),
            Self::Any => "interface {}".into(),
            Self::Struct(name) => name.split_once('.').map_or(*name, |(_, rest)| rest).into(),
            Self::List(inner) => format!("[]{}", inner.go_name()),
            Self::Map(inner) => format!("map[string]{}", inner.go_name()),
        }
    }
}

fn parse_type(line: &'static str) -> (&'static str, Type) {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let head = words.next().unwrap_or_default();
    let full = head.trim_end_matches('#');
    let read = Type {
        name: full.rsplit('.').next().unwrap_or(full),
        fields: words.map(parse_field).collect(),
        atomic: head.ends_with('#'),
    };
    (full, read)
}

fn parse_field(word: &'static str) -> (&'static str, Field) {
    let (name, rest) = word.split_once(':').unwrap_or((word, "any"));
    let end = rest.find(['!', '*', '@', '#', '~', '^']).unwrap_or(rest.len());
    let (shape, mut signs) = rest.split_at(end);
    let mut field = Field {
        shape: parse_shape(shape),
        always: false,
        pointer: false,
        list: ListKind::Atomic,
        merge_key: None,
        retain_keys: false,
        atomic: false,
    };
    while let Some(sign) = signs.chars().next() {
        let after = &signs[1..];
        let stop = after.find(['!', '*', '@', '#', '~', '^']).unwrap_or(after.len());
        let (argument, next) = after.split_at(stop);
        match (sign, argument) {
            ('!', _) => field.always = true,
            ('*', _) => field.pointer = true,
            ('@', "set") => field.list = ListKind::Set,
            ('@', keys) => field.list = ListKind::Map(keys.split(',').collect()),
            ('~', key) => field.merge_key = Some(key),
            ('^', _) => field.retain_keys = true,
            _ => field.atomic = true,
        }
        signs = next;
    }
    (name, field)
}

fn parse_shape(text: &'static str) -> Shape {
    if let Some(item) = text.strip_prefix("[]") {
        return Shape::List(Box::new(parse_shape(item)));
    }
    if let Some(value) = text.strip_prefix("{}") {
        return Shape::Map(Box::new(parse_shape(value)));
    }
    match text {
        "string" => Shape::String,
        "bool" => Shape::Bool,
        "int32" => Shape::Int32,
        "int64" => Shape::Int64,
        "float64" => Shape::Float64,
        "quantity" => Shape::Quantity,
        "intstr" => Shape::IntOrString,
        "time" => Shape::Time,
        "microtime" => Shape::MicroTime,
        "bytes" => Shape::Bytes,
        "any" => Shape::Any,
        name => Shape::Struct(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_struct_that_a_field_names_is_in_the_table() {
        for (name, of_table) in TYPES.iter() {
            for (field, fact) in &of_table.fields {
                let mut shape = &fact.shape;
                while let Shape::List(inner) | Shape::Map(inner) = shape {
                    shape = inner;
                }
                if let Shape::Struct(wanted) = shape {
                    assert!(named(wanted).is_some(), "{name}.{field} names {wanted}");
                }
            }
        }
    }

    #[test]
    fn container_ports_are_owned_by_two_keys_and_merged_by_one() {
        let ports = &named("core.v1.Container").expect("in the table").fields["ports"];
        assert_eq!(ports.list, ListKind::Map(vec!["containerPort", "protocol"]));
        assert_eq!(ports.merge_key, Some("containerPort"));
    }

    #[test]
    fn an_unset_storage_class_differs_from_an_empty_one() {
        assert!(
            named("core.v1.PersistentVolumeClaimSpec")
                .expect("in the table")
                .fields["storageClassName"]
                .pointer
        );
    }
}
