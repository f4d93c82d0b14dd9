//! Strategic merge patch: `application/strategic-merge-patch+json`, what `kubectl patch` and `kubectl edit` send for
//! built-in kinds. Lists merge by a key that the kind's Go type names ([`crate::builtin::types`]).
//!
//! Source: `k8s.io/apimachinery` v0.34 `pkg/util/strategicpatch`, with the options of the API server: directives are
//! carried out, nulls that remove nothing are forgotten. Directives:
//!
//! | directive | effect |
//! |---|---|
//! | `$patch: replace` | the object (or, in a list, the list) becomes what the patch has beside it |
//! | `$patch: delete` | the object becomes empty; in a list, the item with this key goes |
//! | `$deleteFromPrimitiveList/f: [v]` | these values leave the list `f` |
//! | `$setElementOrder/f: […]` | the order of the list `f` after the merge ([`super::order`]) |
//! | `$retainKeys: […]` | all other fields of the object go |

use serde_json::{Map, Value};

use super::order;
use crate::builtin::types::{self, Field, Type};
use crate::error::{ApiError, Reason};
use crate::kind::Kind;
use crate::patch::json::json_name;

pub(super) const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

type Object = Map<String, Value>;

/// The object with the patch merged in.
///
/// # Errors
/// `UnsupportedMediaType` for kinds of a CustomResourceDefinition, as Kubernetes has no Go type for them either.
/// `BadRequest` for a patch that contradicts itself, `Unknown` (500 without a reason, as Kubernetes answers) for one that names an
/// unknown directive or lacks a merge key.
pub fn strategic(kind: &Kind, object: &Value, patch: &Value) -> Result<Value, ApiError> {
    if kind.custom.is_some() {
        let message = "the body of the request was in an unknown format - accepted media types include: \
                       application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        return Err(ApiError::new(Reason::UnsupportedMediaType, message));
    }
    let Value::Object(patch) = patch else {
        let message = format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            json_name(patch)
        );
        return Err(ApiError::new(Reason::BadRequest, message));
    };
    let original = object.as_object().cloned().unwrap_or_default();
    merge_object(original, patch.clone(), types::of(kind)).map(Value::Object)
}

/// Merges an object; `of` is `None` in maps, whose values are merged as plain JSON.
fn merge_object(
    mut original: Object,
    mut patch: Object,
    of: Option<&'static Type>,
) -> Result<Object, ApiError> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Object::new()),
            _ => Err(unknown_directive(&directive)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_orders(&mut original, &mut patch, of)?;
    // After the merge of the same list: what is deleted stays deleted.
    let (deletions, rest): (Object, Object) = patch
        .into_iter()
        .partition(|(name, _)| name.starts_with(DELETE_FROM));
    for (name, value) in rest {
        merge_field(&mut original, name, value, of)?;
    }
    for (directive, values) in deletions {
        let name = directive.trim_start_matches(DELETE_FROM);
        let Value::Array(gone) = values else {
            return Err(bad_request("invalid patch format of primitive list"));
        };
        if let Some(Value::Array(list)) = original.get_mut(name) {
            list.retain(|item| !gone.contains(item));
        }
    }
    Ok(original)
}

fn merge_field(
    original: &mut Object,
    name: String,
    value: Value,
    of: Option<&'static Type>,
) -> Result<(), ApiError> {
    if value.is_null() {
        original.remove(&name);
        return Ok(());
    }
    let field = of.and_then(|of| of.fields.get(name.as_str()));
    let merged = match (original.remove(&name), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            let inner = field.and_then(|field| match field.shape {
                types::Shape::Struct(name) => types::named(name),
                _ => None,
            });
            Some(Value::Object(merge_object(old, new, inner)?))
        }
        (Some(Value::Array(old)), Value::Array(new)) => Some(Value::Array(merge_list(old, new, field)?)),
        (_, new) => clean(new),
    };
    if let Some(merged) = merged {
        original.insert(name, merged);
    }
    Ok(())
}

/// Merges a list by the field's merge key, by value, or (no strategy) replaces it.
fn merge_list(old: Vec<Value>, new: Vec<Value>, field: Option<&Field>) -> Result<Vec<Value>, ApiError> {
    let Some(key) = field.and_then(|field| field.merge_key) else {
        return Ok(new.into_iter().filter_map(clean).collect());
    };
    if key.is_empty() {
        let mut merged = old.clone();
        merged.extend(new.iter().cloned());
        return Ok(order::place(order::distinct(merged), &new, &old, key));
    }
    let inner = field.and_then(|field| field.shape.element());
    let (old, new) = carry_out_item_directives(old, new, key)?;
    let mut merged = old.clone();
    for item in new.iter().cloned() {
        let value = key_of(&item, key)?.clone();
        let Value::Object(item) = item else { continue };
        let found = merged.iter_mut().find(|there| there.get(key) == Some(&value));
        match found {
            Some(there) => {
                let before = there.as_object().cloned().unwrap_or_default();
                *there = Value::Object(merge_object(before, item, inner)?);
            }
            None => merged.extend(clean(Value::Object(item))),
        }
    }
    Ok(order::place(merged, &new, &old, key))
}

