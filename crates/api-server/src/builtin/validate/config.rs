//! ConfigMaps and Secrets.

use serde_json::Value;

use super::{Errors, entries, name, text};

const IMMUTABLE: &str = "field is immutable when `immutable` is set";
/// All data of a ConfigMap or Secret together.
const MAX_SIZE: usize = 1024 * 1024;

/// An event is kept beside what it is about.
pub(super) fn event(object: &Value, errors: &mut Errors) {
    let about = &object["involvedObject"]["namespace"];
    let elsewhere = about.as_str().is_some_and(|namespace| !namespace.is_empty());
    if elsewhere && *about != object["metadata"]["namespace"] {
        errors.invalid(
            "involvedObject.namespace",
            about,
            "does not match event.namespace",
        );
    }
}

pub(super) fn config_map(object: &Value, errors: &mut Errors) {
    let binary = |key: &str| object["binaryData"].get(key).is_some();
    keys(object, "data", errors, |key, errors| {
        if binary(key) {
            errors.invalid(
                format!("data[{key}]"),
                key,
                "duplicate of key present in binaryData",
            );
        }
    });
    keys(object, "binaryData", errors, |_, _| {});
    let plain: usize = entries(object, "/data")
        .map(|(_, value)| value.as_str().map_or(0, str::len))
        .sum();
    too_long(plain + decoded(object, "/binaryData"), "", errors);
}

pub(super) fn secret(object: &Value, errors: &mut Errors) {
    keys(object, "data", errors, |_, _| {});
    too_long(decoded(object, "/data"), "data", errors);
    let data = |key: &str| object["data"].get(key).is_some();
    let required: &[&str] = match text(object, "/type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/service-account-token" => {
            let name = &object["metadata"]["annotations"]["kubernetes.io/service-account.name"];
            if name.as_str().unwrap_or_default().is_empty() {
                errors.required("metadata.annotations[kubernetes.io/service-account.name]", "");
            }
            &[]
        }
        _ => &[],
    };
    for key in required.iter().filter(|key| !data(key)) {
        errors.required(format!("data[{key}]"), "");
    }
}

pub(super) fn config_map_update(old: &Value, new: &Value, errors: &mut Errors) {
    kept(old, new, &["data", "binaryData"], errors);
}

pub(super) fn secret_update(old: &Value, new: &Value, errors: &mut Errors) {
    errors.immutable("type", &old["type"], &new["type"]);
    kept(old, new, &["data"], errors);
}

/// An object with `immutable: true` stays what it is.
fn kept(old: &Value, new: &Value, fields: &[&str], errors: &mut Errors) {
    if old["immutable"] != true {
        return;
    }
    if new["immutable"] != true {
        errors.forbidden("immutable", IMMUTABLE);
    }
    for field in fields {
        if old[*field] != new[*field] {
            errors.forbidden(*field, IMMUTABLE);
        }
    }
}

fn keys(object: &Value, field: &str, errors: &mut Errors, also: impl Fn(&str, &mut Errors)) {
    for (key, _) in entries(object, &format!("/{field}")) {
        for why in name::config_key(key) {
            errors.invalid(format!("{field}[{key}]"), key, &why);
        }
        also(key, errors);
    }
}

/// Bytes that the base64 at this pointer stands for.
fn decoded(object: &Value, pointer: &str) -> usize {
    entries(object, pointer)
        .filter_map(|(_, value)| value.as_str())
        .map(|text| text.trim_end_matches('=').len() * 3 / 4)
        .sum()
}

fn too_long(size: usize, field: &str, errors: &mut Errors) {
    if size > MAX_SIZE {
        let message = format!("Too long: may not be more than {MAX_SIZE} bytes");
        errors.add(field, "FieldValueTooLong", message);
    }
}
