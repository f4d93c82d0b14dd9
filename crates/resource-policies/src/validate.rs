//! What a policy may not say.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::Selector;

use super::document::{ActionType, IncludeExcludePolicy, PolicyLabelSelector, ResourceKindFilter};
use super::{BuiltVolumePolicy, Policies};
use crate::wildcard;

/// The only version there is.
const VERSION: &str = "v1";

/// What is wrong, with the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(String);

fn wrong(why: impl Into<String>) -> Result<(), PolicyError> {
    Err(PolicyError(why.into()))
}

impl Policies {
    /// # Errors
    /// The first thing that a backup's policies may not say.
    pub fn validate(&self) -> Result<(), PolicyError> {
        self.check_version()?;
        for (at, policy) in self.volumes.iter().enumerate() {
            check_volume_policy(at, policy)?;
        }
        if let Some(policy) = &self.include_exclude {
            check_include_exclude(policy)?;
        }
        self.check_filters()
    }

    /// # Errors
    /// The first thing that a restore's policies may not say: they have filters only.
    pub fn validate_for_restore(&self) -> Result<(), PolicyError> {
        self.check_version()?;
        if !self.volumes.is_empty() {
            return wrong("volumePolicies are not supported for restore");
        }
        if self.include_exclude.is_some() {
            return wrong("includeExcludePolicy is not supported for restore");
        }
        self.check_filters()
    }

    fn check_version(&self) -> Result<(), PolicyError> {
        if self.version == VERSION {
            return Ok(());
        }
        wrong(format!(
            "incompatible version number {} with supported version {VERSION}",
            self.version
        ))
    }

    fn check_filters(&self) -> Result<(), PolicyError> {
        self.check_cluster_scoped_filter()?;
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, policy) in self.namespaced_filters.iter().enumerate() {
            let of = format!("namespacedFilterPolicies[{at}]");
            if policy.namespaces.is_empty() {
                return wrong(format!("{of}: at least one namespace must be specified"));
            }
            if policy.resource_filters.is_empty() {
                return wrong(format!("{of}: at least one resourceFilter must be specified"));
            }
            for (entry, pattern) in policy.namespaces.iter().enumerate() {
                wildcard::validate(pattern)
                    .map_err(|error| PolicyError(format!("{of}.namespaces[{entry}]: {error}")))?;
                if let Some(before) = seen.insert(pattern, at) {
                    return wrong(format!(
                        "namespacedFilterPolicies: duplicate namespace pattern '{pattern}' found in policies [{before} {at}]"
                    ));
                }
            }
            if policy
                .resource_filters
                .iter()
                .filter(|filter| filter.is_catch_all())
                .count()
                > 1
            {
                return wrong(format!("{of}: only one catch-all resource filter is allowed"));
            }
            check_kinds(&of, &policy.resource_filters)?;
            for (entry, filter) in policy.resource_filters.iter().enumerate() {
                if filter.is_catch_all() && !(filter.names.is_empty() && filter.excluded_names.is_empty()) {
                    return wrong(format!(
                        "{of}.resourceFilters[{entry}]: names or excludedNames cannot be specified for catch-all filters"
                    ));
                }
                check_filter(&format!("{of}.resourceFilters[{entry}]"), filter)?;
            }
        }
        Ok(())
    }

    fn check_cluster_scoped_filter(&self) -> Result<(), PolicyError> {
        let Some(policy) = &self.cluster_scoped_filter else {
            return Ok(());
        };
        let of = "clusterScopedFilterPolicy";
        if policy.resource_filters.is_empty() {
            return wrong(format!(
                "{of}: resourceFilters cannot be empty; remove the policy block entirely if it is not needed"
            ));
        }
        for (entry, filter) in policy.resource_filters.iter().enumerate() {
            if filter.is_catch_all() {
                return wrong(format!(
                    "{of}.resourceFilters[{entry}]: kinds must be specified (catch-all is not supported)"
                ));
            }
            check_filter(&format!("{of}.resourceFilters[{entry}]"), filter)?;
        }
        check_kinds(of, &policy.resource_filters)
    }
}

fn check_volume_policy(at: usize, policy: &BuiltVolumePolicy) -> Result<(), PolicyError> {
    let of = format!("volumePolicies[{at}]");
    if let ActionType::Unknown(word) = &policy.action.kind {
        return wrong(format!(
            "{of}: invalid action type {word}; it is skip, snapshot, fs-backup or custom"
        ));
    }
    if !policy.capacity.is_legal() {
        return wrong(format!(
            "{of}: illegal values for capacity {}: the upper end is below the lower one",
            policy.conditions.capacity
        ));
    }
    if let Some(csi) = &policy.conditions.csi
        && csi.driver.is_empty()
        && !csi.volume_attributes.is_empty()
    {
        return wrong(format!(
            "{of}: csi driver should not be empty when filtering by volume attributes"
        ));
    }
    Ok(())
}

