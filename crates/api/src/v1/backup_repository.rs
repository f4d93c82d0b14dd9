//! BackupRepository: the encrypted repository that holds the volumes of one namespace at one location.
//!
//! Mirrors Velero's `pkg/apis/velero/v1/backup_repository_types.go`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::phase::{BackupRepositoryMaintenanceResult, BackupRepositoryPhase, UploaderType};

/// Which volumes the repository holds, and where it is.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "BackupRepository",
    plural = "backuprepositories",
    singular = "backuprepository",
    namespaced,
    status = "BackupRepositoryStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Repository Type", "type": "string", "jsonPath": ".spec.repositoryType"}"#
)]
#[serde(rename_all = "camelCase", default, remote = "BackupRepositorySpec")]
pub struct BackupRepositorySpec {
    /// Name of the BackupStorageLocation that holds the data.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub backup_storage_location: String,
    /// How often maintenance runs.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub maintenance_frequency: Duration,
    /// Settings of the repository, such as its cache size.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub repository_config: BTreeMap<String, String>,
    /// Format of the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_type: Option<UploaderType>,
    /// Not used any more.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub restic_identifier: String,
    /// Namespace of the volumes it holds.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub volume_namespace: String,
}

crate::wire::absent_is_empty!(BackupRepositorySpec);

/// One run of maintenance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupRepositoryMaintenanceStatus {
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub complete_timestamp: Option<Time>,
    /// Why it is so, for people.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub message: String,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<BackupRepositoryMaintenanceResult>,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub start_timestamp: Option<Time>,
}

/// Whether the repository can be used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupRepositoryStatus {
    /// When maintenance last ended well.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub last_maintenance_time: Option<Time>,
    /// Why it is so, for people.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub message: String,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupRepositoryPhase>,
    /// The last runs of maintenance, oldest first.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub recent_maintenance: Vec<BackupRepositoryMaintenanceStatus>,
}

impl BackupRepository {
    /// The phase; an object without one is new.
    pub fn phase(&self) -> BackupRepositoryPhase {
        self.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    }
}
