//! DataDownload: the download of a snapshot's data into a volume.
//!
//! Mirrors Velero's `pkg/apis/velero/v2alpha1/data_download_types.go`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::phase::{DataMovementPhase, NodeOs};
use crate::progress::DataMoveOperationProgress;

/// Which snapshot of the repository to write into which volume.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v2alpha1",
    kind = "DataDownload",
    plural = "datadownloads",
    singular = "datadownload",
    namespaced,
    status = "DataDownloadStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Started", "type": "date", "jsonPath": ".status.startTimestamp"}"#,
    printcolumn = r#"{"name": "Bytes Done", "type": "integer", "jsonPath": ".status.progress.bytesDone", "format": "int64"}"#,
    printcolumn = r#"{"name": "Total Bytes", "type": "integer", "jsonPath": ".status.progress.totalBytes", "format": "int64"}"#,
    printcolumn = r#"{"name": "Storage Location", "type": "string", "jsonPath": ".spec.backupStorageLocation"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Node", "type": "string", "jsonPath": ".status.node"}"#
)]
#[serde(rename_all = "camelCase", default, remote = "DataDownloadSpec")]
pub struct DataDownloadSpec {
    /// Name of the BackupStorageLocation that holds the data.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub backup_storage_location: String,
    /// Set to true to stop it.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub cancel: bool,
    /// Settings for the data mover.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub data_mover_config: BTreeMap<String, String>,
    /// Data mover; empty or `velero` means the built-in one.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub datamover: String,
    /// Operating system of the node that must move the data.
    #[serde(rename = "nodeOS", skip_serializing_if = "Option::is_none")]
    pub node_os: Option<NodeOs>,
    /// How long preparations, such as a snapshot becoming ready, may take.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub operation_timeout: Duration,
    /// Id of the snapshot in the repository.
    #[serde(rename = "snapshotID", deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub snapshot_id: String,
    /// Bytes of the data to restore.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub snapshot_size: i64,
    /// Namespace of the claim when it was backed up.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub source_namespace: String,
    /// Volume to restore into.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub target_volume: TargetVolumeSpec,
}

crate::wire::absent_is_empty!(DataDownloadSpec);

/// A claim and the volume behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetVolumeSpec {
    /// Namespace of the claim.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub namespace: String,
    /// Name of the volume.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub pv: String,
    /// Name of the claim.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub pvc: String,
}

/// How the download stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataDownloadStatus {
    /// Node whose agent accepted it.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub accepted_by_node: String,
    /// When it was accepted; the prepare timeout counts from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub accepted_timestamp: Option<Time>,
    /// When it ended, well or badly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub completion_timestamp: Option<Time>,
    /// Why it is so, for people.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub message: String,
    /// Node that moves the data.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub node: String,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<DataMovementPhase>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<DataMoveOperationProgress>,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub start_timestamp: Option<Time>,
}

impl DataDownload {
    /// The phase; an object without one is new.
    pub fn phase(&self) -> DataMovementPhase {
        self.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    }
}
