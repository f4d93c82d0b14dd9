//! `metadata` as the server keeps it: what it fills in, and what it takes from nobody.
//! Source: `k8s.io/apiserver` v0.34, `pkg/registry/rest/{create,update,meta}.go`, `pkg/storage/names`.

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Map, Value};

use crate::kind::Kind;

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
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
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
