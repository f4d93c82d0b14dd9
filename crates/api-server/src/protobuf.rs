//! Kubernetes' protobuf, as far as requests need it: kubectl's `create` and `auth can-i` and Go programs with typed
//! clients send built-in kinds so. Answers are JSON, which every client takes too.
//!
//! A body is the four bytes `k8s\0`, then a `runtime.Unknown` (1: `TypeMeta`, 2: the object). The numbers of fields
//! are in `protobuf/messages.txt`, read from the tags of the Go types of `k8s.io/api` v0.34.4; their shapes are
//! those of [`crate::builtin::types`]. A number with `=` is a struct whose fields stand in its parent in JSON:
//!
//! ```text
//! core.v1.Volume 1:name 2:=core.v1.VolumeSource
//! ```
//! Source: `k8s.io/apimachinery` v0.34, `pkg/runtime/serializer/protobuf`; <https://protobuf.dev/programming-guides/encoding>.

#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use crate::builtin::types::{self, Shape, Type};
use crate::error::{ApiError, Reason};
use wire::{Malformed, Reader, Wire};

/// The media type of such bodies.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";
/// Deeper than any built-in type nests but for JSON inside; keeps bad input from using up the stack.
const DEEPEST: usize = 32;

/// What a number of a message stands for.
enum Place {
    Field(&'static str),
    /// The fields of this message, in the place of the field itself.
    Inline(&'static str),
}

static MESSAGES: LazyLock<BTreeMap<&'static str, BTreeMap<u64, Place>>> = LazyLock::new(|| {
    let place = |word: &'static str| {
        let (number, name) = word.split_once(':')?;
        let place = name.strip_prefix('=').map_or(Place::Field(name), Place::Inline);
        Some((number.parse().ok()?, place))
    };
    let message = |line: &'static str| {
        let mut words = line.split(' ');
        Some((words.next()?, words.filter_map(place).collect()))
    };
    include_str!("protobuf/messages.txt")
        .lines()
        .filter_map(message)
        .collect()
});

/// The JSON of a body. Errors: `BadRequest` for bytes that are no such message, `UnsupportedMediaType` for kinds
/// without a table (Kubernetes has no protobuf for custom resources either).
pub fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let unreadable = |_: Malformed| ApiError::new(Reason::BadRequest, "the body is not Kubernetes protobuf");
    let unknown = body.strip_prefix(MAGIC).ok_or(Malformed).map_err(unreadable)?;
    let (api_version, kind, object) = envelope(unknown).map_err(unreadable)?;
    let name = type_name(&api_version, &kind);
    let Some(of) = types::named(&name) else {
        let message = format!("{kind} of {api_version} has no protobuf here; send application/json");
        return Err(ApiError::new(Reason::UnsupportedMediaType, message));
    };
    let mut fields = Map::new();
    read_message(&name, of, object, DEEPEST, &mut fields).map_err(unreadable)?;
    fields.insert("apiVersion".to_owned(), api_version.into());
    fields.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(fields))
}

