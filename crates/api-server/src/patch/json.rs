//! JSON patch, RFC 6902: `application/json-patch+json`. Answers as `pkg/endpoints/handlers/patch.go` of
//! `k8s.io/apiserver` v0.34: what cannot be read is 400, what cannot be applied is 422 and says no more.

use json_patch::PatchOperation;
use serde_json::{Value, json};

use crate::error::{ApiError, Reason};

/// More operations than this in one patch are refused (413 there, 400 here).
const MAX_OPERATIONS: usize = 10_000;

/// The object with all operations applied in turn, or none.
///
/// # Errors
/// `BadRequest` when the patch cannot be read, `Invalid` when an operation does not fit the object or a test fails.
pub fn json(object: &Value, patch: &[u8]) -> Result<Value, ApiError> {
    let read: Value = serde_json::from_slice(patch)
        .map_err(|error| ApiError::new(Reason::BadRequest, format!("error decoding patch: {error}")))?;
    let Value::Array(operations) = read else {
        let message = format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
            json_name(&read)
        );
        return Err(ApiError::new(Reason::BadRequest, message));
    };
    if operations.len() > MAX_OPERATIONS {
        let message = format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        );
        return Err(ApiError::new(Reason::BadRequest, message));
    }
    let operations: Vec<PatchOperation> = operations
        .into_iter()
        .map(serde_json::from_value)
        .collect::<Result<_, _>>()
        .map_err(|_| refused())?;
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &operations).map_err(|_| refused())?;
    Ok(patched)
}

/// What Kubernetes answers whatever the reason.
fn refused() -> ApiError {
    ApiError {
        reason: Reason::Invalid,
        message: "the server rejected our request due to an error in our request".into(),
        details: json!({}),
    }
}

/// As Go's decoder names what it found.
pub(crate) fn json_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(object: Value, patch: Value) -> Result<Value, (Reason, String)> {
        json(&object, patch.to_string().as_bytes()).map_err(|error| (error.reason, error.message))
    }

    #[test]
    fn operations_are_applied_in_turn() {
        let patch = json!([
            {"op": "add", "path": "/metadata/finalizers/-", "value": "b"},
            {"op": "remove", "path": "/metadata/finalizers/0"},
            {"op": "test", "path": "/metadata/finalizers/0", "value": "b"},
        ]);
        let patched = answer(json!({"metadata": {"finalizers": ["a"]}}), patch);
        assert_eq!(patched, Ok(json!({"metadata": {"finalizers": ["b"]}})));
    }

    #[test]
    fn what_does_not_fit_the_object_is_answered_as_kubernetes_does() {
        let refused = Err((
            Reason::Invalid,
            "the server rejected our request due to an error in our request".to_owned(),
        ));
        let object = json!({"data": {"a": "1"}});
        for patch in [
            json!([{"op": "remove", "path": "/data/z"}]),
            json!([{"op": "test", "path": "/data/a", "value": "2"}]),
            json!([{"op": "foo", "path": "/data/a", "value": "2"}]),
        ] {
            assert_eq!(answer(object.clone(), patch), refused);
        }
    }

    #[test]
    fn a_patch_that_is_no_list_is_a_bad_request() {
        let message = "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp";
        assert_eq!(
            answer(json!({}), json!({"op": "remove"})),
            Err((Reason::BadRequest, message.to_owned()))
        );
    }
}
