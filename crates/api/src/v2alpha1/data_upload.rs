//! DataUpload: the upload of a snapshot's data to the repository.
//!
//! Mirrors Velero's `pkg/apis/velero/v2alpha1/data_upload_types.go`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::phase::{DataMovementPhase, NodeOs};
use crate::progress::DataMoveOperationProgress;

/// Which snapshot to upload, and where to.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v2alpha1",
    kind = "DataUpload",
    plural = "datauploads",
    singular = "dataupload",
    namespaced,
    status = "DataUploadStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Started", "type": "date", "jsonPath": ".status.startTimestamp"}"#,
    printcolumn = r#"{"name": "Bytes Done", "type": "integer", "jsonPath": ".status.progress.bytesDone", "format": "int64"}"#,
    printcolumn = r#"{"name": "Total Bytes", "type": "integer", "jsonPath": ".status.progress.totalBytes", "format": "int64"}"#,
    printcolumn = r#"{"name": "Incremental Bytes", "type": "integer", "jsonPath": ".status.incrementalBytes", "format": "int64", "priority": 10}"#,
    printcolumn = r#"{"name": "Storage Location", "type": "string", "jsonPath": ".spec.backupStorageLocation"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Node", "type": "string", "jsonPath": ".status.node"}"#
)]
#[serde(rename_all = "camelCase", default, remote = "DataUploadSpec")]
pub struct DataUploadSpec {
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
    /// The CSI snapshot to upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub csi_snapshot: Option<CsiSnapshotSpec>,
    /// Settings for the data mover.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub data_mover_config: BTreeMap<String, String>,
    /// Data mover; empty or `velero` means the built-in one.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub datamover: String,
    /// How long preparations, such as a snapshot becoming ready, may take.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub operation_timeout: Duration,
    /// Kind of snapshot; `CSI`.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub snapshot_type: String,
    /// Namespace of the claim when it was backed up.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub source_namespace: String,
    /// Claim that is backed up.
    #[serde(rename = "sourcePVC", deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub source_pvc: String,
}

crate::wire::absent_is_empty!(DataUploadSpec);

/// A CSI snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiSnapshotSpec {
    /// CSI driver.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub driver: String,
    /// VolumeSnapshotClass of the snapshot.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub snapshot_class: String,
    /// StorageClass of the claim.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub storage_class: String,
    /// Name of the VolumeSnapshot.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub volume_snapshot: String,
}

/// How the upload stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataUploadStatus {
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
    /// What the data mover wants back at restore.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub data_mover_result: BTreeMap<String, String>,
    /// Bytes of files that had to be read because they changed.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub incremental_bytes: i64,
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
    /// Operating system of the node that must move the data.
    #[serde(rename = "nodeOS", skip_serializing_if = "Option::is_none")]
    pub node_os: Option<NodeOs>,
    /// Path of the volume in the data mover pod.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub path: String,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<DataMovementPhase>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<DataMoveOperationProgress>,
    /// Id of the snapshot in the repository.
    #[serde(
        rename = "snapshotID",
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub snapshot_id: String,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub start_timestamp: Option<Time>,
}

impl DataUpload {
    /// The phase; an object without one is new.
    pub fn phase(&self) -> DataMovementPhase {
        self.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    }
}
