//! What a patch made of an object does not fit the kind's type: as Kubernetes says that, unlike for a whole object.
//! Source: `k8s.io/apiserver` v0.34 `pkg/endpoints/handlers/patch.go`.

use serde_json::{Value, json};

use crate::error::{ApiError, FieldError};

/// `" "" is invalid: patch: Invalid value: "{…}": …`. The value is what the patch made, and of a strategic merge
/// patch (`strategic`) the patch itself.
pub fn unfit(made: &Value, strategic: Option<&Value>, why: &ApiError) -> ApiError {
    let value = match strategic {
        Some(patch) => go(patch),
        None => made.to_string(),
    };
    let said = match why.message.find("strict decoding error") {
        Some(start) => &why.message[start..],
        None => &why.message,
    };
    let error = FieldError {
        field: "patch".into(),
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {}: {said}", Value::from(value)),
    };
    let mut answer = ApiError::invalid("", "", "", &[error]);
    answer.details = json!({"causes": answer.details["causes"]});
    answer
}

/// A value as Go prints it.
pub(super) fn go(value: &Value) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    #[test]
    fn a_patch_that_makes_nonsense_is_shown_with_what_is_wrong() {
        let why = ApiError::new(Reason::BadRequest, "json: cannot unmarshal number");
        let made = json!({"data": {"a": 3}});
        assert_eq!(
            unfit(&made, None, &why).message,
            " \"\" is invalid: patch: Invalid value: \"{\\\"data\\\":{\\\"a\\\":3}}\": json: cannot unmarshal number"
        );
        let head = "Pod in version \"v1\" cannot be handled as a Pod: ";
        let why = ApiError::new(
            Reason::BadRequest,
            format!("{head}strict decoding error: unknown field \"x\""),
        );
        assert_eq!(
            unfit(&made, Some(&made), &why).message,
            " \"\" is invalid: patch: Invalid value: \"map[data:map[a:3]]\": strict decoding error: unknown field \"x\""
        );
    }
}
