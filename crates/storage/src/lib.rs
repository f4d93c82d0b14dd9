//! Knows names and bytes, nothing else: blob storage for a repository.
//!
//! A repository sees its storage as a flat set of named blobs that are written whole, read whole or in
//! ranges, and listed by the first letters of their names together with the server's own timestamp
//! (kopia-format.md 1.3; decisions.md 1 says why this is not `object_store` itself).
//!
//! - [`Storage`]: the boundary; [`StorageError`] and its [`StorageErrorKind`]: what a caller may do next
//! - [`s3`], [`gcs`], [`azure`] (over [`bucket`]), [`filesystem`], [`memory`]: the stores; [`faulty`]: a wrapper that makes one misbehave
//! - [`conformance`]: the one suite that every store passes

pub mod azure;
mod blob;
pub mod bucket;
pub mod conformance;
mod error;
pub mod faulty;
pub mod filesystem;
pub mod gcs;
mod lock;
pub mod memory;
pub mod s3;
mod storage;

pub use blob::{BlobId, BlobMetadata};
pub use error::{Operation, StorageError, StorageErrorKind};
pub use lock::{LockMode, ObjectLock};
pub use storage::Storage;
