//! What a restore hands from the backup's DataUpload to its DataDownload, as JSON in a ConfigMap.
//!
//! Mirrors Velero's `pkg/apis/velero/v2alpha1/data_upload_types.go`, `DataUploadResult`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::phase::NodeOs;

/// The part of a finished DataUpload that a DataDownload needs. In the ConfigMap the key is the Restore's UID.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataUploadResult {
    /// Name of the BackupStorageLocation that holds the data.
    pub backup_storage_location: String,
    /// Data mover that wrote it; empty for the built-in one.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub datamover: String,
    /// Id of the snapshot in the repository.
    #[serde(
        rename = "snapshotID",
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub snapshot_id: String,
    /// Namespace of the volume when it was backed up; it names the repository.
    pub source_namespace: String,
    /// What a data mover wants back as it was.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub data_mover_result: BTreeMap<String, String>,
    /// Operating system of the node that read the volume.
    #[serde(rename = "nodeOS", skip_serializing_if = "Option::is_none")]
    pub node_os: Option<NodeOs>,
    /// Bytes of the volume's data.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub snapshot_size: i64,
}
