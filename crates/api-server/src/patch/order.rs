//! The order of a list after a strategic merge: what the patch names comes in the patch's order, the rest keeps the
//! server's, and the two are woven together by the places they had on the server.
//! Source: `k8s.io/apimachinery` v0.34 `pkg/util/strategicpatch`, `normalizeElementOrder`.

use serde_json::Value;

use super::strategic::PATCH;

/// Puts `merged` in order. `wanted` names items (by `key`, or by value when it is empty) in the order of the patch,
/// `server` is the list before the patch.
pub(super) fn place(merged: Vec<Value>, wanted: &[Value], server: &[Value], key: &str) -> Vec<Value> {
    let (mut named, mut rest): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|item| position(wanted, item, key).is_some());
    named.sort_by_key(|item| position(wanted, item, key));
    rest.sort_by_key(|item| position(server, item, key));
    let mut placed = Vec::with_capacity(named.len() + rest.len());
    let mut named = named.into_iter().peekable();
    let mut rest = rest.into_iter().peekable();
    loop {
        let rest_first = match (rest.peek(), named.peek()) {
            (None, None) => return placed,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(left), Some(right)) => {
                // A new item has no place on the server, and goes before what is left of the server's.
                match (position(server, left, key), position(server, right, key)) {
                    (Some(left), Some(right)) => left < right,
                    _ => false,
                }
            }
        };
        placed.extend(if rest_first { rest.next() } else { named.next() });
    }
}

/// Each value once, at its first place.
pub(super) fn distinct(list: Vec<Value>) -> Vec<Value> {
    let mut seen: Vec<Value> = Vec::with_capacity(list.len());
    for value in list {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

/// Whether the items of the patch come in the order of its `$setElementOrder`; the error is Kubernetes' sentence.
pub(super) fn check(patch: &[Value], wanted: &[Value], key: &str) -> Result<(), String> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mut places = wanted.iter();
    let follows = patch
        .iter()
        .filter(|item| item.get(PATCH).is_none())
        .all(|item| places.any(|place| same(place, item, key)));
    if follows {
        return Ok(());
    }
    Err(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        Value::from(patch),
        Value::from(wanted)
    ))
}

fn position(list: &[Value], item: &Value, key: &str) -> Option<usize> {
    list.iter().position(|there| same(there, item, key))
}

fn same(a: &Value, b: &Value, key: &str) -> bool {
    if key.is_empty() {
        return a == b;
    }
    a.get(key).is_some() && a.get(key) == b.get(key)
}
