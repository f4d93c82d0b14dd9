//! Decoding of built-in kinds, as the Go types would do it and write the object again: values of a wrong type are
//! refused, unknown fields dropped and named, numbers, times and quantities brought to their one form, empty values
//! dropped or written as `omitempty` says.
//! Source: `k8s.io/apimachinery` v0.34 `pkg/runtime/serializer/json`; sentences as v1.34.4 answers them.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::quantity::Quantity;
use super::types::{self, Field, Shape, Type};
use crate::error::{ApiError, Reason};
use crate::kind::Kind;
use crate::patch::json_name;

/// The object as Kubernetes would write it, and the paths of fields it does not know, as in
/// `spec.template.spec.containers[0].imag`. Objects of kinds without a type come back as they are.
///
/// # Errors
/// `BadRequest`: `Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal …`.
pub fn normalise(kind: &Kind, object: Value) -> Result<(Value, Vec<String>), ApiError> {
    let Some(of) = types::of(kind) else {
        return Ok((object, Vec::new()));
    };
    let mut decoder = Decoder::default();
    let root = Place {
        owner: of.name,
        way: &Way::Root,
    };
    match decoder.fields(of, object, root) {
        Ok(decoded) => Ok((decoded, decoder.unknown)),
        Err(why) => Err(ApiError::new(Reason::BadRequest, cannot_be_handled(kind, &why))),
    }
}

/// What a strict request (`fieldValidation=Strict`) answers to unknown fields.
pub fn strict_error(kind: &Kind, unknown: &[String]) -> ApiError {
    let said: Vec<String> = unknown
        .iter()
        .map(|path| format!("unknown field \"{path}\""))
        .collect();
    let why = format!("strict decoding error: {}", said.join(", "));
    ApiError::new(Reason::BadRequest, cannot_be_handled(kind, &why))
}

fn cannot_be_handled(kind: &Kind, why: &str) -> String {
    let (version, kind) = (&kind.version, &kind.kind);
    format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}")
}

/// Where a value is, as the messages say it.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The innermost struct: `Container`.
    owner: &'static str,
    way: &'a Way<'a>,
}

/// How one comes from the object to a value: spelled only when something is wrong with it.
#[derive(Clone, Copy)]
enum Way<'a> {
    Root,
    Field(&'a Way<'a>, &'a str),
    Key(&'a Way<'a>, &'a str),
    Index(&'a Way<'a>, usize),
}

impl Way<'_> {
    /// The whole of it: `spec.containers[0].image`.
    fn whole(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(before, name) | Self::Key(before, name) => joined(before.whole(), name),
            Self::Index(before, place) => format!("{}[{place}]", before.whole()),
        }
    }

    /// The fields on it, without list places and map keys: `spec.containers.image`.
    fn fields(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(before, name) => joined(before.fields(), name),
            Self::Key(before, _) | Self::Index(before, _) => before.fields(),
        }
    }
}

#[derive(Default)]
struct Decoder {
    unknown: Vec<String>,
}

impl Decoder {
    fn fields(&mut self, of: &'static Type, value: Value, at: Place<'_>) -> Result<Value, String> {
        let mut fields = match value {
            Value::Object(given) => given,
            Value::Null => Map::new(),
            other => return Err(wrong_type(&other, &format!("v1.{}", of.name), at)),
        };
        let mut wrong = None;
        fields.retain(|name, value| {
            let way = Way::Field(at.way, name);
            let Some(field) = of.fields.get(name.as_str()) else {
                self.unknown.push(way.whole());
                return false;
            };
            if value.is_null() || wrong.is_some() {
                return false;
            }
            let inside = Place {
                owner: of.name,
                way: &way,
            };
            match self.value(&field.shape, value.take(), inside) {
                Ok(decoded) => *value = decoded,
                Err(why) => wrong = Some(why),
            }
            field.always || !is_omitted(field, value)
        });
        if let Some(why) = wrong {
            return Err(why);
        }
        for (name, field) in &of.fields {
            if field.always && !fields.contains_key(*name) {
                fields.insert((*name).to_owned(), zero(field));
            }
        }
        Ok(Value::Object(fields))
    }

    fn value(&mut self, shape: &Shape, value: Value, at: Place<'_>) -> Result<Value, String> {
        match (shape, value) {
            (Shape::Any, value) => Ok(value),
            (Shape::Struct(name), value) => match types::named(name) {
                Some(of) => {
                    if value.is_object() {
                        self.fields(of, value, Place { owner: of.name, ..at })
                    } else {
                        self.fields(of, value, at)
                    }
                }
                None => Ok(value),
            },
            (Shape::List(item), Value::Array(mut items)) => {
                for (place, value) in items.iter_mut().enumerate() {
                    let way = Way::Index(at.way, place);
                    *value = self.element(item, value.take(), Place { way: &way, ..at })?;
                }
                Ok(Value::Array(items))
            }
            (Shape::Map(inner), Value::Object(mut entries)) => {
                for (key, value) in &mut entries {
                    let way = Way::Key(at.way, key);
                    *value = self.element(inner, value.take(), Place { way: &way, ..at })?;
                }
                Ok(Value::Object(entries))
            }
            (shape, value) => scalar(shape, value, at),
        }
    }

