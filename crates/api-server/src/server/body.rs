//! Request bodies: JSON that tells which fields were given twice, with errors in the words of Go's decoder.
//! Source of the words: Go 1.24 `encoding/json`, `sigs.k8s.io/json` v0.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};

use crate::error::{ApiError, Reason};

/// A JSON value, and the paths of fields that stand in it more than once; the last one counts.
pub(crate) fn read(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let mut twice = Vec::new();
    let mut decoder = serde_json::Deserializer::from_slice(bytes);
    let seed = Place {
        path: String::new(),
        twice: &mut twice,
    };
    let value = seed
        .deserialize(&mut decoder)
        .and_then(|value| decoder.end().map(|()| value))
        .map_err(|error| in_go_words(bytes, &error))?;
    Ok((value, twice))
}

/// A merge patch: a JSON object, with these words before what is wrong with it.
pub(crate) fn patch(bytes: &[u8], before: &str) -> Result<Value, ApiError> {
    let bad = |why: String| ApiError::new(Reason::BadRequest, format!("{before}{why}"));
    let (value, _) = read(bytes).map_err(bad)?;
    if value.is_object() {
        return Ok(value);
    }
    let what = crate::patch::json_name(&value);
    Err(bad(format!(
        "json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"
    )))
}

/// Where a value stands, while it is read.
struct Place<'a> {
    path: String,
    twice: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Place {
            path: format!("{}[{}]", self.path, list.len()),
            twice: &mut *self.twice,
        })? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let path = if self.path.is_empty() {
                name.clone()
            } else {
                format!("{}.{name}", self.path)
            };
            let value = fields.next_value_seed(Place {
                path: path.clone(),
                twice: &mut *self.twice,
            })?;
            if map.insert(name, value).is_some() && !self.twice.contains(&path) {
                self.twice.push(path);
            }
        }
        Ok(map.into())
    }
}

/// `invalid character 'n' looking for beginning of object key string`.
fn in_go_words(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.classify() == Category::Eof {
        return "unexpected end of JSON input".to_owned();
    }
    let said = error.to_string();
    let where_to_look = [
        (
            "key must be a string",
            "looking for beginning of object key string",
        ),
        ("expected value", "looking for beginning of value"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("expected `:`", "after object key"),
        ("trailing comma", "looking for beginning of value"),
        ("trailing characters", "after top-level value"),
        ("control character", "in string literal"),
    ];
    let found = where_to_look
        .into_iter()
        .find(|(beginning, _)| said.starts_with(beginning));
    match (found, character(bytes, error.line(), error.column())) {
        (Some((_, words)), Some(letter)) => format!("invalid character {letter:?} {words}"),
        _ => said,
    }
}

fn character(bytes: &[u8], line: usize, column: usize) -> Option<char> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.split('\n').nth(line.checked_sub(1)?)?;
    line.get(column.checked_sub(1)?..)?.chars().next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_given_twice_are_named_once_and_the_last_counts() {
        let (value, twice) = read(br#"{"a":{"b":1,"b":2,"b":3},"c":[{"d":1,"d":2}]}"#).unwrap();
        assert_eq!(value, json!({"a": {"b": 3}, "c": [{"d": 2}]}));
        assert_eq!(twice, ["a.b", "c[0].d"]);
    }

    #[test]
    fn what_is_no_json_is_said_as_go_says_it() {
        for (text, said) in [
            (
                "{not json",
                "invalid character 'n' looking for beginning of object key string",
            ),
            ("{\"a\":", "unexpected end of JSON input"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap_err(), said, "{text}");
        }
    }
}
