//! JSON merge patch, RFC 7386: `application/merge-patch+json`.

use serde_json::Value;

/// The object with the patch merged in: `null` removes a field, objects merge, all else replaces.
pub fn merge(mut object: Value, patch: &Value) -> Value {
    json_patch::merge(&mut object, patch);
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_removes_and_lists_are_replaced() {
        let merged = merge(
            json!({"data": {"a": "1", "b": "2"}, "list": [1, 2]}),
            &json!({"data": {"a": null, "c": "3"}, "list": [3]}),
        );
        assert_eq!(merged, json!({"data": {"b": "2", "c": "3"}, "list": [3]}));
    }

    #[test]
    fn nulls_below_a_new_field_leave_nothing_behind() {
        assert_eq!(merge(json!({}), &json!({"a": {"b": null}})), json!({"a": {}}));
    }
}
