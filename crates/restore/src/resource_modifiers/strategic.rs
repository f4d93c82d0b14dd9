//! Strategic merge patches: as a merge patch, but lists of Kubernetes' built-in kinds merge by their key
//! (<https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>).
//!
//! The keys are those that Kubernetes publishes as `x-kubernetes-patch-merge-key`. A list without one is replaced.

use serde_json::{Map, Value};

/// Groups whose kinds are built in; of others the keys are not known, and Velero refuses them, too.
const BUILT_IN: &[&str] = &[
    "",
    "admissionregistration.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Kinds of the core group; its other words are nobody's.
const CORE: &[&str] = &[
    "ConfigMap",
    "Endpoints",
    "Event",
    "LimitRange",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "Secret",
    "Service",
    "ServiceAccount",
];

/// Field → the key of its entries. `ports` is told apart by what its entries hold.
const KEYS: &[(&str, &str)] = &[
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("volumes", "name"),
    ("env", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("imagePullSecrets", "name"),
    ("secrets", "name"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
    ("resourceClaims", "name"),
    ("ownerReferences", "uid"),
    ("conditions", "type"),
    ("webhooks", "name"),
];

/// Lists of texts that are joined.
const SETS: &[&str] = &["finalizers"];

/// Merges `patch` into `object`.
///
/// # Errors
/// The kind is not built in, or a directive cannot be understood.
pub fn merge(object: &mut Value, patch: &Value) -> Result<(), String> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let known = BUILT_IN.contains(&group) && (!group.is_empty() || CORE.contains(&kind));
    if !known {
        return Err(format!(
            "a strategic merge patch needs a built-in kind, and {kind} of {api_version:?} is none; use mergePatches"
        ));
    }
    let (Some(fields), Some(patch)) = (object.as_object_mut(), patch.as_object()) else {
        return Err("a strategic merge patch is an object".to_owned());
    };
    merge_map(fields, patch)
}

fn merge_map(fields: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), String> {
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *fields = without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            fields.clear();
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(format!("$patch: {other} is not delete, merge or replace")),
    }
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        fields.retain(|key, _| kept.iter().any(|kept| kept == key));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(entries), Some(gone)) = (
                fields.get_mut(list).and_then(Value::as_array_mut),
                value.as_array(),
            ) {
                entries.retain(|entry| !gone.contains(entry));
            }
        } else if !key.starts_with('$') {
            let order = patch
                .get(&format!("$setElementOrder/{key}"))
                .and_then(Value::as_array);
            merge_field(fields, key, value, order.map(Vec::as_slice))?;
        }
    }
    Ok(())
}

fn merge_field(
    fields: &mut Map<String, Value>,
    key: &str,
    value: &Value,
    order: Option<&[Value]>,
) -> Result<(), String> {
    match value {
        Value::Null => {
            fields.remove(key);
        }
        Value::Object(patch) => {
            let mut merged = match fields.remove(key) {
                Some(Value::Object(old)) => old,
                _ => Map::new(),
            };
            merge_map(&mut merged, patch)?;
            let gone = patch.get("$patch").and_then(Value::as_str) == Some("delete");
            if !gone {
                fields.insert(key.to_owned(), Value::Object(merged));
            }
        }
        Value::Array(patch) => {
            let old = match fields.remove(key) {
                Some(Value::Array(old)) => old,
                _ => Vec::new(),
            };
            fields.insert(key.to_owned(), Value::Array(merge_list(key, old, patch, order)?));
        }
        other => {
            fields.insert(key.to_owned(), other.clone());
        }
    }
    Ok(())
}

fn merge_key(field: &str, entries: &[Value]) -> Option<&'static str> {
    if field == "ports" {
        let of_container = entries.iter().any(|entry| entry.get("containerPort").is_some());
        return Some(if of_container { "containerPort" } else { "port" });
    }
    KEYS.iter().find(|(name, _)| *name == field).map(|(_, key)| *key)
}

