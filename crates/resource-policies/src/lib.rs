//! What resource policies say of volumes and kinds; asks nobody.
//!
//! A ConfigMap says what happens to which volume, and which objects of which kinds are taken, by a backup or by a restore
//! (velero-behaviour.md 3.5; upstream `internal/resourcepolicies`).
//!
//! ```text
//! ConfigMap (one key, YAML) ─► Document (strict) ─► Policies ─ action_for(volume) ─► skip | fs-backup | snapshot | custom
//!                                                      └────► KindFilters ─ of_listed(object) ─► take | leave | silent
//! ```

mod capacity;
mod document;
mod kinds;
mod lists;
mod source;
mod validate;
mod volume;
pub mod wildcard;

use std::collections::BTreeMap;

use serde_json::Value;

pub use capacity::{Capacity, CapacityError, quantity};
pub use document::{
    Action, ActionType, ClusterScopedFilterPolicy, Conditions, CsiCondition, Document, IncludeExcludePolicy,
    NamespacedFilterPolicy, NfsCondition, PolicyLabelSelector, ResourceKindFilter, VolumePolicy,
};
pub use kinds::{KindFilters, Word};
pub use lists::{Lists, Names};
pub use source::{Found, PoliciesError, for_backup, for_restore, read, referenced};
pub use validate::PolicyError;
pub use volume::{Volume, VolumeFacts};

/// The policies of one backup or restore, ready to be asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policies {
    pub version: String,
    pub volumes: Vec<BuiltVolumePolicy>,
    pub include_exclude: Option<IncludeExcludePolicy>,
    pub cluster_scoped_filter: Option<ClusterScopedFilterPolicy>,
    pub namespaced_filters: Vec<NamespacedFilterPolicy>,
}

/// A volume policy with its capacity read.
#[derive(Clone, Debug, PartialEq)]
pub struct BuiltVolumePolicy {
    pub capacity: Capacity,
    pub conditions: Conditions,
    pub action: Action,
}

impl Policies {
    /// # Errors
    /// A capacity that is none.
    pub fn build(document: Document) -> Result<Self, CapacityError> {
        let built = |policy: VolumePolicy| {
            Ok(BuiltVolumePolicy {
                capacity: Capacity::parse(&policy.conditions.capacity)?,
                conditions: policy.conditions,
                action: policy.action,
            })
        };
        Ok(Self {
            version: document.version,
            volumes: document
                .volume_policies
                .into_iter()
                .map(built)
                .collect::<Result<_, _>>()?,
            include_exclude: document.include_exclude_policy,
            cluster_scoped_filter: document.cluster_scoped_filter_policy,
            namespaced_filters: document.namespaced_filter_policies,
        })
    }

    /// The action of the first policy whose conditions all hold.
    pub fn action_for(&self, volume: &VolumeFacts) -> Option<&Action> {
        let matching = self.volumes.iter().find(|policy| policy.matches(volume));
        matching.map(|policy| &policy.action)
    }
}

impl BuiltVolumePolicy {
    fn matches(&self, volume: &VolumeFacts) -> bool {
        let wanted = &self.conditions;
        self.capacity.holds(volume.capacity)
            && listed(&wanted.storage_class, &volume.storage_class)
            && wanted
                .nfs
                .as_ref()
                .is_none_or(|nfs| nfs.matches(volume.nfs.as_ref()))
            && wanted
                .csi
                .as_ref()
                .is_none_or(|csi| csi.matches(volume.csi.as_ref()))
            && (wanted.volume_types.is_empty() || wanted.volume_types.contains(&volume.volume_type))
            && includes_all(&wanted.pvc_labels, &volume.pvc_labels)
            && listed(&wanted.pvc_phase, &volume.pvc_phase)
            && (wanted.pvc_volume_mode.is_empty() || wanted.pvc_volume_mode == volume.pvc_volume_mode)
            && same_set(&wanted.pvc_access_modes, &volume.pvc_access_modes)
    }
}

/// Nothing wanted always holds; a volume without the property never does.
fn listed(wanted: &[String], found: &str) -> bool {
    wanted.is_empty() || (!found.is_empty() && wanted.iter().any(|entry| entry == found))
}

fn includes_all(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| found.get(key) == Some(value))
}

fn same_set(wanted: &[String], found: &[String]) -> bool {
    wanted.is_empty()
        || (wanted.len() == found.len()
            && wanted.iter().all(|mode| found.contains(mode))
            && found.iter().all(|mode| wanted.contains(mode)))
}

impl NfsCondition {
    /// An empty field matches anything; both empty match every NFS volume.
    fn matches(&self, found: Option<&NfsCondition>) -> bool {
        let agrees = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        found.is_some_and(|found| agrees(&self.path, &found.path) && agrees(&self.server, &found.server))
    }
}

impl CsiCondition {
    /// Without a driver every CSI volume matches.
    fn matches(&self, found: Option<&CsiCondition>) -> bool {
        found.is_some_and(|found| {
            self.driver.is_empty()
                || (self.driver == found.driver
                    && includes_all(&self.volume_attributes, &found.volume_attributes))
        })
    }
}

/// A parameter of an action equals a wanted value, as JSON.
pub fn parameters_hold(action: &Action, wanted: &BTreeMap<String, Value>) -> bool {
    wanted
        .iter()
        .all(|(key, value)| action.parameters.get(key) == Some(value))
}

/// A text of an object, by JSON pointer; empty when absent.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policies(yaml: &str) -> Policies {
        Policies::build(Document::read(yaml).unwrap()).unwrap()
    }

    #[test]
    fn the_first_policy_whose_conditions_all_hold_decides() {
        let policies = policies(
            "version: v1\nvolumePolicies:\n- conditions: {capacity: \"0,10Gi\", storageClass: [gold]}\n  action: {type: skip}\n\
             - conditions: {storageClass: [gold]}\n  action: {type: snapshot}\n",
        );
        let volume = |size: &str| {
            let volume = json!({"spec": {"storageClassName": "gold", "capacity": {"storage": size}}});
            let facts = Volume {
                persistent_volume: Some(&volume),
                ..Volume::default()
            }
            .facts()
            .unwrap();
            policies.action_for(&facts).map(|action| action.kind.clone())
        };
        assert_eq!(volume("5Gi"), Some(ActionType::Skip));
        assert_eq!(volume("50Gi"), Some(ActionType::Snapshot));
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let error =
            Document::read("version: v1\nvolumePolicies:\n- conditions: {size: 1}\n  action: {type: skip}\n")
                .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("size") && text.contains("line 3"), "{text}");
    }
}