    /// A part of a list or map: `null` is its zero value.
    fn element(&mut self, shape: &Shape, value: Value, at: Place<'_>) -> Result<Value, String> {
        if value.is_null() {
            return Ok(zero_of(shape));
        }
        self.value(shape, value, at)
    }
}

fn scalar(shape: &Shape, value: Value, at: Place<'_>) -> Result<Value, String> {
    match (shape, &value) {
        (Shape::String, Value::String(_))
        | (Shape::Bool, Value::Bool(_))
        | (Shape::Float64, Value::Number(_)) => Ok(value),
        (Shape::Int32 | Shape::Int64, Value::Number(number)) => {
            let whole = number.as_i64().or_else(|| {
                // Go's decoder of Kubernetes takes 1.0 for 1.
                let float = number.as_f64()?;
                #[allow(clippy::cast_possible_truncation)]
                (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
            });
            let fits = whole.filter(|whole| *shape == Shape::Int64 || i32::try_from(*whole).is_ok());
            fits.map(Value::from).ok_or_else(|| {
                let found = format!("number {number}");
                wrong(&found, &shape.go_name(), at)
            })
        }
        (Shape::IntOrString, Value::String(_)) => Ok(value),
        (Shape::IntOrString, Value::Number(number)) if number.is_i64() => Ok(value),
        (Shape::Quantity, Value::String(text)) => quantity(text),
        (Shape::Quantity, other) => quantity(&other.to_string()),
        (Shape::Time, Value::String(text)) => time(text, 0),
        (Shape::MicroTime, Value::String(text)) => time(text, 6),
        (Shape::Bytes, Value::String(text)) => bytes(text),
        _ => Err(wrong_type(&value, &shape.go_name(), at)),
    }
}

fn quantity(text: &str) -> Result<Value, String> {
    match Quantity::parse(text.trim()) {
        Some(read) => Ok(read.canonical().into()),
        None => Err(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                .into(),
        ),
    }
}

fn time(text: &str, precision: usize) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let read: jiff::Timestamp = text.parse().map_err(|_| {
        let layout = if precision == 0 {
            "2006-01-02T15:04:05Z07:00"
        } else {
            "2006-01-02T15:04:05.000000Z07:00"
        };
        format!("parsing time \"{text}\" as \"{layout}\": cannot parse \"{text}\" as \"2006\"")
    })?;
    Ok(match precision {
        0 => read.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        _ => read.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
    }
    .into())
}

fn bytes(text: &str) -> Result<Value, String> {
    let kept: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    if base64::engine::general_purpose::STANDARD.decode(&kept).is_ok() {
        return Ok(kept.into());
    }
    let bad = kept
        .bytes()
        .position(|b| !b.is_ascii_alphanumeric() && !b"+/=".contains(&b))
        .unwrap_or(kept.len() / 4 * 4);
    Err(format!("illegal base64 data at input byte {bad}"))
}

/// A value that `omitempty` leaves out. A pointer to a zero value is not one.
fn is_omitted(field: &Field, value: &Value) -> bool {
    match (&field.shape, value) {
        (_, Value::Null) => true,
        (Shape::List(_) | Shape::Map(_), Value::Array(items)) => items.is_empty(),
        (Shape::Map(_), Value::Object(entries)) => entries.is_empty(),
        (Shape::Struct(_) | Shape::Any, _) => false,
        _ if field.pointer => false,
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Bool(set)) => !set,
        (_, Value::Number(number)) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

fn zero(field: &Field) -> Value {
    if field.pointer {
        return Value::Null;
    }
    zero_of(&field.shape)
}

/// What Go writes for a value never set.
fn zero_of(shape: &Shape) -> Value {
    match shape {
        Shape::String | Shape::Bytes => "".into(),
        Shape::Bool => false.into(),
        Shape::Int32 | Shape::Int64 | Shape::Float64 | Shape::IntOrString => 0.into(),
        Shape::Quantity => "0".into(),
        Shape::Time | Shape::MicroTime | Shape::Any | Shape::List(_) | Shape::Map(_) => Value::Null,
        Shape::Struct(name) => {
            let mut written = json!({});
            for (name, field) in types::named(name).into_iter().flat_map(|of| &of.fields) {
                if field.always {
                    written[*name] = zero(field);
                }
            }
            written
        }
    }
}

fn wrong_type(value: &Value, wanted: &str, at: Place<'_>) -> String {
    wrong(json_name(value), wanted, at)
}

fn wrong(found: &str, wanted: &str, at: Place<'_>) -> String {
    let fields = at.way.fields();
    if fields.is_empty() {
        return format!("json: cannot unmarshal {found} into Go value of type {wanted}");
    }
    format!(
        "json: cannot unmarshal {found} into Go struct field {}.{fields} of type {wanted}",
        at.owner
    )
}

fn joined(mut path: String, name: &str) -> String {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
    path
}

#[cfg(test)]
#[path = "typed_tests.rs"]
mod tests;
