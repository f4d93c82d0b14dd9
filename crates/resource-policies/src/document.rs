//! The YAML of a resource policy, as users write it. Unknown fields are refused: a misspelled condition would otherwise
//! match every volume.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Document {
    #[serde(deserialize_with = "or_default")]
    pub version: String,
    #[serde(deserialize_with = "or_default")]
    pub volume_policies: Vec<VolumePolicy>,
    pub include_exclude_policy: Option<IncludeExcludePolicy>,
    pub cluster_scoped_filter_policy: Option<ClusterScopedFilterPolicy>,
    #[serde(deserialize_with = "or_default")]
    pub namespaced_filter_policies: Vec<NamespacedFilterPolicy>,
}

impl Document {
    /// # Errors
    /// Not YAML, an unknown field or a wrong type; the message names line and column.
    pub fn read(yaml: &str) -> Result<Self, serde_saphyr::Error> {
        serde_saphyr::from_str(yaml)
    }
}

/// What happens to the volumes that meet the conditions.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VolumePolicy {
    #[serde(deserialize_with = "or_default")]
    pub conditions: Conditions,
    #[serde(deserialize_with = "or_default")]
    pub action: Action,
}

/// All that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Conditions {
    /// `lo,hi`; either side may be empty.
    #[serde(deserialize_with = "or_default")]
    pub capacity: String,
    #[serde(deserialize_with = "or_default")]
    pub storage_class: Vec<String>,
    pub nfs: Option<NfsCondition>,
    pub csi: Option<CsiCondition>,
    #[serde(deserialize_with = "or_default")]
    pub volume_types: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub pvc_labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub pvc_phase: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub pvc_volume_mode: String,
    #[serde(deserialize_with = "only_texts")]
    pub pvc_access_modes: Vec<String>,
}

/// `{}` matches every NFS volume. Also what is known of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NfsCondition {
    #[serde(deserialize_with = "or_default")]
    pub server: String,
    #[serde(deserialize_with = "or_default")]
    pub path: String,
}

/// `{}` matches every CSI volume. Also what is known of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CsiCondition {
    #[serde(deserialize_with = "or_default")]
    pub driver: String,
    #[serde(deserialize_with = "or_default")]
    pub volume_attributes: BTreeMap<String, String>,
}

/// What to do with a volume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Action {
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: ActionType,
    /// For `custom` actions of third parties.
    #[serde(deserialize_with = "or_default")]
    pub parameters: BTreeMap<String, Value>,
}

/// `skip`, `fs-backup`, `snapshot`, `custom`; anything else is refused by validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionType {
    /// The volume's data is not saved.
    Skip,
    /// Saved through the pod that mounts it.
    FsBackup,
    /// Saved by a snapshot.
    Snapshot,
    /// Somebody else saves it.
    Custom,
    Unknown(String),
}

impl Default for ActionType {
    fn default() -> Self {
        Self::Unknown(String::new())
    }
}

impl fmt::Display for ActionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Skip => "skip",
            Self::FsBackup => "fs-backup",
            Self::Snapshot => "snapshot",
            Self::Custom => "custom",
            Self::Unknown(word) => word,
        })
    }
}

impl<'de> Deserialize<'de> for ActionType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(match &*word {
            "skip" => Self::Skip,
            "fs-backup" => Self::FsBackup,
            "snapshot" => Self::Snapshot,
            "custom" => Self::Custom,
            _ => Self::Unknown(word),
        })
    }
}

/// Lists that join those of the Backup, and give way to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IncludeExcludePolicy {
    #[serde(deserialize_with = "or_default")]
    pub included_cluster_scoped_resources: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub excluded_cluster_scoped_resources: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub included_namespace_scoped_resources: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub excluded_namespace_scoped_resources: Vec<String>,
}

/// Which cluster-scoped objects of some kinds are taken.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClusterScopedFilterPolicy {
    #[serde(deserialize_with = "or_default")]
    pub resource_filters: Vec<ResourceKindFilter>,
}

/// Which objects of some namespaces are taken; kinds that it does not list are left out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NamespacedFilterPolicy {
    #[serde(deserialize_with = "or_default")]
    pub namespaces: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub resource_filters: Vec<ResourceKindFilter>,
}

/// A filter for some kinds; no kinds, or `*`, is for all that no other filter names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ResourceKindFilter {
    #[serde(deserialize_with = "or_default")]
    pub kinds: Vec<String>,
    pub label_selector: Option<PolicyLabelSelector>,
    #[serde(deserialize_with = "or_default")]
    pub or_label_selectors: Vec<PolicyLabelSelector>,
    #[serde(deserialize_with = "or_default")]
    pub names: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub excluded_names: Vec<String>,
}

impl ResourceKindFilter {
    pub fn is_catch_all(&self) -> bool {
        self.kinds.is_empty() || self.kinds == ["*"]
    }
}

/// A label selector, strict about its fields.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyLabelSelector {
    #[serde(deserialize_with = "or_default")]
    pub match_labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub match_expressions: Vec<PolicyLabelSelectorRequirement>,
}

/// One expression of a selector.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyLabelSelectorRequirement {
    #[serde(deserialize_with = "or_default")]
    pub key: String,
    #[serde(deserialize_with = "or_default")]
    pub operator: String,
    #[serde(deserialize_with = "or_default")]
    pub values: Vec<String>,
}

/// A number in the list is a mistake, and not its text.
fn only_texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let entries = Option::<Vec<Value>>::deserialize(deserializer)?.unwrap_or_default();
    let texts = entries.into_iter().map(|entry| match entry {
        Value::String(text) => Ok(text),
        other => Err(serde::de::Error::custom(format!(
            "must be a list of strings, and holds {other}"
        ))),
    });
    texts.collect()
}

/// `null` is what an empty field of YAML reads as.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
