//! Only one that writes `status.phase`: a folder per controller, each observe → decide → act.

pub mod context;
pub mod reconcile;

#[cfg(feature = "backup")]
pub mod backup;
#[cfg(feature = "backup")]
pub mod backup_finalizer;
#[cfg(feature = "backup")]
pub mod backup_operations;
#[cfg(feature = "backup")]
pub mod backup_queue;
#[cfg(feature = "backup")]
pub mod backup_storage_location;
#[cfg(feature = "backup")]
pub mod download_request;

#[cfg(feature = "data-movement")]
pub mod backup_repository;
#[cfg(feature = "data-movement")]
pub mod data_download;
#[cfg(feature = "data-movement")]
pub mod data_movement;
#[cfg(feature = "data-movement")]
pub mod data_upload;

#[cfg(feature = "restore")]
pub mod restore;
#[cfg(feature = "restore")]
pub mod restore_finalizer;
#[cfg(feature = "restore")]
pub mod restore_operations;
