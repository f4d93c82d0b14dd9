//! Who owns which field: `metadata.managedFields`.
//!
//! Every write that is no server-side apply is tracked here ([`track`]): the writer owns what it added or changed, and
//! others lose it. Server-side apply ([`crate::patch::apply`]) reads and writes the same entries.
//! Source: `k8s.io/apimachinery` v0.34 `pkg/util/managedfields`, `sigs.k8s.io/structured-merge-diff` v6.3 `merge`.

pub(crate) mod combine;
pub(crate) mod compare;
pub(crate) mod managers;
pub(crate) mod set;
pub(crate) mod shape;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::compare::Changes;
use self::managers::Manager;
use self::set::FieldSet;
use self::shape::Shape;
use crate::builtin::typed;
use crate::kind::Kind;

/// Fields that nobody owns: the server's own.
const UNOWNED: [&[&str]; 11] = [
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:clusterName"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
];

/// Writes into `new` who owns its fields after this write. `old` is the object it replaces, none for a create;
/// `operation` is `Update` for all writes but apply. Called on the object as decoded and defaulted, before admission
/// adds to it: what the server adds is nobody's.
pub fn track(
    kind: &Kind,
    old: Option<&Value>,
    new: &mut Value,
    manager: &str,
    operation: &str,
    subresource: Option<&str>,
    now: Timestamp,
) {
    let zero;
    let before = match old {
        Some(old) => old,
        None => {
            zero = empty(kind);
            &zero
        }
    };
    let changes = Changes::between(Shape::of(kind), before, new).without(&reset(kind, subresource));
    let known = entries_before(old, new, subresource.is_some());
    // An object whose owners were forgotten is not tracked until it is applied.
    if known.is_empty() && old.is_some() {
        return;
    }
    let me = Manager {
        name: if manager.is_empty() {
            "unknown".into()
        } else {
            manager.to_owned()
        },
        applied: operation == "Apply",
        api_version: kind.api_version(),
        subresource: subresource.unwrap_or_default().to_owned(),
        time: managers::stamp(now),
        fields: FieldSet::default(),
    };
    managers::set_written(new, updated(known, &changes, me));
}

/// The entries to go on from: those the writer sent back, else those of the object before. Takes them out of `new`.
fn entries_before(old: Option<&Value>, new: &mut Value, subresource: bool) -> Vec<Value> {
    let is_sent = new["metadata"]["managedFields"].is_array();
    let sent = managers::remove(new);
    let live = old.map(managers::written).unwrap_or_default();
    // One empty entry, or none: the way to forget all owners.
    let forgets = match sent.as_slice() {
        [] => is_sent,
        [one] => one.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    };
    if forgets && !subresource {
        return Vec::new();
    }
    if sent == live && managers::are_readable(live) {
        return sent;
    }
    if !subresource && !sent.is_empty() && managers::are_readable(&sent) {
        // As the server writes them, whoever wrote these.
        return sent
            .iter()
            .filter_map(Manager::parse)
            .map(|entry| entry.write())
            .collect();
    }
    if managers::are_readable(live) {
        live.to_vec()
    } else {
        Vec::new()
    }
}

/// What a write took from the others, and gave to its manager. Most writes touch no field of most entries: those are
/// not taken apart.
fn updated(known: Vec<Value>, changes: &Changes, me: Manager) -> Vec<Value> {
    let taken = changes.added.union(&changes.modified);
    let lost = taken.union(&changes.removed);
    let mut after: Vec<Value> = known
        .into_iter()
        .filter_map(|mut entry| {
            let fields = &entry["fieldsV1"];
            if lost.meets(fields) {
                let left = FieldSet::parse(fields).difference(&lost);
                entry["fieldsV1"] = left.write();
            }
            let owns = |fields: &serde_json::Map<_, _>| !fields.is_empty();
            entry["fieldsV1"].as_object().is_some_and(owns).then_some(entry)
        })
        .collect();
    let taken = owned(&taken);
    if !taken.is_empty() {
        match after.iter_mut().find(|entry| me.is_written(entry)) {
            Some(mine) => {
                if !taken.is_in(&mine["fieldsV1"]) {
                    let fields = FieldSet::parse(&mine["fieldsV1"]).union(&taken);
                    mine["fieldsV1"] = fields.write();
                }
                mine["time"] = me.time.into();
            }
            None => after.push(Manager { fields: taken, ..me }.write()),
        }
    }
    managers::capped(after)
}

/// The set without the fields that nobody owns.
pub(crate) fn owned(fields: &FieldSet) -> FieldSet {
    let mut fields = fields.without(&UNOWNED);
    if let Some(metadata) = fields.below.get_mut("f:metadata") {
        metadata.member = false;
    }
    fields.below.retain(|_, branch| !branch.is_empty());
    fields
}

/// What a create starts from: the zero value of the kind's type.
pub(crate) fn empty(kind: &Kind) -> Value {
    let bare = json!({"apiVersion": kind.api_version(), "kind": kind.kind});
    match typed::normalise(kind, bare.clone()) {
        Ok((zero, _)) => zero,
        Err(_) => bare,
    }
}

/// What this write cannot change, and so does not own: the status through the object, all else through `/status`.
pub(crate) fn reset(kind: &Kind, subresource: Option<&str>) -> Vec<&'static [&'static str]> {
    match subresource {
        None if kind.status_subresource => vec![&["f:status"]],
        Some("status") if kind.custom.is_some() => vec![&["f:spec"], &["f:metadata"]],
        Some("status") if kind.group.is_empty() && kind.kind == "Pod" => vec![
            &["f:spec"],
            &["f:metadata", "f:deletionTimestamp"],
            &["f:metadata", "f:ownerReferences"],
        ],
        Some("status") => vec![&["f:spec"]],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
