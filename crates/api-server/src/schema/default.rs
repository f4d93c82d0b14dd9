//! Defaults of the schema are filled in, and nulls that it does not allow go.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/apiserver/schema/defaulting`.

use serde_json::Value;

use super::node::{Additional, Node};

/// Fills in defaults: of absent fields, and of nulls where null is not allowed.
pub(super) fn fill(node: &Node, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, child) in &node.properties {
                let Some(default) = &child.default else { continue };
                let absent = match fields.get(name) {
                    None => true,
                    Some(value) => value.is_null() && !child.nullable,
                };
                if absent {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in fields.iter_mut() {
                if let Some(child) = node.properties.get(name) {
                    fill(child, value);
                } else if let Some(Additional::Schema(child)) = &node.additional {
                    fill_element(child, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(child) = node.items.as_deref() else {
                return;
            };
            for item in items {
                fill_element(child, item);
            }
        }
        _ => {}
    }
}

fn fill_element(node: &Node, value: &mut Value) {
    if let Some(default) = node
        .default
        .as_ref()
        .filter(|_| value.is_null() && !node.nullable)
    {
        *value = default.clone();
    }
    fill(node, value);
}

/// Drops fields that are null where null is neither allowed nor defaulted. Items of lists stay.
pub(super) fn drop_nulls(node: &Node, value: &mut Value) {
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            let Some(child) = node.child(name) else {
                return true;
            };
            if value.is_null() && !child.nullable && child.default.is_none() {
                return false;
            }
            drop_nulls(child, value);
            true
        }),
        Value::Array(items) => {
            let Some(child) = node.items.as_deref() else {
                return;
            };
            for item in items {
                drop_nulls(child, item);
            }
        }
        _ => {}
    }
}