fn check_include_exclude(policy: &IncludeExcludePolicy) -> Result<(), PolicyError> {
    let pairs = [
        (
            &policy.included_cluster_scoped_resources,
            &policy.excluded_cluster_scoped_resources,
        ),
        (
            &policy.included_namespace_scoped_resources,
            &policy.excluded_namespace_scoped_resources,
        ),
    ];
    for (included, excluded) in pairs {
        if included.iter().chain(excluded).any(|entry| entry == "*") {
            return wrong("cannot use '*' in includes or excludes filters in the policy");
        }
        if let Some(entry) = excluded.iter().find(|entry| included.contains(entry)) {
            return wrong(format!(
                "excludes list cannot contain an item in the includes list: {entry}"
            ));
        }
    }
    Ok(())
}

fn check_kinds(of: &str, filters: &[ResourceKindFilter]) -> Result<(), PolicyError> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (entry, filter) in filters.iter().enumerate() {
        for kind in filter.kinds.iter().filter(|kind| *kind != "*") {
            if let Some(before) = seen.insert(kind, entry) {
                return wrong(format!(
                    "{of}: kind {kind:?} appears in both resourceFilters[{before}] and resourceFilters[{entry}]"
                ));
            }
        }
    }
    Ok(())
}

fn check_filter(of: &str, filter: &ResourceKindFilter) -> Result<(), PolicyError> {
    let single = filter
        .label_selector
        .as_ref()
        .filter(|selector| !selector.is_empty());
    if single.is_some() && !filter.or_label_selectors.is_empty() {
        return wrong(format!(
            "{of}: labelSelector and orLabelSelectors cannot co-exist"
        ));
    }
    for selector in single.into_iter().chain(&filter.or_label_selectors) {
        selector
            .selector()
            .map_err(|why| PolicyError(format!("{of}: invalid label selector: {why}")))?;
    }
    for pattern in filter.names.iter().chain(&filter.excluded_names) {
        if wildcard::matcher(pattern).is_none() {
            return wrong(format!("{of}: invalid glob pattern {pattern:?}"));
        }
    }
    Ok(())
}

/// Kubernetes' qualified name: `app`, `example.com/app`. No object has a label whose key is none.
fn check_label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.rsplit_once('/').unwrap_or(("a", key));
    let part = |part: &str| !part.is_empty() && part.len() <= 63 && is_word(part);
    let domain = prefix.len() <= 253 && prefix.split('.').all(|label| part(label) && !label.contains('_'));
    if part(name) && domain {
        return Ok(());
    }
    Err(format!(
        "key: Invalid value: {key:?}: a valid label key is a name of letters, digits, '-', '_' and '.', that begins and ends with a letter or digit, with a DNS name and '/' before it where it has one"
    ))
}

fn check_label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || (value.len() <= 63 && is_word(value)) {
        return Ok(());
    }
    Err(format!(
        "values: Invalid value: {value:?}: a valid label value has at most 63 letters, digits, '-', '_' and '.', and begins and ends with a letter or digit"
    ))
}

fn is_word(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.bytes().all(inside) && ends(text.as_bytes().first()) && ends(text.as_bytes().last())
}

impl PolicyLabelSelector {
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// # Errors
    /// An operator that is none, or values that it cannot have.
    pub fn selector(&self) -> Result<Selector, String> {
        let expressions = self.match_expressions.iter().map(|wanted| {
            let count = wanted.values.len();
            let legal = match &*wanted.operator {
                "In" | "NotIn" => count > 0,
                "Exists" | "DoesNotExist" => count == 0,
                _ => {
                    return Err(format!(
                        "{:?} is not a valid label selector operator",
                        wanted.operator
                    ));
                }
            };
            if !legal {
                return Err(format!("operator {} cannot have {count} values", wanted.operator));
            }
            Ok(LabelSelectorRequirement {
                key: wanted.key.clone(),
                operator: wanted.operator.clone(),
                values: Some(wanted.values.clone()),
            })
        });
        let keys = self
            .match_labels
            .keys()
            .chain(self.match_expressions.iter().map(|wanted| &wanted.key));
        for key in keys {
            check_label_key(key)?;
        }
        let values = self
            .match_labels
            .values()
            .chain(self.match_expressions.iter().flat_map(|wanted| &wanted.values));
        for value in values {
            check_label_value(value)?;
        }
        let selector = LabelSelector {
            match_labels: Some(self.match_labels.clone()),
            match_expressions: Some(expressions.collect::<Result<_, _>>()?),
        };
        Selector::try_from(selector).map_err(|error| error.to_string())
    }
}
