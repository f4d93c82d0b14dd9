//! Events: `pkg/apis/core/validation/events.go`.

use serde_json::Value;

use super::{Errors, text};

const ELSEWHERE: &str = "does not match event.namespace";

/// An Event lies in the namespace of what it is about; of what has none, in `default` or `kube-system`.
pub(super) fn event(object: &Value, errors: &mut Errors) {
    let about = if object["involvedObject"].is_object() {
        "/involvedObject/namespace"
    } else {
        "/regarding/namespace"
    };
    let about = text(object, about);
    let own = text(object, "/metadata/namespace");
    let right = if about.is_empty() {
        matches!(own, "default" | "kube-system")
    } else {
        about == own
    };
    if !right {
        errors.invalid("involvedObject.namespace", about, ELSEWHERE);
    }
}
