//! Lists of `x-kubernetes-list-type` set and map hold each element once.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/apiserver/schema/listtype`.

use serde_json::{Map, Value};

use crate::error::FieldError;

use super::node::{Additional, Node};
use super::path::Path;

/// Adds an error for each element that repeats another.
pub(super) fn check(node: &Node, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (&node.additional, node.properties.get(name)) {
                    (_, Some(child)) => check(child, value, &path.field(name), errors),
                    (Some(Additional::Schema(child)), None) => check(child, value, &path.key(name), errors),
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            match node.list_type.as_deref() {
                Some("set") => {
                    for index in repeated(items) {
                        errors.push(FieldError::duplicate(
                            path.index(index).to_string(),
                            &items[index],
                        ));
                    }
                }
                Some("map") => check_map(node, items, path, errors),
                _ => {}
            }
            let Some(child) = node.items.as_deref() else {
                return;
            };
            for (index, item) in items.iter().enumerate() {
                check(child, item, &path.index(index), errors);
            }
        }
        _ => {}
    }
}

fn check_map(node: &Node, items: &[Value], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some((index, item)) = items
        .iter()
        .enumerate()
        .find(|(_, item)| !item.is_null() && !item.is_object())
    {
        let at = path.index(index).to_string();
        errors.push(FieldError::invalid(
            at,
            item,
            "must be an object for an array of list-type map",
        ));
        return;
    }
    let keys: Vec<Value> = items.iter().map(|item| keys_of(node, item)).collect();
    for index in repeated(&keys) {
        errors.push(FieldError::duplicate(path.index(index).to_string(), &keys[index]));
    }
}

/// The key fields of one element of a map list, as an object; a field that is absent is left out.
fn keys_of(node: &Node, item: &Value) -> Value {
    let keys = &node.list_map_keys;
    let keys: Map<String, Value> = keys
        .iter()
        .filter_map(|key| Some((key.clone(), item.get(key)?.clone())))
        .collect();
    Value::Object(keys)
}

/// The element of the old list that has the same keys; only elements of map lists can be told apart.
pub(super) fn counterpart<'a>(node: &Node, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    if node.list_type.as_deref() != Some("map") {
        return None;
    }
    let keys = keys_of(node, item);
    old?.as_array()?.iter().find(|was| keys_of(node, was) == keys)
}

/// Where an element stands for the second time. Each repeated element is reported once.
fn repeated(items: &[Value]) -> Vec<usize> {
    let times = |index: usize| {
        items[..index]
            .iter()
            .filter(|earlier| **earlier == items[index])
            .count()
    };
    (0..items.len()).filter(|index| times(*index) == 1).collect()
}
