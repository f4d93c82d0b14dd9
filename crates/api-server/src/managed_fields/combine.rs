//! An applied object laid over the live one: fields and items merge where they are owned apart, all else is taken
//! from the applied. Items come in the order of the applied list; those it lacks keep their places between them.
//! Source: `sigs.k8s.io/structured-merge-diff` v6.3 `typed/merge.go`.

use serde_json::{Map, Value};

use super::shape::{Form, Shape, items};

pub(crate) fn combine(shape: Shape<'_>, live: Option<&Value>, applied: &Value) -> Value {
    let Some(live) = live else {
        return applied.clone();
    };
    match (shape.form(applied), live, applied) {
        (Form::Object, Value::Object(live), Value::Object(applied)) => {
            let mut merged: Map<String, Value> = live.clone();
            for (name, value) in applied {
                let value = combine(shape.field(name).0, live.get(name), value);
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Form::Set | Form::Items, Value::Array(live), Value::Array(applied)) => {
            Value::Array(combine_lists(shape, live, applied))
        }
        _ => applied.clone(),
    }
}

fn combine_lists(shape: Shape<'_>, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let (left, right) = (items(shape, live), items(shape, applied));
    let on_left = |branch: &str| {
        left.iter()
            .find(|(there, _)| there == branch)
            .map(|(_, item)| *item)
    };
    let is_right = |branch: &str| right.iter().any(|(there, _)| there == branch);
    let mut merged = Vec::with_capacity(left.len().max(right.len()));
    // Items of both, in the applied order: what the next round waits for.
    let mut shared = right
        .iter()
        .map(|(branch, _)| branch.as_str())
        .filter(|branch| on_left(branch).is_some());
    let mut next_shared = shared.next();
    let mut done: Vec<&str> = Vec::new();
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let Some((branch, item)) = left.get(l) {
            if let Some((same, wanted)) = right.get(r) {
                if same == branch {
                    merged.push(combine(shape.item(), Some(item), wanted));
                    done.push(branch);
                    (l, r) = (l + 1, r + 1);
                    next_shared = shared.next();
                    continue;
                }
                if is_right(branch) && next_shared.is_some_and(|next| next != branch) {
                    l += 1;
                    continue;
                }
            }
            if !is_right(branch) {
                merged.push((*item).clone());
                l += 1;
                continue;
            }
            if done.contains(&branch.as_str()) {
                l += 1;
            }
        }
        if let Some((branch, wanted)) = right.get(r) {
            merged.push(combine(shape.item(), on_left(branch), wanted));
            done.push(branch);
            r += 1;
            if next_shared == Some(branch) {
                next_shared = shared.next();
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::builtin::types;

    fn names(live: &[&str], applied: &[&str]) -> Vec<String> {
        let list = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        let shape = Shape::BuiltInList(
            &["name"],
            types::named("core.v1.Container").expect("in the table"),
        );
        combine_lists(shape, &list(live), &list(applied))
            .iter()
            .map(|item| item["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn applied_items_come_in_the_applied_order() {
        assert_eq!(names(&["a"], &["s", "a"]), ["s", "a"]);
        assert_eq!(names(&["a", "b"], &["b", "a"]), ["b", "a"]);
        assert_eq!(names(&["a", "b", "c"], &["c", "a"]), ["b", "c", "a"]);
        assert_eq!(names(&["a", "b"], &["c"]), ["a", "b", "c"]);
        assert_eq!(names(&[], &["c"]), ["c"]);
    }
}
