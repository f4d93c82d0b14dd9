//! Only one that knows the bucket layout of a BackupStorageLocation.
//!
//! - [`Location`] and [`Credentials`]: from the BackupStorageLocation object to a client
//! - [`ObjectStore`]: the calls of Velero's object-store plug-ins, over S3, Google Cloud Storage or Azure, or in memory
//! - [`BackupStore`]: which object holds what, in which order they are written (guarantee 4)
//! - [`tarball`]: the backup's contents; [`volume_info`], [`item_operations`], [`results`]: the JSON beside it
//!
//! Source: velero-behaviour.md 2; upstream `pkg/persistence`, `internal/volume`, `pkg/itemoperation`, v1.18.

mod azure_credentials;
mod backup_store;
mod credentials;
#[cfg(test)]
mod golden;
pub mod item_operations;
mod layout;
mod location;
mod object_store;
pub mod results;
pub mod tarball;
#[cfg(test)]
mod velero_cases;
pub mod volume_info;
mod wire;

pub use backup_store::{
    BackupArtifacts, BackupStore, BackupStoreError, CsiSnapshotFiles, DownloadTarget, ResourceList,
    RestoreArtifacts, encode_metadata,
};
pub use caravel_storage::Storage;
pub use credentials::{Credentials, CredentialsError, Identity, ProcessCredentials};
pub use layout::Layout;
pub use location::{Location, LocationError, NetworkStores, Stores};
pub use object_store::{
    AzureObjectStore, Body, BucketObjectStore, Contents, Gated, GcsObjectStore, MemoryObjectStore,
    ObjectStore, PutMode, S3ObjectStore, SignedUrl, WriteGate,
};
