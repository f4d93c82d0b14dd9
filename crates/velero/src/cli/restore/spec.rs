//! What comes back, as flags of `restore create` (`pkg/cmd/cli/restore/create.go`, `BindFlags`).

use std::collections::BTreeMap;

use caravel_api::v1::{RestoreSpec, RestoreStatusSpec};
use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::super::failure::{Failure, Outcome};
use super::super::flags::{boolean, duration, label_selector, list, or_selectors};

/// The flags.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SpecFlags {
    /// Backup to restore from.
    #[arg(long, value_name = "BACKUP")]
    pub from_backup: String,
    /// Namespaces to include, comma-separated; * is all of them [default: *].
    #[arg(long)]
    pub include_namespaces: Vec<String>,
    /// Namespaces to leave out, comma-separated.
    #[arg(long)]
    pub exclude_namespaces: Vec<String>,
    /// Namespaces in the backup and where they go: from1:to1,from2:to2.
    #[arg(long)]
    pub namespace_mappings: Vec<String>,
    /// Resources to include, as resource.group, comma-separated; * is all of them.
    #[arg(long)]
    pub include_resources: Vec<String>,
    /// Resources to leave out, as resource.group, comma-separated.
    #[arg(long)]
    pub exclude_resources: Vec<String>,
    /// Whether cluster-scoped resources are included [default: those that the included objects need].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub include_cluster_resources: Option<bool>,
    /// Only resources with these labels.
    #[arg(short = 'l', long, value_parser = label_selector)]
    pub selector: Option<LabelSelector>,
    /// Resources that match one of these: "app=shop or app=web".
    #[arg(long)]
    pub or_selector: Option<String>,
    /// What to do with an object that exists: none leaves it, update changes it to what the backup has.
    #[arg(long)]
    pub existing_resource_policy: Option<String>,
    /// Resources whose status is restored too, as resource.group, comma-separated; * is all of them.
    #[arg(long)]
    pub status_include_resources: Vec<String>,
    /// Resources whose status is not restored, as resource.group, comma-separated.
    #[arg(long)]
    pub status_exclude_resources: Vec<String>,
    /// Restore volumes; false brings claims back with new, empty ones.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub restore_volumes: Option<bool>,
    /// Keep the node ports of Services.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub preserve_nodeports: Option<bool>,
    /// How long the data movement of a volume may take [default: the server's].
    #[arg(long, value_parser = duration)]
    pub item_operation_timeout: Option<caravel_api::Duration>,
    /// ConfigMap in Velero's namespace with changes to make to objects.
    #[arg(long)]
    pub resource_modifier_configmap: Option<String>,
    /// ConfigMap in Velero's namespace with resource filter policies.
    #[arg(long)]
    pub resource_policies_configmap: Option<String>,
}

impl SpecFlags {
    /// The spec.
    ///
    /// # Errors
    /// Flags that cannot be together, or that cannot be read.
    pub fn spec(&self) -> Outcome<RestoreSpec> {
        if self.selector.is_some() && self.or_selector.is_some() {
            return Err(Failure::usage(
                "either a 'selector' or an 'or-selector' can be specified, but not both",
            ));
        }
        let wrong = |flag: &'static str| move |why: String| Failure::usage(format!("{flag}: {why}"));
        let mut namespaces = list(&self.include_namespaces);
        if namespaces.is_empty() {
            namespaces.push("*".to_owned());
        }
        let config_map = |name: &String| TypedLocalObjectReference {
            kind: "configmap".to_owned(),
            name: name.clone(),
            api_group: None,
        };
        let status = list(&self.status_include_resources);
        Ok(RestoreSpec {
            backup_name: self.from_backup.clone(),
            included_namespaces: namespaces,
            excluded_namespaces: list(&self.exclude_namespaces),
            namespace_mapping: mappings(&self.namespace_mappings).map_err(wrong("--namespace-mappings"))?,
            included_resources: list(&self.include_resources),
            excluded_resources: list(&self.exclude_resources),
            include_cluster_resources: self.include_cluster_resources,
            label_selector: self.selector.clone(),
            or_label_selectors: or_selectors(self.or_selector.as_deref().unwrap_or_default())
                .map_err(wrong("--or-selector"))?,
            existing_resource_policy: self.existing_resource_policy.clone().unwrap_or_default(),
            // As Velero: nothing is excluded from what nobody asked for.
            restore_status: (!status.is_empty()).then(|| RestoreStatusSpec {
                included_resources: status,
                excluded_resources: list(&self.status_exclude_resources),
            }),
            restore_pvs: self.restore_volumes,
            preserve_node_ports: self.preserve_nodeports,
            item_operation_timeout: self.item_operation_timeout,
            resource_modifier: self.resource_modifier_configmap.as_ref().map(config_map),
            resource_policy: self.resource_policies_configmap.as_ref().map(config_map),
            ..RestoreSpec::default()
        })
    }
}

/// `from1:to1,from2:to2`.
fn mappings(values: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut mappings = BTreeMap::new();
    for entry in list(values) {
        match entry.split_once(':').map(|(from, to)| (from.trim(), to.trim())) {
            Some((from, to)) if !from.is_empty() && !to.is_empty() && !to.contains(':') => {
                mappings.insert(from.to_owned(), to.to_owned());
            }
            _ => return Err(format!("{entry:?} is not from:to, two namespaces")),
        }
    }
    Ok(mappings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_pairs_and_anything_else_is_refused() {
        let flags = SpecFlags {
            from_backup: "b1".into(),
            namespace_mappings: vec!["a:b,c:d".into(), "e:f".into()],
            ..SpecFlags::default()
        };
        let spec = flags.spec().ok().unwrap();
        let pairs = [("a", "b"), ("c", "d"), ("e", "f")].map(|(from, to)| (from.to_owned(), to.to_owned()));
        assert_eq!(spec.namespace_mapping, BTreeMap::from(pairs));
        for wrong in ["a", "a:", ":b", "a:b:c"] {
            assert!(mappings(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_kind_of_selector_and_a_status_only_where_it_was_asked_for() {
        let both = SpecFlags {
            selector: label_selector("a=b").ok(),
            or_selector: Some("c=d".into()),
            ..SpecFlags::default()
        };
        assert!(both.spec().is_err());
        let excluded = SpecFlags {
            status_exclude_resources: vec!["pods".into()],
            ..SpecFlags::default()
        };
        assert_eq!(excluded.spec().ok().unwrap().restore_status, None);
    }
}
