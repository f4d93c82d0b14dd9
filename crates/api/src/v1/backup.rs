//! Backup: a copy of a selection of the cluster's objects, and of their volumes.
//!
//! Mirrors Velero's `pkg/apis/velero/v1/backup_types.go`; phases are in `phase.rs`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::phase::{BackupPhase, HookErrorMode};
use crate::schema;

/// What to back up, and how.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "Backup",
    plural = "backups",
    singular = "backup",
    namespaced,
    status = "BackupStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default, remote = "BackupSpec")]
pub struct BackupSpec {
    /// How long a CSI snapshot may take to get a handle; 0 means the default of 10 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csi_snapshot_timeout: Option<Duration>,
    /// Data mover; empty or `velero` means the built-in one.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub datamover: String,
    /// Use file system backup for every pod volume that does not opt out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub default_volumes_to_fs_backup: Option<bool>,
    /// Old name of `defaultVolumesToFsBackup`; still read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub default_volumes_to_restic: Option<bool>,
    /// Cluster-scoped resources to leave out, as `resource.group`.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub excluded_cluster_scoped_resources: Vec<String>,
    /// Namespaced resources to leave out, as `resource.group`.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub excluded_namespace_scoped_resources: Vec<String>,
    /// Namespaces to leave out.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub excluded_namespaces: Vec<String>,
    /// Resources to leave out, as `resource.group`.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub excluded_resources: Vec<String>,
    /// Commands to run in pods before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<BackupHooks>,
    /// Cluster-scoped resources: true all, false none, nothing those that belong to included ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub include_cluster_resources: Option<bool>,
    /// Cluster-scoped resources to include, as `resource.group`.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub included_cluster_scoped_resources: Vec<String>,
    /// Namespaced resources to include, as `resource.group`.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub included_namespace_scoped_resources: Vec<String>,
    /// Namespaces to include; `*` or nothing means all.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub included_namespaces: Vec<String>,
    /// Resources to include, as `resource.group`; `*` or nothing means all.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub included_resources: Vec<String>,
    /// How long asynchronous item operations may take; 0 means the default of 4 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_operation_timeout: Option<Duration>,
    /// Only objects with these labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector", extend("x-nullable" = true))]
    pub label_selector: Option<LabelSelector>,
    /// What to give to objects made for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// Only objects that one of these selects; excludes `labelSelector`.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(schema_with = "schema::label_selectors", extend("x-nullable" = true))]
    pub or_label_selectors: Vec<LabelSelector>,
    /// Kind → names in the order in which they are saved, with commas.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub ordered_resources: BTreeMap<String, String>,
    /// ConfigMap with volume policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::typed_local_object_reference")]
    pub resource_policy: Option<TypedLocalObjectReference>,
    /// Move the data of snapshots to the backup location.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub snapshot_move_data: Option<bool>,
    /// Take snapshots of volumes; nothing means where possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub snapshot_volumes: Option<bool>,
    /// Name of the BackupStorageLocation; the default one when empty.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub storage_location: String,
    /// How long it is kept; 0 means the default of 30 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// How data is moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub uploader_config: Option<UploaderConfigForBackup>,
    /// Label that groups claims into one group snapshot.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub volume_group_snapshot_label_key: String,
    /// VolumeSnapshotLocations for native snapshots.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub volume_snapshot_locations: Vec<String>,
}

crate::wire::absent_is_empty!(BackupSpec);

/// A command in a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecHook {
    /// Command and arguments, not run in a shell.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true), extend("minItems" = 1))]
    pub command: Vec<String>,
    /// Container of the pod; the first one when empty.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub container: String,
    /// What a failure means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_error: Option<HookErrorMode>,
    /// How long it may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// One hook of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupResourceHook {
    /// A command to run in a container of the pod.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub exec: ExecHook,
}

/// Hooks for the pods that a selection matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupResourceHookSpec {
    /// Namespaces to leave out.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub excluded_namespaces: Vec<String>,
    /// Resources to leave out, as `resource.group`.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub excluded_resources: Vec<String>,
    /// Namespaces to include; `*` or nothing means all.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub included_namespaces: Vec<String>,
    /// Resources to include, as `resource.group`; `*` or nothing means all.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub included_resources: Vec<String>,
    /// Only objects with these labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector", extend("x-nullable" = true))]
    pub label_selector: Option<LabelSelector>,
    /// Its name.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub name: String,
    /// Run after the pod is saved.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub post: Vec<BackupResourceHook>,
    /// Run before the pod is saved.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub pre: Vec<BackupResourceHook>,
}

/// Hooks of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupHooks {
    /// Hooks by the pods they are for.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub resources: Vec<BackupResourceHookSpec>,
}

/// Metadata for objects made from a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Labels to copy.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
}

/// How data is uploaded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UploaderConfigForBackup {
    /// Files read at a time; 0 means one a CPU.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub parallel_files_upload: i32,
}

/// Hooks run and failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HookStatus {
    /// Hooks that were run.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub hooks_attempted: i32,
    /// Hooks that failed.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub hooks_failed: i32,
}

/// Items of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupProgress {
    /// Items written so far.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub items_backed_up: i32,
    /// Items known so far.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub total_items: i32,
}

/// How a Backup stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStatus {
    /// Asynchronous item operations (such as data movement) that were started.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub backup_item_operations_attempted: i32,
    /// Asynchronous item operations that ended well.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub backup_item_operations_completed: i32,
    /// Asynchronous item operations that ended in an error.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub backup_item_operations_failed: i32,
    /// When it ended, well or badly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub completion_timestamp: Option<Time>,
    /// CSI snapshots that were started.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub csi_volume_snapshots_attempted: i32,
    /// CSI snapshots that became ready.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub csi_volume_snapshots_completed: i32,
    /// Number of errors met.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub errors: i32,
    /// When it may be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub expiration: Option<Time>,
    /// Why it failed as a whole.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub failure_reason: String,
    /// Format of the backup in the bucket (`1.1.0`).
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub format_version: String,
    /// How the hooks went.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub hook_status: Option<HookStatus>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupPhase>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub progress: Option<BackupProgress>,
    /// Place in the queue, from 1; 0 when it waits for nobody.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub queue_position: i32,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub start_timestamp: Option<Time>,
    /// Why it was refused.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub validation_errors: Vec<String>,
    /// Major version of the format; 1.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub version: i32,
    /// Native snapshots that were started.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub volume_snapshots_attempted: i32,
    /// Native snapshots that ended well.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub volume_snapshots_completed: i32,
    /// Number of warnings met.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub warnings: i32,
}

impl Backup {
    /// The phase; an object without one is new.
    pub fn phase(&self) -> BackupPhase {
        self.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    }
}
