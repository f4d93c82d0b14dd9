//! `velero.io/v1`: a file per kind, named as in the docs.

mod backup;
mod backup_repository;
mod backup_storage_location;
mod delete_backup_request;
mod download_request;
mod pod_volume_backup;
mod pod_volume_restore;
mod restore;
mod schedule;
mod server_status_request;
mod volume_snapshot_location;

pub use crate::phase::{
    BackupPhase, BackupRepositoryMaintenanceResult, BackupRepositoryPhase, BackupStorageLocationAccessMode,
    BackupStorageLocationPhase, DataMovementPhase, DeleteBackupRequestPhase, DownloadRequestPhase,
    DownloadTargetKind, HookErrorMode, RestorePhase, SchedulePhase, ServerStatusRequestPhase, UploaderType,
    VolumeSnapshotLocationPhase,
};
pub use crate::phase::{
    DataMovementPhase as PodVolumeBackupPhase, DataMovementPhase as PodVolumeRestorePhase,
};
pub use crate::progress::DataMoveOperationProgress;
pub use backup::*;
pub use backup_repository::*;
pub use backup_storage_location::*;
pub use delete_backup_request::*;
pub use download_request::*;
pub use pod_volume_backup::*;
pub use pod_volume_restore::*;
pub use restore::*;
pub use schedule::*;
pub use server_status_request::*;
pub use volume_snapshot_location::*;
