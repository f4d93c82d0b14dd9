//! Sets of fields from objects: what one object says, what another changes in it, and an object without some of them.
//! Source: `sigs.k8s.io/structured-merge-diff` v6.3 `typed`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::set::{self, FieldSet};
use super::shape::{Form, Shape, items};

/// What a new object changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) added: FieldSet,
    pub(crate) modified: FieldSet,
    pub(crate) removed: FieldSet,
}

impl Changes {
    pub(crate) fn between(shape: Shape<'_>, old: &Value, new: &Value) -> Self {
        let mut changes = Self::default();
        changes.visit(shape, Some(old), Some(new), &mut Vec::new());
        changes
    }

    /// All three, without places that the write cannot change.
    pub(crate) fn without(&self, paths: &[&[&str]]) -> Self {
        Self {
            added: self.added.without(paths),
            modified: self.modified.without(paths),
            removed: self.removed.without(paths),
        }
    }

    fn visit(&mut self, shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>, path: &mut Vec<String>) {
        // null takes the form of the other side.
        let telling = new
            .filter(|value| !value.is_null())
            .or(old)
            .unwrap_or(&Value::Null);
        let nothing = old.is_none_or(is_nothing) && new.is_none_or(is_nothing);
        let form = if nothing { Form::Whole } else { shape.form(telling) };
        match form {
            Form::Whole => {
                self.whole(old, new, path);
                return;
            }
            Form::Object => {
                let (before, after) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
                let names: BTreeSet<&String> = before.into_iter().chain(after).flat_map(Map::keys).collect();
                for name in names {
                    let (old, new) = (
                        before.and_then(|old| old.get(name)),
                        after.and_then(|new| new.get(name)),
                    );
                    if old == new {
                        continue;
                    }
                    path.push(set::field(name));
                    self.visit(shape.field(name).0, old, new, path);
                    path.pop();
                }
            }
            Form::Set | Form::Items => {
                let (before, after) = (by_branch(shape, old), by_branch(shape, new));
                let branches: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
                for branch in branches {
                    let (old, new) = (before.get(branch).copied(), after.get(branch).copied());
                    if old == new {
                        continue;
                    }
                    path.push(branch.clone());
                    self.visit(shape.item(), old, new, path);
                    path.pop();
                }
            }
        }
        if old.is_none() {
            self.added.insert(path);
        } else if new.is_none() {
            self.removed.insert(path);
        }
    }

    fn whole(&mut self, old: Option<&Value>, new: Option<&Value>, path: &[String]) {
        match (old, new) {
            (None, _) => self.added.insert(path),
            (_, None) => self.removed.insert(path),
            (old, new) if old != new => self.modified.insert(path),
            _ => {}
        }
    }
}

fn by_branch<'v>(shape: Shape<'_>, list: Option<&'v Value>) -> BTreeMap<String, &'v Value> {
    let list = list
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    items(shape, list).into_iter().collect()
}

/// null and what is empty: a place without content, owned as a whole.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// The fields that an applied object says.
pub(crate) fn fields_of(shape: Shape<'_>, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    collect(shape, value, &mut Vec::new(), &mut set);
    set
}

fn collect(shape: Shape<'_>, value: &Value, path: &mut Vec<String>, set: &mut FieldSet) {
    match (shape.form(value), value) {
        (Form::Object, Value::Object(fields)) => {
            for (name, value) in fields {
                let (inner, declared) = shape.field(name);
                path.push(set::field(name));
                collect(inner, value, path, set);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if empty || !declared {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (Form::Set | Form::Items, Value::Array(list)) => {
            for (branch, item) in items(shape, list) {
                path.push(branch);
                collect(shape.item(), item, path, set);
                set.insert(path);
                path.pop();
            }
        }
        _ => set.insert(path),
    }
}

/// The set with the fields of structs in it of which it has only parts: so that a struct goes with its last field.
pub(crate) fn with_structs(shape: Shape<'_>, set: &FieldSet) -> FieldSet {
    let below = set.below.iter().map(|(branch, inner)| {
        let (next, declared) = match branch.strip_prefix("f:") {
            Some(name) => shape.field(name),
            None => (shape.item(), false),
        };
        let mut inner = with_structs(next, inner);
        inner.member |= declared;
        (branch.clone(), inner)
    });
    FieldSet {
        member: set.member,
        below: below.collect(),
    }
}

/// The value without the places of the set; `None` when nothing is left of it.
pub(crate) fn without(shape: Shape<'_>, value: &Value, gone: &FieldSet) -> Option<Value> {
    if gone.below.is_empty() {
        return Some(value.clone());
    }
    match (shape.form(value), value) {
        (Form::Object, Value::Object(fields)) => {
            let left: Map<String, Value> = fields
                .iter()
                .filter_map(|(name, value)| {
                    let rest = remaining(shape.field(name).0, value, gone, &set::field(name))?;
                    Some((name.clone(), rest))
                })
                .collect();
            (!left.is_empty()).then_some(Value::Object(left))
        }
        (Form::Set | Form::Items, Value::Array(list)) => {
            let left: Vec<Value> = list
                .iter()
                .filter_map(|item| remaining(shape.item(), item, gone, &shape.branch(item)))
                .collect();
            (!left.is_empty()).then_some(Value::Array(left))
        }
        _ => Some(value.clone()),
    }
}

fn remaining(shape: Shape<'_>, value: &Value, gone: &FieldSet, branch: &str) -> Option<Value> {
    match gone.below.get(branch) {
        Some(inner) if inner.member => None,
        Some(inner) => without(shape, value, inner),
        None => Some(value.clone()),
    }
}
