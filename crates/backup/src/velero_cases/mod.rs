//! Velero's own table tests for this crate (`caravel-cases`): filters, policies, the choice for volumes, whole backups.

mod actions;
mod backups;
mod claims;
mod collections;
mod discovery;
mod hooks;
mod item_blocks;
mod operations;
mod policies;
mod small;
mod snapshots;
mod volume_choice;
mod wildcard;

use caravel_cases::Case;
use serde_json::{Value, json};

use crate::discovery::Resources;
use crate::resource_policies::{Document, Policies};

/// Discovery of the `apiResources` of a case; each has every verb.
fn discovered(resources: &Value) -> Resources {
    let entries = resources.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut groups: Vec<(&str, Vec<Value>)> = Vec::new();
    for entry in entries {
        let kind = entry["kind"].as_str().unwrap();
        let resource = json!({"resource": entry["plural"], "singularResource": kind.to_lowercase(),
            "responseKind": {"group": entry["group"], "version": entry["version"], "kind": kind},
            "scope": if entry["namespaced"] == true { "Namespaced" } else { "Cluster" },
            "shortNames": [entry["shortName"]], "verbs": ["create", "delete", "get", "list"]});
        let version = json!({"version": entry["version"], "resources": [resource]});
        let group = entry["group"].as_str().unwrap();
        match groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, versions)) => versions.push(version),
            None => groups.push((group, vec![version])),
        }
    }
    let groups = groups.into_iter().map(|(name, versions)| {
        serde_json::from_value(json!({"metadata": {"name": name}, "versions": versions})).unwrap()
    });
    Resources::from_groups(groups.collect::<Vec<_>>())
}

/// Go field names to those of the YAML: `StorageClass` → `storageClass`, `PVCLabels` → `pvcLabels`.
fn yaml_names(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let renamed = fields
                .iter()
                .filter(|(key, _)| *key != "$type")
                .map(|(key, value)| {
                    let key = match &**key {
                        "CSI" | "NFS" => key.to_lowercase(),
                        key if key.starts_with("PVC") => key.replacen("PVC", "pvc", 1),
                        key => key[..1].to_lowercase() + &key[1..],
                    };
                    (key, yaml_names(value))
                });
            Value::Object(renamed.collect())
        }
        Value::Array(entries) => entries.iter().map(yaml_names).collect(),
        other => other.clone(),
    }
}

/// The policies of a case, not validated. Conditions and parameters are maps with the YAML's names already.
fn policies(value: &Value) -> Result<Policies, String> {
    let mut document = yaml_names(value);
    let volumes = document["volumePolicies"].as_array_mut();
    for (policy, given) in volumes
        .into_iter()
        .flatten()
        .zip(value["VolumePolicies"].as_array().into_iter().flatten())
    {
        policy["action"]["parameters"] = given["Action"]["Parameters"].clone();
        let conditions = given["Conditions"].as_object().cloned().unwrap_or_default();
        let kept = conditions.into_iter().map(|(key, value)| {
            let typed = value.get("$type").is_some();
            (key, if typed { yaml_names(&value) } else { value })
        });
        policy["conditions"] = Value::Object(kept.collect());
    }
    let document: Document = serde_json::from_value(document).map_err(|error| error.to_string())?;
    Policies::build(document).map_err(|error| error.to_string())
}

/// Policies as a user writes them.
fn policies_of(yaml: &str) -> Result<Policies, String> {
    let document = Document::read(yaml).map_err(|error| error.to_string())?;
    Policies::build(document).map_err(|error| error.to_string())
}

/// `wantErr`, `expectError`, `expectedErr`: some error or none.
fn fails<T: std::fmt::Debug, E: std::fmt::Display>(
    wanted: bool,
    result: &Result<T, E>,
) -> Result<(), String> {
    match (wanted, result) {
        (true, Ok(made)) => Err(format!("should fail, gives {made:?}")),
        (false, Err(error)) => Err(format!("fails: {error}")),
        _ => Ok(()),
    }
}

fn wants(case: &Case, field: &str) -> bool {
    case.want(field) == true
}
