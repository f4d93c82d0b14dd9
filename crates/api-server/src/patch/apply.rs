//! Server-side apply: `application/apply-patch+yaml`.
//!
//! ```text
//! live ──combine── applied            fields the applier says win, fields it no longer says go unless
//!          │                          another manager owns them
//!        merged ──prune── what this applier owned before and does not say now
//!          │
//!        changed, and owned by others? ── 409 with each field and its manager; `force` takes them over
//! ```
//!
//! Source: `sigs.k8s.io/structured-merge-diff` v6.3 `merge/update.go`, `k8s.io/apimachinery` v0.34
//! `pkg/util/managedfields`. Not done here: taking over what client-side `kubectl apply` owned by its annotation
//! (kubectl itself moves those entries).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::declared;
use crate::error::{ApiError, Reason};
use crate::kind::Kind;
use crate::managed_fields::combine::combine;
use crate::managed_fields::compare::{Changes, fields_of, with_structs, without};
use crate::managed_fields::managers::{self, Manager};
use crate::managed_fields::set::FieldSet;
use crate::managed_fields::shape::Shape;
use crate::managed_fields::{empty, owned, reset};

/// The live object (none: it is created) with the applied laid over it, and with its new owners. Not yet decoded and
/// defaulted, and not to be tracked again.
///
/// # Errors
/// `Conflict` when a change touches fields of other managers and is not forced, `BadRequest` for another kind or with
/// managedFields, `Unknown` (500 without a reason, as Kubernetes answers) for fields the kind does not have.
pub fn apply(
    kind: &Kind,
    live: Option<&Value>,
    applied: &Value,
    manager: &str,
    force: bool,
    now: Timestamp,
) -> Result<Value, ApiError> {
    apply_subresource(kind, None, live, applied, manager, force, now)
}

/// [`apply`] to a subresource, as `status`.
///
/// # Errors
/// As [`apply`].
pub fn apply_subresource(
    kind: &Kind,
    subresource: Option<&str>,
    live: Option<&Value>,
    applied: &Value,
    manager: &str,
    force: bool,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let shape = Shape::of(kind);
    check(kind, shape, applied)?;
    let cannot_change = reset(kind, subresource);
    let said = fields_of(shape, applied).without(&cannot_change);
    let me = Manager {
        name: manager.to_owned(),
        applied: true,
        api_version: kind.api_version(),
        subresource: subresource.unwrap_or_default().to_owned(),
        time: String::new(),
        fields: owned(&said),
    };
    let before = live.map_or_else(|| empty(kind), managers::removed);
    let mut known = entries(kind, shape, live, &before, now);
    let mine_before = known
        .iter()
        .position(|there| there.is(&me))
        .map(|place| known.remove(place));
    let merged = combine(shape, Some(&before), applied);
    let merged = match &mine_before {
        Some(last) => prune(shape, &merged, &last.fields, &known, said),
        None => merged,
    };
    let changes = Changes::between(shape, &before, &merged).without(&cannot_change);
    let known = settle(known, &changes, force)?;
    let time = if merged == before {
        mine_before.map(|last| last.time).unwrap_or_default()
    } else {
        managers::stamp(now)
    };
    let mut result = merged;
    let mut after = known;
    after.push(Manager { time, ..me });
    managers::set(&mut result, after);
    Ok(result)
}

fn check(kind: &Kind, shape: Shape<'_>, applied: &Value) -> Result<(), ApiError> {
    let said = |name: &str| applied[name].as_str().unwrap_or_default();
    if said("kind") != kind.kind || said("apiVersion") != kind.api_version() {
        let (group, version) = said("apiVersion")
            .split_once('/')
            .unwrap_or(("", said("apiVersion")));
        let message = format!("invalid object type: {group}/{version}, Kind={}", said("kind"));
        return Err(ApiError::new(Reason::BadRequest, message));
    }
    if applied["metadata"]
        .get("managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return Err(ApiError::new(
            Reason::BadRequest,
            "metadata.managedFields must be nil",
        ));
    }
    let wrong = declared::check(shape, applied);
    let list = match wrong.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let name = |field: &str| applied["metadata"][field].as_str().unwrap_or_default();
    let message = format!(
        "failed to create typed patch object ({}/{}; {}/{}, Kind={}): {list}",
        name("namespace"),
        name("name"),
        kind.group,
        kind.version,
        kind.kind
    );
    Err(ApiError::new(Reason::Unknown, message))
}

