//! One object in several versions: stored once, shown in the version asked for. Conversion strategy `None` changes
//! only `apiVersion`; events are the one built-in kind with two shapes.
//! Source: Kubernetes v1.34, `pkg/apis/events/v1/conversion.go`.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::kind::Kind;

/// Fields of an event: in the core group, in `events.k8s.io`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Whether objects of this kind are shown as they are stored, but for `apiVersion` and `kind`.
pub(crate) fn is_as_stored(kind: &Kind) -> bool {
    kind.group != "events.k8s.io"
}

/// A stored object in the version of `kind`; itself where that is the one it is stored in.
pub(crate) fn presented<'a>(kind: &Kind, object: &'a Value) -> Cow<'a, Value> {
    if is_as_stored(kind) && object["apiVersion"] == kind.api_version() && object["kind"] == kind.kind {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    if !is_as_stored(kind) {
        rename(&mut object, |(core, new)| (core, new));
    }
    name_version(kind, &mut object);
    Cow::Owned(object)
}

/// An object of `kind` as it is to be stored.
pub(crate) fn stored(kind: &Kind, stored_as: &Kind, mut object: Value) -> Value {
    if !is_as_stored(kind) {
        rename(&mut object, |(core, new)| (new, core));
        object["apiVersion"] = "v1".into();
        return object;
    }
    name_version(stored_as, &mut object);
    object
}

fn name_version(kind: &Kind, object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), kind.api_version().into());
        fields.insert("kind".to_owned(), kind.kind.as_str().into());
    }
}

fn rename(
    object: &mut Value,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    for pair in EVENT_FIELDS {
        let (from, to) = direction(pair);
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}

/// The answer of `/version`: the Kubernetes release whose behaviour is meant.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": "v1.34.4", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-02-10T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    })
}
