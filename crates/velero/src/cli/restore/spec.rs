//! What comes back, as flags of `restore create` (`pkg/cmd/cli/restore/create.go`, `BindFlags`).

use caravel_api::v1::{RestoreSpec, RestoreStatusSpec, UploaderConfigForRestore};
use k8s_openapi::api::core::v1::TypedLocalObjectReference;

use super::super::failure::{Failure, Outcome};
use super::super::filters::FilterFlags;
use super::super::flags::{boolean, duration, list, pairs};

/// The flags.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SpecFlags {
    #[command(flatten)]
    pub filters: FilterFlags,
    /// New names of namespaces: old1:new1,old2:new2.
    #[arg(long)]
    pub namespace_mappings: Vec<String>,
    /// What happens to objects that exist and differ: none leaves them, update makes them the backup's.
    #[arg(long)]
    pub existing_resource_policy: Option<String>,
    /// Resources whose status comes back too, as resource.group, comma-separated.
    #[arg(long)]
    pub status_include_resources: Vec<String>,
    /// Of those, resources whose status does not, as resource.group, comma-separated.
    #[arg(long)]
    pub status_exclude_resources: Vec<String>,
    /// Whether volumes get their data back [default: true].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub restore_volumes: Option<bool>,
    /// Whether Services keep their node ports.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub preserve_nodeports: Option<bool>,
    /// How long the data movement of a volume may take [default: the server's].
    #[arg(long, value_parser = duration)]
    pub item_operation_timeout: Option<caravel_api::Duration>,
    /// ConfigMap in Velero's namespace with changes to make to objects.
    #[arg(long)]
    pub resource_modifier_configmap: Option<String>,
    /// ConfigMap in Velero's namespace with filters by kind and name.
    #[arg(long)]
    pub resource_policies_configmap: Option<String>,
    /// Leave holes in files where the data is zeros.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub write_sparse_files: Option<bool>,
    /// Files of a volume that are written at the same time [default: one a CPU of the node].
    #[arg(long)]
    pub parallel_files_download: Option<u16>,
}

impl SpecFlags {
    /// The spec, without its source.
    ///
    /// # Errors
    /// Flags that cannot be together, or that cannot be read.
    pub fn spec(&self) -> Outcome<RestoreSpec> {
        let wrong = |flag: &'static str| move |why: String| Failure::usage(format!("{flag}: {why}"));
        let filters = &self.filters;
        Ok(RestoreSpec {
            included_namespaces: filters.namespaces(),
            excluded_namespaces: list(&filters.exclude_namespaces),
            namespace_mapping: pairs(&self.namespace_mappings.join(","))
                .map_err(wrong("--namespace-mappings"))?,
            included_resources: list(&filters.include_resources),
            excluded_resources: list(&filters.exclude_resources),
            include_cluster_resources: filters.include_cluster_resources,
            label_selector: filters.selector.clone(),
            or_label_selectors: filters.or_selectors()?,
            existing_resource_policy: self.existing()?,
            restore_status: self.status()?,
            restore_pvs: self.restore_volumes,
            preserve_node_ports: self.preserve_nodeports,
            item_operation_timeout: self.item_operation_timeout,
            resource_modifier: self.resource_modifier_configmap.clone().map(config_map),
            resource_policy: self.resource_policies_configmap.clone().map(config_map),
            uploader_config: self.uploader_config(),
            ..RestoreSpec::default()
        })
    }

    fn existing(&self) -> Outcome<String> {
        match self.existing_resource_policy.as_deref().unwrap_or_default() {
            policy @ ("" | "none" | "update") => Ok(policy.to_owned()),
            _ => Err(Failure::usage(
                "existing-resource-policy has invalid value, it accepts only none, update as value",
            )),
        }
    }

    /// Velero drops the excludes where nothing is included.
    fn status(&self) -> Outcome<Option<RestoreStatusSpec>> {
        let (included, excluded) = (
            list(&self.status_include_resources),
            list(&self.status_exclude_resources),
        );
        if included.is_empty() && !excluded.is_empty() {
            return Err(Failure::usage(
                "--status-exclude-resources leaves out what --status-include-resources includes, and that is not given",
            ));
        }
        Ok((!included.is_empty()).then_some(RestoreStatusSpec {
            included_resources: included,
            excluded_resources: excluded,
        }))
    }

    fn uploader_config(&self) -> Option<UploaderConfigForRestore> {
        let given = self.write_sparse_files.is_some() || self.parallel_files_download.is_some();
        given.then(|| UploaderConfigForRestore {
            parallel_files_download: self.parallel_files_download.unwrap_or_default().into(),
            write_sparse_files: self.write_sparse_files,
        })
    }
}

fn config_map(name: String) -> TypedLocalObjectReference {
    TypedLocalObjectReference {
        kind: "configmap".to_owned(),
        name,
        api_group: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::flags::label_selector;
    use super::*;

    #[test]
    fn flags_land_in_the_spec() {
        let flags = SpecFlags {
            filters: FilterFlags {
                include_namespaces: vec!["shop".into()],
                ..FilterFlags::default()
            },
            namespace_mappings: vec!["shop:shop2,web:web2".into()],
            existing_resource_policy: Some("update".into()),
            status_include_resources: vec!["workflows".into()],
            restore_volumes: Some(false),
            resource_modifier_configmap: Some("changes".into()),
            resource_policies_configmap: Some("filters".into()),
            parallel_files_download: Some(4),
            ..SpecFlags::default()
        };
        let spec = flags.spec().ok().unwrap();
        assert_eq!(
            serde_json::to_value(&spec).unwrap(),
            serde_json::json!({
                "includedNamespaces": ["shop"], "namespaceMapping": {"shop": "shop2", "web": "web2"},
                "existingResourcePolicy": "update", "restoreStatus": {"includedResources": ["workflows"]},
                "restorePVs": false, "resourceModifier": {"kind": "configmap", "name": "changes"},
                "resourcePolicy": {"kind": "configmap", "name": "filters"},
                "uploaderConfig": {"parallelFilesDownload": 4},
            })
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let mapped = |text: &str| SpecFlags {
            namespace_mappings: vec![text.into()],
            ..SpecFlags::default()
        };
        for flags in [
            mapped("shop"),
            mapped("shop:"),
            mapped("shop:a:b"),
            mapped("shop:a,shop:b"),
            SpecFlags {
                existing_resource_policy: Some("replace".into()),
                ..SpecFlags::default()
            },
            SpecFlags {
                status_exclude_resources: vec!["pods".into()],
                ..SpecFlags::default()
            },
            SpecFlags {
                filters: FilterFlags {
                    selector: label_selector("a=b").ok(),
                    or_selector: Some("c=d".into()),
                    ..FilterFlags::default()
                },
                ..SpecFlags::default()
            },
        ] {
            assert_eq!(flags.spec().unwrap_err().code(), 2, "{flags:?}");
        }
    }
}
