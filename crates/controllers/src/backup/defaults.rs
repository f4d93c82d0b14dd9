//! What the server adds to a Backup before it runs (velero-behaviour.md 3.2; upstream `prepareBackupRequest`). Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_backup::filter::{SNAPSHOT_RESOURCES, uses_old_filters};
use caravel_backup::item_actions::pvc::DEFAULT_SNAPSHOT_TIMEOUT;
use kube::ResourceExt;

/// The server's own choices, from its flags.
#[derive(Clone, Debug)]
pub struct Defaults {
    pub ttl: Duration,
    pub item_operation_timeout: Duration,
    pub resource_timeout: Duration,
    pub snapshot_move_data: bool,
    pub volumes_to_fs_backup: bool,
    pub volume_group_label_key: String,
    /// `--default-volume-snapshot-locations`: provider → name.
    pub snapshot_locations: BTreeMap<String, String>,
    /// `--global-backup-volume-policies-configmap`: a ConfigMap of Velero's namespace.
    pub global_volume_policies: Option<String>,
}

impl Default for Defaults {
    /// Velero's: velero-behaviour.md 9.1.
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(720 * 3600),
            item_operation_timeout: Duration::from_secs(4 * 3600),
            resource_timeout: Duration::from_secs(600),
            snapshot_move_data: false,
            volumes_to_fs_backup: false,
            volume_group_label_key: labels::VOLUME_GROUP.to_owned(),
            snapshot_locations: BTreeMap::new(),
            global_volume_policies: None,
        }
    }
}

/// What is known of the cluster, for the annotations.
#[derive(Clone, Debug, Default)]
pub struct ClusterVersion {
    pub git_version: String,
    pub major: String,
    pub minor: String,
}

/// The Backup as it will run. `location`: the one it goes to; `excluded_namespaces`: those labelled
/// `velero.io/exclude-from-backup=true`.
pub fn apply(
    backup: &Backup,
    defaults: &Defaults,
    location: &str,
    excluded_namespaces: &[String],
    version: &ClusterVersion,
) -> Backup {
    let mut backup = backup.clone();
    let spec = &mut backup.spec;
    spec.ttl = Some(spec.ttl.unwrap_or_default().or(defaults.ttl).into());
    spec.csi_snapshot_timeout = Some(
        spec.csi_snapshot_timeout
            .unwrap_or_default()
            .or(DEFAULT_SNAPSHOT_TIMEOUT)
            .into(),
    );
    spec.item_operation_timeout = Some(
        spec.item_operation_timeout
            .unwrap_or_default()
            .or(defaults.item_operation_timeout)
            .into(),
    );
    if spec.volume_group_snapshot_label_key.is_empty() {
        spec.volume_group_snapshot_label_key
            .clone_from(&defaults.volume_group_label_key);
    }
    // The old name asks for it; it never speaks against it.
    let by_old_name = spec.default_volumes_to_restic.filter(|asked| *asked);
    let fs_backup = by_old_name.or(spec.default_volumes_to_fs_backup);
    spec.default_volumes_to_fs_backup = Some(fs_backup.unwrap_or(defaults.volumes_to_fs_backup));
    if spec.snapshot_move_data.is_none() && defaults.snapshot_move_data {
        spec.snapshot_move_data = Some(true);
    }
    spec.storage_location = location.to_owned();
    if spec.included_namespaces.is_empty() {
        spec.included_namespaces = vec!["*".to_owned()];
    }
    for namespace in excluded_namespaces {
        push_new(&mut spec.excluded_namespaces, namespace);
    }
    let [snapshots, contents] = SNAPSHOT_RESOURCES;
    if uses_old_filters(spec) {
        push_new(&mut spec.excluded_resources, snapshots);
        push_new(&mut spec.excluded_resources, contents);
    } else {
        push_new(&mut spec.excluded_namespace_scoped_resources, snapshots);
        push_new(&mut spec.excluded_cluster_scoped_resources, contents);
    }
    backup
        .labels_mut()
        .insert(labels::STORAGE_LOCATION.to_owned(), labels::label_value(location));
    let resource_timeout = caravel_api::Duration(defaults.resource_timeout).to_string();
    let annotations = [
        (labels::SOURCE_CLUSTER_GIT_VERSION, version.git_version.clone()),
        (labels::SOURCE_CLUSTER_MAJOR_VERSION, version.major.clone()),
        (labels::SOURCE_CLUSTER_MINOR_VERSION, version.minor.clone()),
        (labels::RESOURCE_TIMEOUT, resource_timeout),
    ];
    if let Some(name) = &defaults.global_volume_policies {
        let key = labels::GLOBAL_BACKUP_VOLUME_POLICIES.to_owned();
        backup.annotations_mut().insert(key, name.clone());
    }
    backup
        .annotations_mut()
        .extend(annotations.map(|(key, value)| (key.to_owned(), value)));
    backup
}

fn push_new(list: &mut Vec<String>, entry: &str) {
    if !list.iter().any(|listed| listed == entry || listed == "*") {
        list.push(entry.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> ClusterVersion {
        ClusterVersion {
            git_version: "v1.34.4".into(),
            major: "1".into(),
            minor: "34".into(),
        }
    }

    #[test]
    fn a_plain_backup_becomes_what_velero_makes_of_it() {
        let mut backup = Backup::new("fix1", Default::default());
        backup.spec.included_namespaces = vec!["odd".into()];
        backup.spec.snapshot_move_data = Some(true);
        let backup = apply(&backup, &Defaults::default(), "fix", &[], &version());
        // samples/objects/backup-fix1.yaml
        let expected = serde_json::json!({
            "csiSnapshotTimeout": "10m0s", "defaultVolumesToFsBackup": false,
            "excludedClusterScopedResources": ["volumesnapshotcontents.snapshot.storage.k8s.io"],
            "excludedNamespaceScopedResources": ["volumesnapshots.snapshot.storage.k8s.io"],
            "includedNamespaces": ["odd"], "itemOperationTimeout": "4h0m0s", "snapshotMoveData": true,
            "storageLocation": "fix", "ttl": "720h0m0s", "volumeGroupSnapshotLabelKey": "velero.io/volume-group"});
        assert_eq!(serde_json::to_value(&backup.spec).unwrap(), expected);
        assert_eq!(backup.annotations()["velero.io/resource-timeout"], "10m0s");
        assert_eq!(
            backup.annotations()["velero.io/source-cluster-k8s-gitversion"],
            "v1.34.4"
        );
        assert_eq!(backup.labels()["velero.io/storage-location"], "fix");
    }

    #[test]
    fn old_filters_get_the_snapshot_exclusion_in_their_own_list() {
        let mut backup = Backup::new("b", Default::default());
        backup.spec.include_cluster_resources = Some(true);
        let backup = apply(
            &backup,
            &Defaults::default(),
            "default",
            &["kube-x".into()],
            &version(),
        );
        assert_eq!(backup.spec.excluded_resources.len(), 2);
        assert!(backup.spec.excluded_cluster_scoped_resources.is_empty());
        assert_eq!(backup.spec.excluded_namespaces, ["kube-x"]);
        assert_eq!(backup.spec.included_namespaces, ["*"]);
    }
}
