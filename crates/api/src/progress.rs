//! Progress of a data movement, shared by DataUpload, DataDownload, PodVolumeBackup and PodVolumeRestore.
//!
//! Mirrors Velero's `pkg/apis/velero/shared/data_move_operation_progress.go`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes moved so far and in all. In data-path events (not here) the second name is spelled `doneBytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataMoveOperationProgress {
    /// Bytes read from (upload) or written to (download) the volume so far.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub bytes_done: i64,
    /// Bytes of the whole volume as far as known; 0 until the first estimate.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub total_bytes: i64,
}
