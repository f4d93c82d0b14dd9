//! Field errors in Kubernetes' words: what follows the field in `spec.x: Invalid value: "a": must be …`.
//! Source of the sentences: `k8s.io/apimachinery` v0.34, `pkg/util/validation/field/errors.go`.

use serde_json::Value;

use crate::error::FieldError;

impl FieldError {
    /// `Required value`, `Required value: must be specified`.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::say(field, "FieldValueRequired", "Required value", detail)
    }

    /// `Invalid value: "A": should be lower case`.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::of_value(field, "FieldValueInvalid", "Invalid value", value, detail)
    }

    /// As [`FieldError::invalid`], of a value whose JSON type is wrong.
    pub fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::of_value(field, "FieldValueTypeInvalid", "Invalid value", value, detail)
    }

    /// `Unsupported value: "x": supported values: "a", "b"`.
    pub fn not_supported<S: AsRef<str>>(field: impl Into<String>, value: &Value, supported: &[S]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|one| quote(one.as_ref())).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::of_value(
            field,
            "FieldValueNotSupported",
            "Unsupported value",
            value,
            &detail,
        )
    }

    /// `Forbidden: must not be set`.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::say(field, "FieldValueForbidden", "Forbidden", detail)
    }

    /// `Duplicate value: "a"`.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::of_value(field, "FieldValueDuplicate", "Duplicate value", value, "")
    }

    /// `Too long: may not be more than 63 bytes`.
    pub fn too_long(field: impl Into<String>, at_most: i64) -> Self {
        let detail = match at_most {
            less if less < 0 => "value is too long".to_owned(),
            1 => "may not be more than 1 byte".to_owned(),
            more => format!("may not be more than {more} bytes"),
        };
        Self::say(field, "FieldValueTooLong", "Too long", &detail)
    }

    /// `Too many: 3: must have at most 2 items`.
    pub fn too_many(field: impl Into<String>, actual: i64, at_most: i64) -> Self {
        let detail = match at_most {
            less if less < 0 => "has too many items".to_owned(),
            1 => "must have at most 1 item".to_owned(),
            more => format!("must have at most {more} items"),
        };
        Self::of_value(field, "FieldValueTooMany", "Too many", &actual.into(), &detail)
    }

    fn of_value(
        field: impl Into<String>,
        reason: &'static str,
        what: &str,
        value: &Value,
        detail: &str,
    ) -> Self {
        Self::say(field, reason, &format!("{what}: {}", shown(value)), detail)
    }

    fn say(field: impl Into<String>, reason: &'static str, what: &str, detail: &str) -> Self {
        let message = if detail.is_empty() {
            what.to_owned()
        } else {
            format!("{what}: {detail}")
        };
        Self {
            field: field.into(),
            reason,
            message,
        }
    }
}

/// A value as error messages show it: strings in Go's quotes, numbers as Go's `%v`, the rest as JSON.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => shown_float(float),
            _ => number.to_string(),
        },
        Value::Bool(flag) => flag.to_string(),
        // Go's encoder writes these three so that JSON is safe inside HTML.
        compound => compound
            .to_string()
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026"),
    }
}

/// Go's `%v` of a float64: the shortest digits, with an exponent below 1e-4 and from 1e21.
pub fn shown_float(float: f64) -> String {
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent
            .strip_prefix('-')
            .map_or(('+', exponent), |rest| ('-', rest));
        format!("{digits}e{sign}{exponent:0>2}")
    } else {
        format!("{float}")
    }
}

/// Go's `%q` of a string.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            control if control < ' ' || control == '\u{7f}' => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(control)));
            }
            printable => quoted.push(printable),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_shown_as_go_shows_them() {
        assert_eq!(shown(&json!("a\"b\n")), r#""a\"b\n""#);
        assert_eq!(shown(&json!(0.5)), "0.5");
        assert_eq!(shown(&json!(3.0)), "3");
        assert_eq!(shown(&json!(1e21)), "1e+21");
        assert_eq!(shown(&json!(0.00001)), "1e-05");
        assert_eq!(shown(&json!(99_999_999_999_i64)), "99999999999");
        assert_eq!(shown(&json!({"b": 1, "a": "<"})), r#"{"a":"\u003c","b":1}"#);
        assert_eq!(shown(&json!(null)), "null");
    }

    #[test]
    fn an_error_says_what_is_wrong_then_why() {
        let error = FieldError::not_supported("spec.mode", &json!("c"), &["a", "b"]);
        assert_eq!(
            error.message,
            r#"Unsupported value: "c": supported values: "a", "b""#
        );
        assert_eq!(error.reason, "FieldValueNotSupported");
        assert_eq!(FieldError::required("spec", "").message, "Required value");
        assert_eq!(
            FieldError::too_many("spec.set", 4, 3).message,
            "Too many: 4: must have at most 3 items"
        );
        assert_eq!(
            FieldError::too_long("spec.name", 1).message,
            "Too long: may not be more than 1 byte"
        );
    }
}
