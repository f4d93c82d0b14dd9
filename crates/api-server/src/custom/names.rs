//! Names that another definition of the group has already.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/controller/status/naming_controller.go`.

use std::sync::Arc;

use serde_json::Value;

use super::{text, texts};

/// Why the names of a definition cannot be accepted beside these: the reason of `NamesAccepted` and its message. Of
/// several conflicts Kubernetes tells the last in this order.
pub(super) fn conflict(crd: &Value, others: &[Arc<Value>]) -> Option<(&'static str, String)> {
    let (mut resources, mut kinds) = (Vec::new(), Vec::new());
    for other in others {
        let same = other["metadata"]["name"] == crd["metadata"]["name"];
        if same || other["spec"]["group"] != crd["spec"]["group"] {
            continue;
        }
        let names = &other["status"]["acceptedNames"];
        resources.extend([text(&names["plural"]), text(&names["singular"])]);
        resources.extend(texts(&names["shortNames"]));
        kinds.extend([text(&names["kind"]), text(&names["listKind"])]);
    }
    let names = &crd["spec"]["names"];
    let mut found = None;
    let mut look = |reason: &'static str, wanted: Vec<String>, taken: &[String]| {
        if let Some(name) = wanted.into_iter().find(|name| taken.contains(name)) {
            found = Some((reason, format!("\"{name}\" is already in use")));
        }
    };
    look("PluralConflict", vec![text(&names["plural"])], &resources);
    look("SingularConflict", vec![text(&names["singular"])], &resources);
    look("ShortNamesConflict", texts(&names["shortNames"]), &resources);
    look("KindConflict", vec![text(&names["kind"])], &kinds);
    look("ListKindConflict", vec![text(&names["listKind"])], &kinds);
    found
}
