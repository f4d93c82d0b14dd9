//! The YAML of resource modifiers, as users write it. Unknown fields are refused.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ResourceModifiers {
    /// `v1`.
    pub version: String,
    /// Applied in this order.
    #[serde(deserialize_with = "or_default")]
    pub resource_modifier_rules: Vec<ResourceModifierRule>,
}

impl ResourceModifiers {
    /// # Errors
    /// Not YAML, an unknown field or a wrong type; the message names line and column.
    pub fn read(yaml: &str) -> Result<Self, serde_saphyr::Error> {
        serde_saphyr::from_str(yaml)
    }
}

/// What is changed where; exactly one of the three kinds of patches.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ResourceModifierRule {
    /// Which objects.
    #[serde(deserialize_with = "or_default")]
    pub conditions: Conditions,
    /// RFC 6902.
    #[serde(deserialize_with = "or_default")]
    pub patches: Vec<JsonPatch>,
    /// RFC 7386.
    #[serde(deserialize_with = "or_default")]
    pub merge_patches: Vec<PatchData>,
    /// Kubernetes' own, for built-in kinds.
    #[serde(deserialize_with = "or_default")]
    pub strategic_patches: Vec<PatchData>,
}

/// All that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Conditions {
    /// Names or patterns, of the backup; empty: all.
    #[serde(deserialize_with = "or_default")]
    pub namespaces: Vec<String>,
    /// `deployments.apps`, or a pattern in which `*` stays within a dot: `*.apps`.
    #[serde(deserialize_with = "or_default")]
    pub group_resource: String,
    /// Found anywhere in the name.
    #[serde(deserialize_with = "or_default")]
    pub resource_name_regex: String,
    /// Of the object's labels.
    pub label_selector: Option<LabelSelector>,
    /// Values that must be there.
    #[serde(deserialize_with = "or_default")]
    pub matches: Vec<MatchRule>,
}

/// A JSON pointer and what it must point to.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MatchRule {
    /// JSON pointer.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    /// As in [`JsonPatch`].
    #[serde(deserialize_with = "or_default")]
    pub value: String,
}

/// One operation of a JSON patch.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JsonPatch {
    /// `add`, `remove`, `replace`, `copy`, `move`, `test`.
    #[serde(deserialize_with = "or_default")]
    pub operation: String,
    /// JSON pointer, for `copy` and `move`.
    #[serde(deserialize_with = "or_default")]
    pub from: String,
    /// JSON pointer.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    /// Text that is read as a number, a boolean, null, an object or a list where it is one; `"\"1\""` is the text 1.
    #[serde(deserialize_with = "or_default")]
    pub value: String,
}

/// A patch as YAML or JSON in a text.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PatchData {
    /// The text.
    #[serde(deserialize_with = "or_default")]
    pub patch_data: String,
}

impl PatchData {
    /// # Errors
    /// It is neither.
    pub fn value(&self) -> Result<Value, String> {
        serde_saphyr::from_str(&self.patch_data)
            .map_err(|error| format!("error in converting YAML to JSON: {error}"))
    }
}

/// `null` is what an empty field of YAML reads as.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