/// apiVersion, kind and the object's bytes.
fn envelope(bytes: &[u8]) -> Result<(String, String, &[u8]), Malformed> {
    let (mut api_version, mut kind, mut object) = (String::new(), String::new(), &[][..]);
    for field in Reader::new(bytes) {
        match field? {
            (1, Wire::Bytes(type_meta)) => {
                for field in Reader::new(type_meta) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = wire::text(text)?,
                        (2, Wire::Bytes(text)) => kind = wire::text(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(raw)) => object = raw,
            _ => {}
        }
    }
    Ok((api_version, kind, object))
}

/// `core.v1.Namespace` of `v1` and `Namespace`.
fn type_name(api_version: &str, kind: &str) -> String {
    if kind == "DeleteOptions" {
        return "meta.v1.DeleteOptions".to_owned();
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    format!("{}.{version}.{kind}", group.split('.').next().unwrap_or_default())
}

/// Adds the fields of a message; `of` is the type in whose JSON they stand.
fn read_message(
    name: &str,
    of: &Type,
    bytes: &[u8],
    deepest: usize,
    fields: &mut Map<String, Value>,
) -> Result<(), Malformed> {
    let deepest = deepest.checked_sub(1).ok_or(Malformed)?;
    let Some(places) = MESSAGES.get(name) else {
        return Ok(());
    };
    for field in Reader::new(bytes) {
        let (number, wire) = field?;
        match (places.get(&number), wire) {
            (Some(Place::Inline(inner)), Wire::Bytes(bytes)) => {
                read_message(inner, of, bytes, deepest, fields)?
            }
            (Some(Place::Field(name)), wire) => {
                let Some(field) = of.fields.get(name) else {
                    continue;
                };
                add(name, &field.shape, wire, deepest, fields)?;
                // Go writes all fields but pointers, zero or not; JSON has no zeros to say nothing.
                if !field.pointer && fields.get(*name).is_some_and(is_zero) {
                    fields.remove(*name);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Sets a field, or adds to it what comes more than once: items of lists, entries of maps.
fn add(
    name: &str,
    shape: &Shape,
    wire: Wire<'_>,
    deepest: usize,
    fields: &mut Map<String, Value>,
) -> Result<(), Malformed> {
    match (shape, wire) {
        (Shape::List(item), wire) => {
            let list = fields.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            let items = list.as_array_mut().ok_or(Malformed)?;
            match (item.as_ref(), wire) {
                (Shape::Int32 | Shape::Int64, Wire::Bytes(packed)) => {
                    items.extend(wire::varints(packed)?.into_iter().map(Value::from));
                }
                (item, wire) => items.push(read(item, wire, deepest)?),
            }
        }
        (Shape::Map(of), Wire::Bytes(entry)) => {
            let map = fields.entry(name).or_insert_with(|| Value::Object(Map::new()));
            let (key, value) = read_entry(of, entry, deepest)?;
            map.as_object_mut().ok_or(Malformed)?.insert(key, value);
        }
        (shape, wire) => {
            fields.insert(name.to_owned(), read(shape, wire, deepest)?);
        }
    }
    Ok(())
}

fn read_entry(of: &Shape, bytes: &[u8], deepest: usize) -> Result<(String, Value), Malformed> {
    let mut key = String::new();
    let mut value = match of {
        Shape::String | Shape::Bytes => Value::String(String::new()),
        _ => Value::Null,
    };
    for field in Reader::new(bytes) {
        match field? {
            (1, Wire::Bytes(text)) => key = wire::text(text)?,
            // A list in a map is a message of its own: 1, its items.
            (2, Wire::Bytes(list)) if matches!(of, Shape::List(_)) => {
                let mut inside = Map::new();
                for item in Reader::new(list) {
                    add("items", of, item?.1, deepest, &mut inside)?;
                }
                value = inside.remove("items").unwrap_or_else(|| Value::Array(Vec::new()));
            }
            (2, wire) => value = read(of, wire, deepest)?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// One value.
fn read(shape: &Shape, wire: Wire<'_>, deepest: usize) -> Result<Value, Malformed> {
    Ok(match (shape, wire) {
        (Shape::Bool, Wire::Varint(number)) => Value::Bool(number != 0),
        (Shape::Int32 | Shape::Int64, Wire::Varint(number)) => number.cast_signed().into(),
        (Shape::Float64, Wire::Fixed64(bits)) => {
            Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number)
        }
        (Shape::String, Wire::Bytes(bytes)) => wire::text(bytes)?.into(),
        (Shape::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Shape::Quantity, Wire::Bytes(bytes)) => match wire::find(bytes, 1)? {
            Some(Wire::Bytes(text)) => wire::text(text)?.into(),
            _ => "0".into(),
        },
        (Shape::IntOrString, Wire::Bytes(bytes)) => match wire::find(bytes, 1)? {
            Some(Wire::Varint(1)) => match wire::find(bytes, 3)? {
                Some(Wire::Bytes(text)) => wire::text(text)?.into(),
                _ => "".into(),
            },
            _ => match wire::find(bytes, 2)? {
                Some(Wire::Varint(number)) => number.cast_signed().into(),
                _ => 0.into(),
            },
        },
        (Shape::Time, Wire::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%SZ")?,
        (Shape::MicroTime, Wire::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%S.%6fZ")?,
        // Raw JSON, in a message of its own.
        (Shape::Any, Wire::Bytes(bytes)) => match wire::find(bytes, 1)? {
            Some(Wire::Bytes(raw)) => serde_json::from_slice(raw).map_err(|_| Malformed)?,
            _ => Value::Null,
        },
        (Shape::Struct(name), Wire::Bytes(bytes)) => {
            let mut fields = Map::new();
            if let Some(of) = types::named(name) {
                read_message(name, of, bytes, deepest, &mut fields)?;
            }
            Value::Object(fields)
        }
        _ => return Err(Malformed),
    })
}

/// Seconds and nanoseconds; a time that was never set has neither.
fn time(bytes: &[u8], format: &str) -> Result<Value, Malformed> {
    let Some(Wire::Varint(seconds)) = wire::find(bytes, 1)? else {
        return Ok(Value::Null);
    };
    let nanoseconds = match wire::find(bytes, 2)? {
        Some(Wire::Varint(number)) => i32::try_from(number).map_err(|_| Malformed)?,
        _ => 0,
    };
    let time = jiff::Timestamp::new(seconds.cast_signed(), nanoseconds).map_err(|_| Malformed)?;
    Ok(time.strftime(format).to_string().into())
}
