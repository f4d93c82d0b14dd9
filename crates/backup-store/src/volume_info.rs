//! `<b>-volumeinfo.json.gz`: what happened to each volume of a backup or restore (velero-behaviour.md 2.3;
//! upstream `internal/volume/volumes_information.go`). It drives restore decisions, `describe` and the
//! finalizer. Some names are capital because upstream forgot their tags; they stay so.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::wire::{is_default, null_is_default, open_words};

open_words! {
    /// How a volume was saved or brought back. Empty for a skipped one.
    VolumeMethod {
        NativeSnapshot = "NativeSnapshot",
        PodVolumeBackup = "PodVolumeBackup",
        PodVolumeRestore = "PodVolumeRestore",
        CsiSnapshot = "CSISnapshot",
        /// A skipped volume.
        #[default]
        None = "",
    }
}

open_words! {
    /// Whether it worked. Empty while it is not known.
    VolumeResult {
        Succeeded = "succeeded",
        Failed = "failed",
        /// Not known yet.
        #[default]
        Unknown = "",
    }
}

/// One volume of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupVolumeInfo {
    #[serde(skip_serializing_if = "is_default")]
    pub pvc_name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub pvc_namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    pub pv_name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub backup_method: VolumeMethod,
    pub snapshot_data_moved: bool,
    pub preserve_local_snapshot: bool,
    pub skipped: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub skipped_reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    #[serde(skip_serializing_if = "is_default")]
    pub result: VolumeResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csi_snapshot_info: Option<CsiSnapshotInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_data_movement_info: Option<SnapshotDataMovementInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native_snapshot_info: Option<NativeSnapshotInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvb_info: Option<PodVolumeInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pv_info: Option<PvInfo>,
}

/// One volume of a restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreVolumeInfo {
    #[serde(skip_serializing_if = "is_default")]
    pub pvc_name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub pvc_namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    pub pv_name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub restore_method: VolumeMethod,
    pub snapshot_data_moved: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csi_snapshot_info: Option<CsiSnapshotInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_data_movement_info: Option<SnapshotDataMovementInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native_snapshot_info: Option<NativeSnapshotInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvr_info: Option<PodVolumeInfo>,
}

/// A CSI snapshot. Of a moved volume handle, VSC name and operation are the literal `unknown` where they
/// cannot be derived ([`UNKNOWN`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiSnapshotInfo {
    /// The storage system's own id.
    pub snapshot_handle: String,
    /// The snapshot's size in bytes.
    pub size: i64,
    pub driver: String,
    /// Name of the VolumeSnapshotContent.
    pub vsc_name: String,
    #[serde(rename = "operationID", skip_serializing_if = "is_default")]
    pub operation_id: String,
    #[serde(rename = "ReadyToUse")]
    pub ready_to_use: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub volume_group_snapshot_handle: String,
}

/// What upstream writes into [`CsiSnapshotInfo`] of a moved volume.
pub const UNKNOWN: &str = "unknown";

/// A volume whose data was moved into the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotDataMovementInfo {
    /// `velero` where the DataUpload names none.
    pub data_mover: String,
    pub uploader_type: String,
    #[serde(skip_serializing_if = "is_default")]
    pub retained_snapshot: String,
    /// The repository's snapshot id.
    pub snapshot_handle: String,
    #[serde(rename = "operationID")]
    pub operation_id: String,
    /// Bytes of the volume.
    pub size: i64,
    /// Bytes that were new in this snapshot.
    #[serde(skip_serializing_if = "is_default")]
    pub incremental_size: i64,
    /// The DataUpload's or DataDownload's phase.
    #[serde(rename = "Phase")]
    pub phase: String,
}

/// A snapshot taken by a volume-snapshotter plug-in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NativeSnapshotInfo {
    pub snapshot_handle: String,
    pub volume_type: String,
    #[serde(rename = "volumeAZ")]
    pub volume_az: String,
    /// A number, as text.
    pub iops: String,
    #[serde(rename = "Phase")]
    pub phase: String,
}

/// A volume saved or restored through its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeInfo {
    #[serde(skip_serializing_if = "is_default")]
    pub snapshot_handle: String,
    #[serde(skip_serializing_if = "is_default")]
    pub size: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub incremental_size: i64,
    pub uploader_type: String,
    pub volume_name: String,
    pub pod_name: String,
    pub pod_namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    pub node_name: String,
    #[serde(rename = "Phase")]
    pub phase: String,
}

/// What a restored PersistentVolume gets back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PvInfo {
    pub reclaim_policy: String,
    /// `null` where it had none.
    #[serde(serialize_with = "empty_map_is_null", deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
}

fn empty_map_is_null<S: serde::Serializer>(
    map: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if map.is_empty() {
        serializer.serialize_none()
    } else {
        map.serialize(serializer)
    }
}
