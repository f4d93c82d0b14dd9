//! JSON patches (RFC 6902) and merge patches (RFC 7386).

use ::json_patch::{Patch, PatchErrorKind};
use serde_json::{Value, json};

use super::document::JsonPatch;

/// What the text of a `value` means: a quoted text is that text; null, booleans, numbers, objects and lists are
/// themselves; anything else is a text.
///
/// # Errors
/// It begins as an object or list, and is none.
pub fn value_of(text: &str) -> Result<Value, String> {
    if text.len() > 1 && text.starts_with('"') && text.ends_with('"') {
        return Ok(Value::from(&text[1..text.len() - 1]));
    }
    match text {
        "null" => return Ok(Value::Null),
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if text.starts_with(['{', '[']) {
        return serde_json::from_str(text)
            .map_err(|error| format!("error in decoding json patch: value {text}: {error}"));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(number @ Value::Number(_)) => Ok(number),
        _ => Ok(Value::from(text)),
    }
}

impl JsonPatch {
    /// As RFC 6902 writes it.
    ///
    /// # Errors
    /// As [`value_of`].
    pub fn operation(&self) -> Result<Value, String> {
        Ok(json!({
            "op": self.operation.to_lowercase(),
            "from": self.from,
            "path": self.path,
            "value": value_of(&self.value)?,
        }))
    }
}

/// The object with all operations applied. When a `test` fails, it is as it was: that is no error.
///
/// # Errors
/// An operation cannot be decoded, or its path does not exist.
pub fn apply(patches: &[JsonPatch], object: &Value) -> Result<Value, String> {
    let operations = patches
        .iter()
        .map(JsonPatch::operation)
        .collect::<Result<Value, _>>()?;
    let patch: Patch = serde_json::from_value(operations)
        .map_err(|error| format!("error in decoding json patch {error}"))?;
    let mut changed = object.clone();
    match ::json_patch::patch(&mut changed, &patch) {
        Ok(()) => Ok(changed),
        Err(error) if matches!(error.kind, PatchErrorKind::TestFailed) => Ok(object.clone()),
        Err(error) => Err(format!("error in applying JSON Patch: {error}")),
    }
}

/// RFC 7386: null removes, objects merge, everything else replaces.
pub fn merge(object: &mut Value, patch: &Value) {
    ::json_patch::merge(object, patch);
}
