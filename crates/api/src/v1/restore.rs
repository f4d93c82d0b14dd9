//! Restore: objects and volumes of a Backup, brought back.
//!
//! Mirrors Velero's `pkg/apis/velero/v1/restore_types.go`; phases are in `phase.rs`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HookStatus;
use crate::Duration;
use crate::phase::{HookErrorMode, RestorePhase};
use crate::schema;

/// What to restore, and how.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "Restore",
    plural = "restores",
    singular = "restore",
    namespaced,
    status = "RestoreStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default, remote = "RestoreSpec")]
pub struct RestoreSpec {
    /// Name of the Backup.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub backup_name: String,
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
    /// What to do with an object that exists: `none` leaves it, `update` patches it.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub existing_resource_policy: String,
    /// Commands to run in pods before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<RestoreHooks>,
    /// Cluster-scoped resources: true all, false none, nothing those that belong to included ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub include_cluster_resources: Option<bool>,
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
    /// Namespace in the backup → namespace to restore into.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub namespace_mapping: BTreeMap<String, String>,
    /// Only objects that one of these selects; excludes `labelSelector`.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(schema_with = "schema::label_selectors", extend("x-nullable" = true))]
    pub or_label_selectors: Vec<LabelSelector>,
    /// Keep node ports of Services.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub preserve_node_ports: Option<bool>,
    /// ConfigMap with changes to make to objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::typed_local_object_reference", extend("x-nullable" = true))]
    pub resource_modifier: Option<TypedLocalObjectReference>,
    /// ConfigMap with volume policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::typed_local_object_reference", extend("x-nullable" = true))]
    pub resource_policy: Option<TypedLocalObjectReference>,
    /// Restore volumes from snapshots.
    #[serde(rename = "restorePVs", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub restore_pvs: Option<bool>,
    /// Kinds of objects whose status is restored too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub restore_status: Option<RestoreStatusSpec>,
    /// Schedule whose latest backup is restored; excludes `backupName`.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub schedule_name: String,
    /// How data is moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub uploader_config: Option<UploaderConfigForRestore>,
}

crate::wire::absent_is_empty!(RestoreSpec);

/// A command in a container, once it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecRestoreHook {
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
    /// How long the command may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_timeout: Option<Duration>,
    /// What a failure means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_error: Option<HookErrorMode>,
    /// Wait until the container is ready, not only running.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub wait_for_ready: Option<bool>,
    /// How long the container may take to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_timeout: Option<Duration>,
}

/// Init containers to add to a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InitRestoreHook {
    /// Containers as of a pod; what they hold is not checked.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(schema_with = "schema::free_objects")]
    pub init_containers: Vec<serde_json::Value>,
    /// How long it may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// One hook of a restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreResourceHook {
    /// A command to run in a container of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecRestoreHook>,
    /// Init containers to add to the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<InitRestoreHook>,
}

/// Hooks for the pods that a selection matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreResourceHookSpec {
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
    /// Run after the pod is restored.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub post_hooks: Vec<RestoreResourceHook>,
}

/// Hooks of a restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreHooks {
    /// Hooks by the pods they are for.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub resources: Vec<RestoreResourceHookSpec>,
}

/// Selection of kinds whose status is restored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreStatusSpec {
    /// Resources to leave out, as `resource.group`.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub excluded_resources: Vec<String>,
    /// Resources to include, as `resource.group`; `*` or nothing means all.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub included_resources: Vec<String>,
}

/// How data is downloaded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UploaderConfigForRestore {
    /// Files written at a time; 0 means one a CPU.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub parallel_files_download: i32,
    /// Leave holes in files where the data is zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub write_sparse_files: Option<bool>,
}

/// Items of a restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreProgress {
    /// Items handled so far.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub items_restored: i32,
    /// Items known so far.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub total_items: i32,
}

/// How a Restore stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreStatus {
    /// When it ended, well or badly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub completion_timestamp: Option<Time>,
    /// Number of errors met.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub errors: i32,
    /// Why it failed as a whole.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub failure_reason: String,
    /// How the hooks went.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub hook_status: Option<HookStatus>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RestorePhase>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub progress: Option<RestoreProgress>,
    /// Asynchronous item operations that were started.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub restore_item_operations_attempted: i32,
    /// Asynchronous item operations that ended well.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub restore_item_operations_completed: i32,
    /// Asynchronous item operations that ended in an error.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub restore_item_operations_failed: i32,
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
    /// Number of warnings met.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub warnings: i32,
}

impl Restore {
    /// The phase; an object without one is new.
    pub fn phase(&self) -> RestorePhase {
        self.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    }
}
