//! An object that is already in the cluster: with `existingResourcePolicy` none it is left as it is, and a warning
//! says so when it differs from the backup. ServiceAccounts are merged (velero-behaviour.md 8.3 item 7; Velero's
//! `pkg/restore/merge_service_account.go`).

use caravel_api::labels;
use serde_json::{Map, Value, json};

use crate::metadata::{forget_managed_fields, forget_old_life};

/// What to do with an object that exists.
#[derive(Clone, Debug, PartialEq)]
pub enum Existing {
    /// It is what the backup holds.
    Same,
    /// It is something else; it is left alone and the user is warned.
    Different,
    /// Merge-patch it with this.
    Patch(Value),
}

/// Compares a live object with the one that would be created (labels of this restore included).
///
/// Only what both a user and a restore decide is compared: neither the status nor what the API server writes into
/// metadata. The restore's own labels are not compared, an earlier restore wrote others.
pub fn compare(live: &Value, wanted: &Value, is_service_account: bool) -> Existing {
    let (mut live, mut wanted) = (comparable(live), comparable(wanted));
    for object in [&mut live, &mut wanted] {
        if let Some(labels) = object
            .pointer_mut("/metadata/labels")
            .and_then(Value::as_object_mut)
        {
            labels.remove(labels::BACKUP_NAME);
            labels.remove(labels::RESTORE_NAME);
        }
        drop_empty_maps(object);
    }
    if is_service_account {
        let merged = merge_service_account(&live, &wanted);
        return if merged == live {
            Existing::Same
        } else {
            Existing::Patch(patch_from(&live, &merged))
        };
    }
    if live == wanted {
        Existing::Same
    } else {
        Existing::Different
    }
}

/// What a user and a restore decide.
fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    forget_old_life(&mut object);
    forget_managed_fields(&mut object);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("finalizers");
    }
    object
}

/// The merge patch (RFC 7386) that makes a live object what the backup has, with this restore's labels. Finalizers and
/// what the API server owns are not touched.
pub fn update_patch(live: &Value, wanted: &Value) -> Value {
    difference(&comparable(live), &comparable(wanted)).unwrap_or_else(|| json!({}))
}

/// What a merge patch must say to make `old` into `new`; `None` when they are equal.
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in after {
        let part = match before.get(key) {
            Some(old) => difference(old, value),
            None => Some(value.clone()),
        };
        patch.extend(part.map(|part| (key.clone(), part)));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Live secrets, imagePullSecrets, labels and annotations, with what only the backup has added; the live value wins.
pub fn merge_service_account(live: &Value, wanted: &Value) -> Value {
    let mut merged = live.clone();
    for list in ["secrets", "imagePullSecrets"] {
        let mut entries: Vec<Value> = live
            .get(list)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let before = entries.len();
        for entry in wanted.get(list).and_then(Value::as_array).into_iter().flatten() {
            if !entries.contains(entry) {
                entries.push(entry.clone());
            }
        }
        if entries.len() > before {
            merged[list] = Value::Array(entries);
        }
    }
    for map in ["labels", "annotations"] {
        let Some(additions) = wanted
            .pointer(&format!("/metadata/{map}"))
            .and_then(Value::as_object)
        else {
            continue;
        };
        if additions.is_empty() {
            continue;
        }
        let target = crate::metadata::map_at(&mut merged, map);
        for (key, value) in additions {
            target.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    merged
}

fn patch_from(live: &Value, merged: &Value) -> Value {
    let mut patch = Map::new();
    for list in ["secrets", "imagePullSecrets"] {
        if live.get(list) != merged.get(list) {
            patch.insert(list.into(), merged[list].clone());
        }
    }
    let mut metadata = Map::new();
    for map in ["labels", "annotations"] {
        if live["metadata"].get(map) != merged["metadata"].get(map) {
            metadata.insert(map.into(), merged["metadata"][map].clone());
        }
    }
    if !metadata.is_empty() {
        patch.insert("metadata".into(), json!(metadata));
    }
    Value::Object(patch)
}

/// `labels: {}` and no labels mean the same.
fn drop_empty_maps(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| !value.as_object().is_some_and(Map::is_empty) && !value.is_null());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_an_earlier_restore_made_counts_as_the_same() {
        let live = json!({"metadata": {"name": "a", "uid": "1", "labels": {"velero.io/restore-name": "old"}},
            "data": {"k": "v"}, "status": {"x": 1}});
        let wanted = json!({"metadata": {"name": "a", "labels": {"velero.io/restore-name": "new"}}, "data": {"k": "v"}});
        assert_eq!(compare(&live, &wanted, false), Existing::Same);
        let other = json!({"metadata": {"name": "a"}, "data": {"k": "other"}});
        assert_eq!(compare(&live, &other, false), Existing::Different);
    }

    #[test]
    fn an_update_removes_what_the_backup_does_not_have_and_leaves_finalizers_alone() {
        let live = json!({"metadata": {"name": "a", "uid": "1", "finalizers": ["x"], "labels": {"gone": "1"}},
            "data": {"k": "v", "new": "1"}, "status": {"x": 1}});
        let wanted =
            json!({"metadata": {"name": "a", "labels": {"velero.io/restore-name": "r"}}, "data": {"k": "w"}});
        assert_eq!(
            update_patch(&live, &wanted),
            json!({"metadata": {"labels": {"gone": null, "velero.io/restore-name": "r"}}, "data": {"k": "w", "new": null}})
        );
    }

    #[test]
    fn a_service_account_keeps_its_own_secrets_and_gains_those_of_the_backup() {
        let live = json!({"metadata": {"name": "default"}, "secrets": [{"name": "live"}]});
        let wanted =
            json!({"metadata": {"name": "default", "labels": {"team": "a"}}, "secrets": [{"name": "old"}]});
        assert_eq!(
            compare(&live, &wanted, true),
            Existing::Patch(json!({
                "secrets": [{"name": "live"}, {"name": "old"}],
                "metadata": {"labels": {"team": "a"}},
            }))
        );
        assert_eq!(
            compare(&live, &json!({"metadata": {"name": "default"}}), true),
            Existing::Same
        );
    }
}
