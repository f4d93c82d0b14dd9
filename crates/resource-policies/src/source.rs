//! From the ConfigMaps that a Backup, a Restore and the server name to the policies.

use k8s_openapi::api::core::v1::{ConfigMap, TypedLocalObjectReference};

use super::{CapacityError, Document, Policies, PolicyError};

/// Why the policies cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PoliciesError {
    #[error("invalid ResourcePolicy kind {0:?}, only \"configmap\" is supported; set kind: configmap")]
    Kind(String),
    #[error("fail to get ResourcePolicies {0} ConfigMap: it does not exist; create it in Velero's namespace")]
    Missing(String),
    #[error(
        "fail to read the ResourcePolicies from ConfigMap {0}: illegal resource policies {0} configmap: it must have exactly one key in data"
    )]
    NotOneKey(String),
    #[error("fail to read the ResourcePolicies from ConfigMap {name}: {source}")]
    Yaml {
        name: String,
        source: Box<serde_saphyr::Error>,
    },
    #[error("fail to read the ResourcePolicies from ConfigMap {name}: {source}")]
    Capacity { name: String, source: CapacityError },
    #[error("fail to validate ResourcePolicies in ConfigMap {name}: {source}")]
    Policy { name: String, source: PolicyError },
}

/// The ConfigMap that a spec names.
///
/// # Errors
/// It names something else: that is refused, and not overlooked as in Velero.
pub fn referenced(reference: &TypedLocalObjectReference) -> Result<&str, PoliciesError> {
    if reference.kind.eq_ignore_ascii_case("configmap") {
        Ok(&reference.name)
    } else {
        Err(PoliciesError::Kind(reference.kind.clone()))
    }
}

/// A ConfigMap that was looked for, as `namespace/name`, and what is there.
#[derive(Clone, Debug)]
pub struct Found {
    pub name: String,
    pub map: Option<ConfigMap>,
}

/// Reads the policies; they are not validated yet.
///
/// # Errors
/// [`PoliciesError`].
pub fn read(found: &Found) -> Result<Policies, PoliciesError> {
    let name = || found.name.clone();
    let map = found.map.as_ref().ok_or_else(|| PoliciesError::Missing(name()))?;
    let mut values = map.data.iter().flat_map(|data| data.values());
    let (Some(yaml), None) = (values.next(), values.next()) else {
        return Err(PoliciesError::NotOneKey(name()));
    };
    let document = Document::read(yaml).map_err(|source| PoliciesError::Yaml {
        name: name(),
        source: Box::new(source),
    })?;
    Policies::build(document).map_err(|source| PoliciesError::Capacity { name: name(), source })
}

/// The policies of a backup: its own, then the volume policies of the server's global ConfigMap. Other global policies
/// would change what every backup selects, and are left out, as in Velero. `None` when there are neither.
///
/// # Errors
/// [`PoliciesError`]; one of the global ConfigMap refuses every backup, since it may be what keeps a volume out of it.
pub fn for_backup(own: Option<&Found>, global: Option<&Found>) -> Result<Option<Policies>, PoliciesError> {
    let valid = |found: &Found| valid(found, Policies::validate);
    let (own, global) = (own.map(valid).transpose()?, global.map(valid).transpose()?);
    Ok(match (own, global) {
        (Some(mut own), Some(global)) => {
            own.volumes.extend(global.volumes);
            Some(own)
        }
        (None, Some(global)) => Some(Policies {
            version: global.version,
            volumes: global.volumes,
            ..Policies::default()
        }),
        (own, None) => own,
    })
}

/// The policies of a restore, which may filter kinds only.
///
/// # Errors
/// [`PoliciesError`].
pub fn for_restore(own: &Found) -> Result<Policies, PoliciesError> {
    valid(own, Policies::validate_for_restore)
}

fn valid(
    found: &Found,
    validate: impl Fn(&Policies) -> Result<(), PolicyError>,
) -> Result<Policies, PoliciesError> {
    let policies = read(found)?;
    validate(&policies).map_err(|source| PoliciesError::Policy {
        name: found.name.clone(),
        source,
    })?;
    Ok(policies)
}
