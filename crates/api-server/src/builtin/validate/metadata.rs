//! Metadata of every object. Source: `k8s.io/apimachinery` v0.34 `pkg/api/validation/objectmeta.go`.

use serde_json::Value;

use super::{Errors, entries, list, name, text};
use crate::kind::Kind;

/// All annotations of an object together.
const MAX_ANNOTATIONS: usize = 256 * 1024;

pub(super) fn check(kind: &Kind, object: &Value, errors: &mut Errors) {
    let rule = name_rule(kind);
    let (given, generate) = (
        text(object, "/metadata/name"),
        text(object, "/metadata/generateName"),
    );
    if !generate.is_empty() {
        // What is added to it ends well.
        for why in rule(&format!("{}x", generate.trim_end_matches('-'))) {
            errors.invalid("metadata.generateName", generate, &why);
        }
    }
    if given.is_empty() {
        errors.required("metadata.name", "name or generateName is required");
    } else {
        for why in rule(given) {
            errors.invalid("metadata.name", given, &why);
        }
    }
    labels(object, "/metadata/labels", "metadata.labels", errors);
    annotations(object, errors);
    owners(object, errors);
    finalizers(kind, object, errors);
}

/// Labels at a JSON pointer; all their errors carry the path of the map, as Kubernetes says them.
pub(super) fn labels(object: &Value, pointer: &str, path: &str, errors: &mut Errors) {
    for (key, value) in entries(object, pointer) {
        for why in name::qualified(key) {
            errors.invalid(path, key, &why);
        }
        let value = value.as_str().unwrap_or_default();
        for why in name::label_value(value) {
            errors.invalid(path, value, &why);
        }
    }
}

/// What may not change, whatever the kind.
pub(super) fn check_update(old: &Value, new: &Value, errors: &mut Errors) {
    if new.pointer("/metadata/deletionTimestamp").is_some() {
        let before = list(old, "/metadata/finalizers");
        let added: Vec<&str> = list(new, "/metadata/finalizers")
            .iter()
            .filter(|finalizer| !before.contains(finalizer))
            .filter_map(Value::as_str)
            .collect();
        if !added.is_empty() {
            let named: Vec<String> = added.iter().map(|name| format!("\"{name}\"")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                named.join(", ")
            );
            errors.forbidden("metadata.finalizers", &why);
        }
    }
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        let (old, new) = (&old["metadata"][field], &new["metadata"][field]);
        errors.immutable(&format!("metadata.{field}"), old, new);
    }
}

fn name_rule(kind: &Kind) -> name::Rule {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => name::label,
        ("", "Service") => name::label_1035,
        ("rbac.authorization.k8s.io", _) => name::path_segment,
        _ => name::subdomain,
    }
}

fn annotations(object: &Value, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in entries(object, "/metadata/annotations") {
        for why in name::qualified(&key.to_lowercase()) {
            errors.invalid("metadata.annotations", key, &why);
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MAX_ANNOTATIONS {
        let message = format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes");
        errors.add("metadata.annotations", "FieldValueTooLong", message);
    }
}

fn owners(object: &Value, errors: &mut Errors) {
    let path = "metadata.ownerReferences";
    let mut controllers = Vec::new();
    for owner in list(object, "/metadata/ownerReferences") {
        for (field, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                errors.invalid(format!("{path}.{field}"), "", why);
            }
        }
        if owner["controller"] == true {
            controllers.push(owner);
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        let shown = |owner: &Value| {
            let text = |field: &str| owner[field].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", text("kind"), text("name"))
        };
        let (first, second) = (shown(first), shown(second));
        let why = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        errors.invalid(path, &object["metadata"]["ownerReferences"], &why);
    }
}

fn finalizers(kind: &Kind, object: &Value, errors: &mut Errors) {
    const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];
    let names: Vec<&str> = list(object, "/metadata/finalizers")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for finalizer in &names {
        for why in name::qualified(finalizer) {
            errors.invalid("metadata.finalizers", *finalizer, &why);
        }
    }
    let core = matches!(kind.group.as_str(), "" | "apps" | "batch") && kind.custom.is_none();
    if core {
        for (place, finalizer) in names.iter().enumerate() {
            if !finalizer.contains('/') && !STANDARD.contains(finalizer) {
                let why = "name is neither a standard finalizer name nor is it fully qualified";
                errors.invalid(format!("metadata.finalizers[{place}]"), *finalizer, why);
            }
        }
    }
}
