//! The bucket's files that `describe` prints, read leniently: any field may be missing, unknown ones are ignored, so
//! that backups of older and newer versions can be described. Who writes them: `caravel-backup-store`.
//!
//! Formats: velero-behaviour.md 2.3 and 2.4.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

/// One file: read, not there for a good reason, or not readable (and why).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Read<T> {
    /// Its content.
    Got(T),
    /// There is none yet, or it was not asked for.
    #[default]
    Absent,
    /// It should be there.
    Failed(String),
}

/// The files of one backup or restore.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    pub results: Read<Results>,
    pub operations: Read<Vec<Operation>>,
    pub resource_list: Read<ResourceList>,
    pub volumes: Read<Vec<Volume>>,
}

/// `<group>/<version>/<Kind>` → `namespace/name`.
pub type ResourceList = BTreeMap<String, Vec<String>>;

/// `…-results.gz`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Results {
    pub errors: Findings,
    pub warnings: Findings,
}

/// Messages by what they are about.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Findings {
    #[serde(deserialize_with = "nullable")]
    pub velero: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub cluster: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub namespaces: BTreeMap<String, Vec<String>>,
}

impl Findings {
    /// True when there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.velero.is_empty() && self.cluster.is_empty() && self.namespaces.values().all(Vec::is_empty)
    }
}

/// One entry of `…-itemoperations.json.gz`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Operation {
    pub spec: OperationSpec,
    pub status: OperationStatus,
}

/// What the operation does.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationSpec {
    #[serde(alias = "restoreItemAction", alias = "backupItemAction")]
    pub item_action: String,
    pub resource_identifier: Resource,
    #[serde(rename = "operationID")]
    pub operation_id: String,
    #[serde(deserialize_with = "nullable")]
    pub post_operation_items: Vec<Resource>,
}

/// An object, with Go's untagged field names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Resource {
    pub group: String,
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

impl Resource {
    /// `deployments.apps`.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }
}

/// How the operation stands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationStatus {
    pub phase: String,
    pub error: String,
    pub n_completed: i64,
    pub n_total: i64,
    pub operation_units: String,
    pub description: String,
    pub created: Option<Time>,
    pub started: Option<Time>,
    pub updated: Option<Time>,
}

/// One entry of `…-volumeinfo.json.gz`, of a backup or a restore.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    pub pvc_name: String,
    pub pvc_namespace: String,
    pub pv_name: String,
    #[serde(alias = "restoreMethod", alias = "backupMethod")]
    pub method: String,
    pub snapshot_data_moved: bool,
    pub preserve_local_snapshot: bool,
    pub skipped: bool,
    pub result: String,
    pub csi_snapshot_info: Option<CsiSnapshot>,
    pub snapshot_data_movement_info: Option<DataMovement>,
}

/// A snapshot that stays in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiSnapshot {
    pub snapshot_handle: String,
    pub size: i64,
    pub driver: String,
    pub vsc_name: String,
    #[serde(rename = "operationID")]
    pub operation_id: String,
}

/// Data that was moved to or from the bucket.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataMovement {
    pub data_mover: String,
    pub uploader_type: String,
    #[serde(rename = "operationID")]
    pub operation_id: String,
    pub size: i64,
    pub incremental_size: i64,
}

fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