/// `$patch` of list items: deletes from the old list, or makes the new list the only one. The new list comes back
/// without such items.
fn carry_out_item_directives(
    mut old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), ApiError> {
    let mut plain = Vec::new();
    let mut replace = false;
    for item in new {
        match item.get(PATCH) {
            None => plain.push(item),
            Some(Value::String(directive)) if directive == "delete" => {
                let value = key_of(&item, key)?;
                old.retain(|there| there.get(key) != Some(value));
            }
            Some(Value::String(directive)) if directive == "replace" => replace = true,
            Some(Value::String(directive)) if directive == "merge" => {
                return Err(internal("merging lists cannot yet be specified in the patch"));
            }
            Some(other) => return Err(unknown_directive(other)),
        }
    }
    Ok(if replace {
        (plain.into_iter().filter_map(clean).collect(), Vec::new())
    } else {
        (old, plain)
    })
}

fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), ApiError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let wrong = || bad_request("invalid patch format of retainKeys");
    let keys: Vec<String> = serde_json::from_value(keys).map_err(|_| wrong())?;
    let contradicts = |(name, value): (&String, &Value)| {
        !value.is_null()
            && !name.starts_with(DELETE_FROM)
            && !name.starts_with(SET_ORDER)
            && !keys.contains(name)
    };
    if patch.iter().any(contradicts) {
        return Err(wrong());
    }
    original.retain(|name, _| keys.contains(name));
    Ok(())
}

/// Merges each list that has a `$setElementOrder` and puts it in that order.
fn set_orders(original: &mut Object, patch: &mut Object, of: Option<&'static Type>) -> Result<(), ApiError> {
    let directives: Vec<String> = patch
        .keys()
        .filter(|name| name.starts_with(SET_ORDER))
        .cloned()
        .collect();
    for directive in directives {
        let name = directive.trim_start_matches(SET_ORDER).to_owned();
        let Some(Value::Array(wanted)) = patch.remove(&directive) else {
            return Err(bad_request("invalid patch format of setElementOrder list"));
        };
        let field = of.and_then(|of| of.fields.get(name.as_str()));
        let key = field.and_then(|field| field.merge_key).unwrap_or_default();
        let new = match patch.remove(&name) {
            None => None,
            Some(Value::Array(new)) => Some(new),
            Some(_) => return Err(bad_request("invalid patch format of setElementOrder list")),
        };
        let old = match original.remove(&name) {
            Some(Value::Array(old)) => Some(old),
            _ => None,
        };
        if let Some(new) = &new {
            order::check(new, &wanted, key).map_err(internal)?;
        }
        let before = old.clone().unwrap_or_default();
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => new.into_iter().filter_map(clean).collect(),
            (Some(old), Some(new)) => merge_list(old, new, field)?,
        };
        original.insert(name, Value::Array(order::place(merged, &wanted, &before, key)));
    }
    Ok(())
}

/// A value that had nothing to merge with: without nulls and directives; `None` when it is itself a directive.
fn clean(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(PATCH) => None,
        Value::Object(fields) => Some(Value::Object(
            fields
                .into_iter()
                .filter(|(name, value)| !value.is_null() && !is_directive(name))
                .filter_map(|(name, value)| Some((name, clean(value)?)))
                .collect(),
        )),
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(clean).collect())),
        plain => Some(plain),
    }
}

fn is_directive(name: &str) -> bool {
    name == RETAIN_KEYS || name.starts_with(DELETE_FROM) || name.starts_with(SET_ORDER)
}

fn key_of<'a>(item: &'a Value, key: &str) -> Result<&'a Value, ApiError> {
    item.get(key)
        .ok_or_else(|| internal(format!("map: {item} does not contain declared merge key: {key}")))
}

fn unknown_directive(directive: &Value) -> ApiError {
    let said = directive
        .as_str()
        .map_or_else(|| directive.to_string(), str::to_owned);
    internal(format!("unknown patch type: {said} in map: map[$patch:{said}]"))
}

fn bad_request(message: impl Into<String>) -> ApiError {
    ApiError::new(Reason::BadRequest, message)
}

fn internal(message: impl Into<String>) -> ApiError {
    ApiError::new(Reason::Unknown, message)
}

#[cfg(test)]
#[path = "strategic_tests.rs"]
mod tests;
