//! `<b>-itemoperations.json.gz`: operations of item actions that go on after the item was handled
//! (velero-behaviour.md 2.4; upstream `pkg/itemoperation`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::wire::{empty_is_null, is_default, null_is_default, open_words};

open_words! {
    /// Where an operation stands.
    OperationPhase {
        New = "New",
        InProgress = "InProgress",
        Completed = "Completed",
        Failed = "Failed",
        /// Not set.
        #[default]
        Unset = "",
    }
}

impl OperationPhase {
    /// Whether nothing will change any more.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// An operation started by a backup item action.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupOperation {
    pub spec: BackupOperationSpec,
    pub status: OperationStatus,
}

/// What a backup's operation is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupOperationSpec {
    pub backup_name: String,
    #[serde(rename = "backupUID")]
    pub backup_uid: String,
    /// The action's name, as `velero.io/csi-pvc-backupper`.
    pub backup_item_action: String,
    pub resource_identifier: ResourceIdentifier,
    #[serde(rename = "operationID")]
    pub operation_id: String,
    /// Items to be saved again once the operation is done.
    #[serde(serialize_with = "empty_is_null", deserialize_with = "null_is_default")]
    pub post_operation_items: Vec<ResourceIdentifier>,
}

/// An operation started by a restore item action.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreOperation {
    pub spec: RestoreOperationSpec,
    pub status: OperationStatus,
}

/// What a restore's operation is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreOperationSpec {
    pub restore_name: String,
    #[serde(rename = "restoreUID")]
    pub restore_uid: String,
    /// The action's name, as `velero.io/csi-pvc-restorer`.
    pub restore_item_action: String,
    pub resource_identifier: ResourceIdentifier,
    #[serde(rename = "operationID")]
    pub operation_id: String,
}

/// An item; its names are capital because upstream's struct has no tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResourceIdentifier {
    /// Empty for the core group.
    pub group: String,
    /// Plural, as `persistentvolumeclaims`.
    pub resource: String,
    /// Empty for a cluster-scoped item.
    pub namespace: String,
    pub name: String,
}

/// How far an operation is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationStatus {
    #[serde(skip_serializing_if = "is_default")]
    pub phase: OperationPhase,
    #[serde(skip_serializing_if = "is_default")]
    pub error: String,
    #[serde(skip_serializing_if = "is_default")]
    pub n_completed: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub n_total: i64,
    /// What is counted, as `Bytes`.
    #[serde(skip_serializing_if = "is_default")]
    pub operation_units: String,
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
    /// When the server made the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// When the work itself began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated: Option<Time>,
}
