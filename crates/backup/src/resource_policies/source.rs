//! From the ConfigMap to the policies.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use super::{CapacityError, Document, Policies, PolicyError};

/// Why the ConfigMap cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PoliciesError {
    #[error("illegal resource policies {0} configmap: it must have exactly one key in data")]
    NotOneKey(String),
    #[error("{name}: {source}")]
    Yaml {
        name: String,
        source: Box<serde_saphyr::Error>,
    },
    #[error("{name}: {source}")]
    Capacity { name: String, source: CapacityError },
    #[error("fail to validate ResourcePolicies in ConfigMap {name}: {source}")]
    Policy { name: String, source: PolicyError },
}

/// Reads the policies; they are not validated yet.
///
/// # Errors
/// [`PoliciesError`].
pub fn from_config_map(map: &ConfigMap) -> Result<Policies, PoliciesError> {
    let name = format!("{}/{}", map.namespace().unwrap_or_default(), map.name_any());
    let mut values = map.data.iter().flat_map(|data| data.values());
    let (Some(yaml), None) = (values.next(), values.next()) else {
        return Err(PoliciesError::NotOneKey(name));
    };
    let document = Document::read(yaml).map_err(|source| PoliciesError::Yaml {
        name: name.clone(),
        source: Box::new(source),
    })?;
    Policies::build(document).map_err(|source| PoliciesError::Capacity { name, source })
}

/// Reads and validates the policies of a backup.
///
/// # Errors
/// [`PoliciesError`].
pub fn for_backup(map: &ConfigMap) -> Result<Policies, PoliciesError> {
    let policies = from_config_map(map)?;
    policies.validate().map_err(|source| PoliciesError::Policy {
        name: format!("{}/{}", map.namespace().unwrap_or_default(), map.name_any()),
        source,
    })?;
    Ok(policies)
}
