//! Fields that the schema does not know are dropped, and named so that a client can be warned.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/apiserver/schema/pruning`; of metadata, `schema/objectmeta`.

use serde_json::Value;

use super::node::{Additional, Node};
use super::path::Path;

/// What an object has without its schema saying so.
const RESOURCE: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Fields of `ObjectMeta`; also of `meta/v1` v0.34.
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
const OWNER_REFERENCE: [&str; 6] = [
    "apiVersion",
    "blockOwnerDeletion",
    "controller",
    "kind",
    "name",
    "uid",
];
const MANAGED_FIELDS: [&str; 7] = [
    "apiVersion",
    "fieldsType",
    "fieldsV1",
    "manager",
    "operation",
    "subresource",
    "time",
];

/// Drops what `node` does not know and gives the paths of it, sorted.
pub(super) fn prune(node: &Node, value: &mut Value) -> Vec<String> {
    let mut dropped = Vec::new();
    at(Some(node), value, &Path::ROOT, &mut dropped);
    dropped.sort();
    dropped
}

/// `node` is absent for what is inside an unknown or unlimited field.
fn at(node: Option<&Node>, value: &mut Value, path: &Path<'_>, dropped: &mut Vec<String>) {
    if let Some(node) = node.filter(|node| node.preserve_unknown_fields) {
        return inside(node, value, path, dropped);
    }
    match value {
        Value::Object(fields) => {
            let is_resource = node.is_some_and(|node| node.embedded_resource);
            fields.retain(|name, value| {
                if is_resource && RESOURCE.contains(&name.as_str()) {
                    if name == "metadata" {
                        metadata(value, &path.field("metadata"), dropped);
                    }
                    return true;
                }
                let Some((child, path)) = known(node, name, path) else {
                    dropped.push(path.field(name).to_string());
                    return false;
                };
                at(child, value, &path, dropped);
                true
            });
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                at(
                    node.and_then(|node| node.items.as_deref()),
                    item,
                    &path.index(index),
                    dropped,
                );
            }
        }
        _ => {}
    }
}

/// Unknown fields are kept at this level, yet known ones prune within themselves.
fn inside(node: &Node, value: &mut Value, path: &Path<'_>, dropped: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if node.embedded_resource && RESOURCE.contains(&name.as_str()) {
                    if name == "metadata" {
                        metadata(value, &path.field("metadata"), dropped);
                    }
                } else if let Some((child, path)) = known(Some(node), name, path) {
                    at(child, value, &path, dropped);
                }
            }
        }
        Value::Array(items) => {
            let Some(node) = node.items.as_deref() else { return };
            for (index, item) in items.iter_mut().enumerate() {
                inside(node, item, &path.index(index), dropped);
            }
        }
        _ => {}
    }
}

/// The schema of a field that is known (none: its inside is unknown), with its path; `None`: the field is unknown.
fn known<'a>(
    node: Option<&'a Node>,
    name: &'a str,
    path: &'a Path<'a>,
) -> Option<(Option<&'a Node>, Path<'a>)> {
    let node = node?;
    if let Some(child) = node.properties.get(name) {
        return Some((Some(child), path.field(name)));
    }
    match node.additional.as_ref()? {
        Additional::Schema(schema) => Some((Some(schema), path.field(name))),
        Additional::Any(_) => Some((None, path.field(name))),
    }
}

/// Metadata goes through its type, which knows its fields.
fn metadata(value: &mut Value, path: &Path<'_>, dropped: &mut Vec<String>) {
    keep(value, &METADATA, path, dropped);
    for (list, known) in [
        ("ownerReferences", &OWNER_REFERENCE[..]),
        ("managedFields", &MANAGED_FIELDS[..]),
    ] {
        let Some(items) = value.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for (index, item) in items.iter_mut().enumerate() {
            keep(item, known, &path.field(list).index(index), dropped);
        }
    }
}

fn keep(value: &mut Value, known: &[&str], path: &Path<'_>, dropped: &mut Vec<String>) {
    let Some(fields) = value.as_object_mut() else {
        return;
    };
    fields.retain(|name, _| {
        let keeps = known.contains(&name.as_str());
        if !keeps {
            dropped.push(path.field(name).to_string());
        }
        keeps
    });
}
