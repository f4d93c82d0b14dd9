//! What goes into a backup, as flags: those of `backup create` and of `schedule create`
//! (`pkg/cmd/cli/backup/create.go`, `BindFlags`).

use caravel_api::v1::{BackupSpec, UploaderConfigForBackup};
use k8s_openapi::api::core::v1::TypedLocalObjectReference;

use super::super::failure::{Failure, Outcome};
use super::super::filters::FilterFlags;
use super::super::flags::{boolean, duration, list, ordered_resources};

/// The flags.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SpecFlags {
    #[command(flatten)]
    pub filters: FilterFlags,
    /// Cluster-scoped resources to include, as resource.group, comma-separated; * is all of them. This and the other filters
    /// by scope cannot be given together with --include-resources, --exclude-resources and --include-cluster-resources.
    #[arg(long)]
    pub include_cluster_scoped_resources: Vec<String>,
    /// Cluster-scoped resources to leave out, as resource.group, comma-separated; * is all of them.
    #[arg(long)]
    pub exclude_cluster_scoped_resources: Vec<String>,
    /// Namespaced resources to include, as resource.group, comma-separated; * is all of them.
    #[arg(long)]
    pub include_namespace_scoped_resources: Vec<String>,
    /// Namespaced resources to leave out, as resource.group, comma-separated; * is all of them.
    #[arg(long)]
    pub exclude_namespace_scoped_resources: Vec<String>,
    /// What comes first, by kind: "pods=ns1/a,ns1/b;persistentvolumes=pv1".
    #[arg(long)]
    pub ordered_resources: Option<String>,
    /// BackupStorageLocation to store it in [default: the default one].
    #[arg(long)]
    pub storage_location: Option<String>,
    /// VolumeSnapshotLocations, at most one a provider, comma-separated.
    #[arg(long)]
    pub volume_snapshot_locations: Vec<String>,
    /// How long it is kept, such as 720h [default: the server's].
    #[arg(long, value_parser = duration)]
    pub ttl: Option<caravel_api::Duration>,
    /// How long the storage may take to cut a snapshot [default: 10m].
    #[arg(long, value_parser = duration)]
    pub csi_snapshot_timeout: Option<caravel_api::Duration>,
    /// How long the data movement of a volume may take [default: the server's].
    #[arg(long, value_parser = duration)]
    pub item_operation_timeout: Option<caravel_api::Duration>,
    /// Move the data of CSI snapshots to the backup location.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub snapshot_move_data: Option<bool>,
    /// Take snapshots of volumes; false backs up without them.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub snapshot_volumes: Option<bool>,
    /// Who moves the data; the built-in data mover when it is not said.
    #[arg(long)]
    pub data_mover: Option<String>,
    /// Files of a volume that are read at the same time.
    #[arg(long)]
    pub parallel_files_upload: Option<i32>,
    /// ConfigMap in Velero's namespace with the resource policies.
    #[arg(long)]
    pub resource_policies_configmap: Option<String>,
}

impl SpecFlags {
    /// The spec.
    ///
    /// # Errors
    /// Flags that cannot be together, or that cannot be read.
    pub fn spec(&self) -> Outcome<BackupSpec> {
        self.one_style_of_filters()?;
        let wrong = |flag: &'static str| move |why: String| Failure::usage(format!("{flag}: {why}"));
        let filters = &self.filters;
        Ok(BackupSpec {
            included_namespaces: filters.namespaces(),
            excluded_namespaces: list(&filters.exclude_namespaces),
            included_resources: list(&filters.include_resources),
            excluded_resources: list(&filters.exclude_resources),
            include_cluster_resources: filters.include_cluster_resources,
            included_cluster_scoped_resources: list(&self.include_cluster_scoped_resources),
            excluded_cluster_scoped_resources: list(&self.exclude_cluster_scoped_resources),
            included_namespace_scoped_resources: list(&self.include_namespace_scoped_resources),
            excluded_namespace_scoped_resources: list(&self.exclude_namespace_scoped_resources),
            label_selector: filters.selector.clone(),
            or_label_selectors: filters.or_selectors()?,
            ordered_resources: ordered_resources(self.ordered_resources.as_deref().unwrap_or_default())
                .map_err(wrong("--ordered-resources"))?,
            storage_location: self.storage_location.clone().unwrap_or_default(),
            volume_snapshot_locations: list(&self.volume_snapshot_locations),
            ttl: self.ttl,
            csi_snapshot_timeout: self.csi_snapshot_timeout,
            item_operation_timeout: self.item_operation_timeout,
            snapshot_move_data: self.snapshot_move_data,
            snapshot_volumes: self.snapshot_volumes,
            datamover: self.data_mover.clone().unwrap_or_default(),
            uploader_config: self.parallel_files_upload.map(|parallel_files_upload| {
                UploaderConfigForBackup {
                    parallel_files_upload,
                }
            }),
            resource_policy: self
                .resource_policies_configmap
                .clone()
                .map(|name| TypedLocalObjectReference {
                    kind: "configmap".to_owned(),
                    name,
                    api_group: None,
                }),
            ..BackupSpec::default()
        })
    }

    fn one_style_of_filters(&self) -> Outcome {
        let old = !self.filters.include_resources.is_empty()
            || !self.filters.exclude_resources.is_empty()
            || self.filters.include_cluster_resources.is_some();
        let scoped = [
            &self.include_cluster_scoped_resources,
            &self.exclude_cluster_scoped_resources,
            &self.include_namespace_scoped_resources,
            &self.exclude_namespace_scoped_resources,
        ];
        if old && scoped.iter().any(|filter| !filter.is_empty()) {
            return Err(Failure::usage(
                "--include-resources, --exclude-resources and --include-cluster-resources cannot be used together with the filters that name a scope (--include-cluster-scoped-resources and its like)",
            ));
        }
        Ok(())
    }
}
