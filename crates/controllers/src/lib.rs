//! Only one that writes `status.phase`: a folder per controller, each observe → decide → act.

pub mod attempts;
pub mod cancel;
pub mod context;
pub mod decoded;
pub mod lease;
pub mod reconcile;
pub mod snapshot_objects;

pub mod backup;
pub mod backup_finalizer;
pub mod backup_operations;
pub mod backup_queue;
pub mod backup_storage_location;
pub mod download_request;
pub mod server_status_request;

pub mod backup_repository;
pub mod data_download;
pub mod data_movement;
pub mod data_upload;
pub mod node_agent_configuration;
pub mod repository_password;

pub mod backup_deletion;
pub mod backup_sync;
pub mod gc;
pub mod schedule;

pub mod restore;
pub mod restore_finalizer;
pub mod restore_operations;

#[cfg(test)]
mod in_memory;