/// `order`: the patch's `$setElementOrder`, a list of keys.
fn merge_list(
    field: &str,
    mut entries: Vec<Value>,
    patch: &[Value],
    order: Option<&[Value]>,
) -> Result<Vec<Value>, String> {
    if SETS.contains(&field) {
        let new: Vec<Value> = patch
            .iter()
            .filter(|entry| !entries.contains(entry))
            .cloned()
            .collect();
        entries.extend(new);
        return Ok(entries);
    }
    let replace = patch.iter().any(|entry| entry["$patch"] == "replace");
    let all: Vec<Value> = entries.iter().chain(patch).cloned().collect();
    let key = merge_key(field, &all).filter(|_| !replace && patch.iter().all(Value::is_object));
    let Some(key) = key else {
        let plain = patch.iter().filter(|entry| entry.get("$patch").is_none());
        return Ok(plain.cloned().collect());
    };
    let ids = |entries: &[Value]| {
        entries
            .iter()
            .filter_map(|entry| entry.get(key).cloned())
            .collect::<Vec<_>>()
    };
    let before = ids(&entries);
    for entry in patch {
        let Some(id) = entry.get(key) else {
            return Err(format!(
                "an entry of {field} has no {key}, by which the list is merged"
            ));
        };
        let at = entries.iter().position(|old| old.get(key) == Some(id));
        match (at, entry["$patch"].as_str()) {
            (Some(at), Some("delete")) => {
                entries.remove(at);
            }
            (None, Some("delete")) => {}
            (Some(at), _) => {
                if let (Some(old), Some(patch)) = (entries[at].as_object_mut(), entry.as_object()) {
                    merge_map(old, patch)?;
                }
            }
            (None, _) => {
                let new = entry.as_object().map(without_directives).unwrap_or_default();
                entries.push(Value::Object(new));
            }
        }
    }
    Ok(in_order(
        entries,
        key,
        &before,
        &order.map_or_else(|| ids(patch), ids),
    ))
}

/// Kubernetes' order: entries of the patch as the patch has them, the others where they stood among them; one that is new
/// stands before all others that are left.
fn in_order(entries: Vec<Value>, key: &str, before: &[Value], wanted: &[Value]) -> Vec<Value> {
    let id = |entry: &Value| entry.get(key).cloned().unwrap_or_default();
    let place = |id: &Value| before.iter().position(|known| known == id);
    let (mut patched, others): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| wanted.contains(&id(entry)));
    patched.sort_by_key(|entry| wanted.iter().position(|wanted| *wanted == id(entry)));
    let mut others = others.into_iter().peekable();
    let mut merged = Vec::new();
    for entry in patched {
        let at = place(&id(&entry));
        while let Some(other) = others.next_if(|other| place(&id(other)) < at) {
            merged.push(other);
        }
        merged.push(entry);
    }
    merged.extend(others);
    merged
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    let kept = patch
        .iter()
        .filter(|(key, value)| !key.starts_with('$') && !value.is_null());
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_merge_by_name_and_can_be_deleted() {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [
            {"name": "web", "image": "web:1", "env": [{"name": "A", "value": "1"}]}, {"name": "side", "image": "side:1"}]}});
        let patch = json!({"spec": {"containers": [{"name": "web", "image": "web:2", "env": [{"name": "B", "value": "2"}]},
            {"name": "side", "$patch": "delete"}]}});
        merge(&mut pod, &patch).unwrap();
        assert_eq!(
            pod["spec"]["containers"],
            json!([{"name": "web", "image": "web:2", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]}])
        );
    }

    #[test]
    fn a_custom_resource_is_refused() {
        let mut widget = json!({"apiVersion": "example.com/v1", "kind": "Widget"});
        assert!(
            merge(&mut widget, &json!({}))
                .unwrap_err()
                .contains("mergePatches")
        );
    }
}
