//! `metadata` as the server keeps it: what it fills in, what it takes from nobody, and what must be well-formed.
//! Source: `k8s.io/apiserver` v0.34, `pkg/registry/rest/{create,update,meta}.go`, `pkg/storage/names`;
//! `k8s.io/apimachinery` v0.34, `pkg/api/validation/objectmeta.go`.

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Map, Value};

use crate::error::FieldError;
use crate::kind::Kind;
use crate::selector::{is_label_key, is_label_value};

/// Fields only the server writes.
const SYSTEM_FIELDS: [&str; 6] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
];

/// A generated name keeps this much of its base: 63 less five random letters.
const MAX_GENERATED_BASE: usize = 58;

/// Seconds, as metadata spells times.
pub(crate) fn timestamp(now: jiff::Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The `metadata` of an object; made when it is missing.
pub(crate) fn of(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    match &mut object["metadata"] {
        Value::Object(fields) => fields,
        // Set to an object just above.
        _ => unreachable!("metadata is an object"),
    }
}

/// Fills in what a new object gets.
pub(crate) fn begin(object: &mut Value, kind: &Kind, now: jiff::Timestamp, rng: &mut StdRng) {
    let generation = kind.generation;
    let uid = uid(rng);
    let metadata = of(object);
    for field in SYSTEM_FIELDS {
        metadata.remove(field);
    }
    metadata.remove("resourceVersion");
    metadata.insert("uid".to_owned(), uid.into());
    metadata.insert("creationTimestamp".to_owned(), timestamp(now).into());
    if generation {
        metadata.insert("generation".to_owned(), 1.into());
    }
}

/// `shop-` becomes `shop-x7k2m`.
pub(crate) fn generated_name(base: &str, rng: &mut StdRng) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut name: String = base.chars().take(MAX_GENERATED_BASE).collect();
    for _ in 0..5 {
        name.push(char::from(LETTERS[rng.random_range(0..LETTERS.len())]));
    }
    name
}

/// A random (version 4) uid from the server's own generator.
pub(crate) fn uid(rng: &mut StdRng) -> String {
    let mut bytes: [u8; 16] = rng.random();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Carries over from the stored object what callers cannot change.
pub(crate) fn carry_over(new: &mut Value, old: &Value) {
    let metadata = of(new);
    for field in SYSTEM_FIELDS {
        match old["metadata"].get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
}

/// One more than before; nothing when the kind does not count.
pub(crate) fn next_generation(object: &mut Value) {
    if let Some(generation) = object["metadata"]["generation"]
        .as_i64()
        .filter(|count| *count > 0)
    {
        object["metadata"]["generation"] = (generation + 1).into();
    }
}

/// Whether two objects differ in what `generation` counts.
pub(crate) fn spec_differs(kind: &Kind, old: &Value, new: &Value) -> bool {
    let counted = |name: &String| {
        !(matches!(name.as_str(), "metadata" | "apiVersion" | "kind")
            || (kind.status_subresource && name == "status"))
    };
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return old != new;
    };
    old.iter()
        .any(|(name, value)| counted(name) && new.get(name) != Some(value))
        || new.keys().any(|name| counted(name) && !old.contains_key(name))
}

/// Finalizers of an object.
pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"]
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// Empty lists and maps and nulls are as good as absent; Kubernetes does not show them.
pub(crate) fn tidy(object: &mut Value) {
    let metadata = of(object);
    for field in [
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "managedFields",
    ] {
        let empty = match metadata.get(field) {
            Some(Value::Null) => true,
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Object(map)) => map.is_empty(),
            _ => false,
        };
        if empty {
            metadata.remove(field);
        }
    }
    for field in ["generateName", "namespace", "selfLink", "resourceVersion", "uid"] {
        if matches!(metadata.get(field), Some(Value::Null)) || metadata.get(field) == Some(&"".into()) {
            metadata.remove(field);
        }
    }
}

/// What is wrong with an object's metadata.
pub(crate) fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let metadata = &object["metadata"];
    validate_labels(&metadata["labels"], "metadata.labels", &mut errors);
    validate_annotations(&metadata["annotations"], &mut errors);
    for name in finalizers(object) {
        if !is_label_key(name) {
            errors.push(invalid(
                "metadata.finalizers",
                name,
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            ));
        }
    }
    validate_owners(&metadata["ownerReferences"], &mut errors);
    errors
}

fn validate_labels(labels: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let Some(labels) = labels.as_object() else {
        return;
    };
    for (key, value) in labels {
        if !is_label_key(key) {
            errors.push(invalid(
                field,
                key,
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            ));
        }
        let value = value.as_str().unwrap_or_default();
        if value.len() > 63 {
            errors.push(invalid(field, value, "must be no more than 63 bytes"));
        } else if !is_label_value(value) {
            errors.push(invalid(
                field,
                value,
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            ));
        }
    }
}

fn validate_annotations(annotations: &Value, errors: &mut Vec<FieldError>) {
    /// Keys and values together.
    const MAX_BYTES: usize = 256 * 1024;
    let Some(annotations) = annotations.as_object() else {
        return;
    };
    let mut bytes = 0;
    for (key, value) in annotations {
        if !is_label_key(&key.to_lowercase()) {
            errors.push(invalid(
                "metadata.annotations",
                key,
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            ));
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > MAX_BYTES {
        errors.push(FieldError {
            field: "metadata.annotations".to_owned(),
            reason: "FieldValueTooLong",
            message: format!("Too long: may not be more than {MAX_BYTES} bytes"),
        });
    }
}

fn validate_owners(owners: &Value, errors: &mut Vec<FieldError>) {
    let Some(owners) = owners.as_array() else {
        return;
    };
    for (at, owner) in owners.iter().enumerate() {
        for (field, shown) in [
            ("apiVersion", "version"),
            ("kind", "kind"),
            ("name", "name"),
            ("uid", "uid"),
        ] {
            if owner[field].as_str().is_none_or(str::is_empty) {
                errors.push(FieldError {
                    field: format!("metadata.ownerReferences[{at}].{field}"),
                    reason: "FieldValueInvalid",
                    message: format!("Invalid value: \"\": {shown} must not be empty"),
                });
            }
        }
    }
    let controllers = owners.iter().filter(|owner| owner["controller"] == true).count();
    if controllers > 1 {
        errors.push(FieldError {
            field: "metadata.ownerReferences".to_owned(),
            reason: "FieldValueInvalid",
            message: "Invalid value: Only one reference can have Controller set to true".to_owned(),
        });
    }
}

/// Whether a name can be part of a path at all.
pub(crate) fn validate_name(kind: &Kind, name: &str) -> Vec<FieldError> {
    if matches!(name, "." | "..") || name.contains(['/', '%']) {
        return vec![invalid(
            "metadata.name",
            name,
            "may not be '.', '..' or contain '/' or '%'",
        )];
    }
    let free = kind.custom.is_none()
        && (kind.group == "rbac.authorization.k8s.io" || matches!(kind.plural.as_str(), "events"));
    if free || is_subdomain(name) {
        return Vec::new();
    }
    vec![invalid(
        "metadata.name",
        name,
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    )]
}

fn is_subdomain(name: &str) -> bool {
    let edge = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    name.len() <= 253
        && name.split('.').all(|part| {
            part.starts_with(edge)
                && part.ends_with(edge)
                && part.chars().all(|letter| edge(letter) || letter == '-')
        })
}

fn invalid(field: &str, value: &str, why: &str) -> FieldError {
    FieldError {
        field: field.to_owned(),
        reason: "FieldValueInvalid",
        message: format!("Invalid value: \"{value}\": {why}"),
    }
}
