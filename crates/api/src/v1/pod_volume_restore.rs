//! PodVolumeRestore: the download into a volume of a starting pod.
//!
//! Mirrors Velero's `pkg/apis/velero/v1/pod_volume_restore_type.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::phase::{DataMovementPhase, UploaderType};
use crate::progress::DataMoveOperationProgress;
use crate::schema;

/// Which snapshot to write into which volume of which pod.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "PodVolumeRestore",
    plural = "podvolumerestores",
    singular = "podvolumerestore",
    namespaced,
    status = "PodVolumeRestoreStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Started", "type": "date", "jsonPath": ".status.startTimestamp"}"#,
    printcolumn = r#"{"name": "Bytes Done", "type": "integer", "jsonPath": ".status.progress.bytesDone", "format": "int64"}"#,
    printcolumn = r#"{"name": "Total Bytes", "type": "integer", "jsonPath": ".status.progress.totalBytes", "format": "int64"}"#,
    printcolumn = r#"{"name": "Storage Location", "type": "string", "jsonPath": ".spec.backupStorageLocation"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Node", "type": "string", "jsonPath": ".status.node"}"#,
    printcolumn = r#"{"name": "Uploader Type", "type": "string", "jsonPath": ".spec.uploaderType"}"#
)]
#[serde(rename_all = "camelCase", default, remote = "PodVolumeRestoreSpec")]
pub struct PodVolumeRestoreSpec {
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
    /// The pod whose volume it is.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(schema_with = "schema::object_reference", extend("x-required" = true))]
    pub pod: ObjectReference,
    /// Address of the repository.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub repo_identifier: String,
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
    /// Settings of the uploader.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub uploader_settings: BTreeMap<String, String>,
    /// What moves the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploader_type: Option<UploaderType>,
    /// Name of the volume in the pod's spec.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub volume: String,
}

crate::wire::absent_is_empty!(PodVolumeRestoreSpec);

/// How the download stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeRestoreStatus {
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

impl PodVolumeRestore {
    /// The phase; an object without one is new.
    pub fn phase(&self) -> DataMovementPhase {
        self.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    }
}
