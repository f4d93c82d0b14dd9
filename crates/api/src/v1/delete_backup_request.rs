//! DeleteBackupRequest: asks the server to delete a Backup and everything of it.
//!
//! Mirrors Velero's `pkg/apis/velero/v1/delete_backup_request_types.go`.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::phase::DeleteBackupRequestPhase;

/// Which Backup to delete, with its data.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "DeleteBackupRequest",
    plural = "deletebackuprequests",
    singular = "deletebackuprequest",
    namespaced,
    status = "DeleteBackupRequestStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name": "BackupName", "type": "string", "jsonPath": ".spec.backupName"}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.phase"}"#
)]
#[serde(rename_all = "camelCase", default, remote = "DeleteBackupRequestSpec")]
pub struct DeleteBackupRequestSpec {
    /// Name of the Backup.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub backup_name: String,
}

crate::wire::absent_is_empty!(DeleteBackupRequestSpec);

/// How the deletion stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteBackupRequestStatus {
    /// What went wrong.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub errors: Vec<String>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<DeleteBackupRequestPhase>,
}

impl DeleteBackupRequest {
    /// The phase; an object without one is new.
    pub fn phase(&self) -> DeleteBackupRequestPhase {
        self.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    }
}