/// The entries of the live object. One without any was there before the first apply: someone owns all of it.
fn entries(
    kind: &Kind,
    shape: Shape<'_>,
    live: Option<&Value>,
    before: &Value,
    now: Timestamp,
) -> Vec<Manager> {
    let Some(live) = live else { return Vec::new() };
    let known = managers::of(live).unwrap_or_default();
    if !known.is_empty() {
        return known;
    }
    let changes = Changes::between(shape, &empty(kind), before).without(&reset(kind, None));
    vec![Manager {
        name: "before-first-apply".into(),
        applied: false,
        api_version: kind.api_version(),
        subresource: String::new(),
        time: managers::stamp(now),
        fields: owned(&changes.added.union(&changes.modified)),
    }]
}

/// The merged object without what this applier owned, does not say now, and no one else owns.
fn prune(shape: Shape<'_>, merged: &Value, last: &FieldSet, others: &[Manager], mut mine: FieldSet) -> Value {
    if last.is_empty() {
        return merged.clone();
    }
    let nothing = json!({});
    let last = with_structs(shape, last);
    let all = with_structs(shape, &fields_of(shape, merged));
    let left = |value: &Value| with_structs(shape, &fields_of(shape, value));
    let pruned = without(shape, merged, &last).unwrap_or_else(|| nothing.clone());
    // Back comes what anyone owns,
    mine.insert(&["f:metadata".to_owned(), "f:name".to_owned()]);
    let managed = others.iter().fold(mine, |all, other| all.union(&other.fields));
    let managed = with_structs(shape, &managed);
    let gone = all.difference(&left(&pruned).union(&managed));
    let pruned = without(shape, merged, &gone).unwrap_or_else(|| nothing.clone());
    // and what this applier never owned.
    let gone = all.difference(&left(&pruned)).intersection(&last);
    without(shape, merged, &gone).unwrap_or(nothing)
}

/// Takes what changed from the other managers, when that is allowed.
fn settle(known: Vec<Manager>, changes: &Changes, force: bool) -> Result<Vec<Manager>, ApiError> {
    let taken = changes.added.union(&changes.modified);
    let conflicts: Vec<(String, Vec<String>)> = known
        .iter()
        .map(|other| (other.shown(), other.fields.intersection(&taken).paths()))
        .filter(|(_, paths)| !paths.is_empty())
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(conflict(conflicts));
    }
    let left = known.into_iter().map(|other| Manager {
        fields: other.fields.difference(&taken).difference(&changes.removed),
        ..other
    });
    Ok(left.filter(|other| !other.fields.is_empty()).collect())
}

/// `Apply failed with 1 conflict: conflict with "x" using v1: .data.a`.
fn conflict(mut conflicts: Vec<(String, Vec<String>)>) -> ApiError {
    conflicts.sort();
    let count: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    let causes: Vec<Value> = conflicts
        .iter()
        .flat_map(|(manager, paths)| {
            paths.iter().map(move |path| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path})
            })
        })
        .collect();
    let message = match conflicts.as_slice() {
        [(manager, paths)] if count == 1 => {
            format!(
                "Apply failed with 1 conflict: conflict with {manager}: {}",
                paths.concat()
            )
        }
        many => {
            let lines: Vec<String> = many
                .iter()
                .flat_map(|(manager, paths)| {
                    let head = format!("conflicts with {manager}:");
                    std::iter::once(head).chain(paths.iter().map(|path| format!("- {path}")))
                })
                .collect();
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    ApiError {
        reason: Reason::Conflict,
        message,
        details: json!({"causes": causes}),
    }
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
