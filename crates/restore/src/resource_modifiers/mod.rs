//! Resource modifiers: a ConfigMap with rules that change objects on their way into the cluster (velero-behaviour.md 8.6;
//! upstream `internal/resourcemodifiers`).
//!
//! ```text
//! ConfigMap (one key, YAML) ─► ResourceModifiers (strict, validated) ─ apply(object) ─► object, errors of single rules
//! ```
//! Every rule whose conditions hold on the object as it was before the first rule is applied, in order. A rule that
//! cannot be applied leaves the object as it found it and says why; the others still run.

mod conditions;
mod document;
mod json_patch;
mod strategic;
mod validate;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::Value;

pub use document::{Conditions, JsonPatch, MatchRule, PatchData, ResourceModifierRule, ResourceModifiers};

/// Why the ConfigMap cannot be used, in words for `status.validationErrors`.
#[derive(Debug, thiserror::Error)]
pub enum ModifiersError {
    /// More or fewer documents than one.
    #[error("illegal resource modifiers {0} configmap: it must have exactly one key in data")]
    NotOneKey(String),
    /// Line and column are in the message.
    #[error("resource modifiers {name}: failed to decode yaml data into resource modifiers, err: {source}")]
    Yaml {
        /// The ConfigMap.
        name: String,
        /// Where and what.
        source: Box<serde_saphyr::Error>,
    },
    /// A rule says something that it may not say.
    #[error("resource modifiers {name}: {why}")]
    Invalid {
        /// The ConfigMap.
        name: String,
        /// Which rule, and what.
        why: String,
    },
}

/// Reads the rules of a ConfigMap; they are not validated.
///
/// # Errors
/// [`ModifiersError`].
pub fn from_config_map(map: &ConfigMap) -> Result<ResourceModifiers, ModifiersError> {
    let name = format!("{}/{}", map.namespace().unwrap_or_default(), map.name_any());
    let mut values = map.data.iter().flat_map(|data| data.values());
    let (Some(yaml), None) = (values.next(), values.next()) else {
        return Err(ModifiersError::NotOneKey(name));
    };
    ResourceModifiers::read(yaml).map_err(|source| ModifiersError::Yaml {
        name,
        source: Box::new(source),
    })
}

/// Reads and validates the rules of a Restore.
///
/// # Errors
/// [`ModifiersError`].
pub fn for_restore(map: &ConfigMap) -> Result<ResourceModifiers, ModifiersError> {
    let modifiers = from_config_map(map)?;
    modifiers.validate().map_err(|why| ModifiersError::Invalid {
        name: format!("{}/{}", map.namespace().unwrap_or_default(), map.name_any()),
        why,
    })?;
    Ok(modifiers)
}

impl ResourceModifiers {
    /// Applies every rule that is for this object; gives what went wrong.
    pub fn apply(&self, object: &mut Value, group_resource: &str) -> Vec<String> {
        let before = object.clone();
        let mut errors = Vec::new();
        for (at, rule) in self.resource_modifier_rules.iter().enumerate() {
            let changed = match rule.conditions.hold(&before, group_resource) {
                Ok(false) => continue,
                Ok(true) => rule.changed(object),
                Err(why) => Err(why),
            };
            match changed {
                Ok(changed) => *object = changed,
                Err(why) => errors.push(format!("resourceModifierRules[{at}]: {why}")),
            }
        }
        errors
    }
}

impl ResourceModifierRule {
    fn changed(&self, object: &Value) -> Result<Value, String> {
        let mut changed = object.clone();
        if !self.patches.is_empty() {
            return json_patch::apply(&self.patches, object);
        }
        if self.merge_patches.is_empty() && self.strategic_patches.is_empty() {
            return Err("no patch data found".to_owned());
        }
        for patch in &self.merge_patches {
            json_patch::merge(&mut changed, &patch.value()?);
        }
        for patch in &self.strategic_patches {
            strategic::merge(&mut changed, &patch.value()?)?;
        }
        Ok(changed)
    }
}
