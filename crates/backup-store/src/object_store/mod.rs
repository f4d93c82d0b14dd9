//! The calls of Velero's object-store plug-ins (velero-behaviour.md 12.1), so that a hosted plug-in can serve
//! them later: Init is making the value (with its bucket), the other seven are [`ObjectStore`]. Built in: S3,
//! Google Cloud Storage and Azure (`bucket.rs`) and, for tests and the sandbox, memory (`memory.rs`).

mod bucket;
mod gated;
mod memory;

use std::{fmt, path::PathBuf, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use caravel_storage::StorageError;
use futures::stream::BoxStream;

pub use bucket::{AzureObjectStore, BucketObjectStore, GcsObjectStore, S3ObjectStore};
pub use gated::{Gated, WriteGate};
pub use memory::MemoryObjectStore;

/// What is to be put.
#[derive(Clone, Debug)]
pub enum Body {
    /// These bytes.
    Bytes(Bytes),
    /// The content of this file, read in parts.
    File(PathBuf),
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// Whether an object that is there may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// It may.
    Replace,
    /// It may not: [`caravel_storage::StorageErrorKind::AlreadyExists`]. A store that cannot tell answers
    /// [`caravel_storage::StorageErrorKind::Unsupported`], as every plug-in does, since their protocol has no such word.
    Create,
}

/// An object's bytes, in parts.
pub type Contents = BoxStream<'static, Result<Bytes, StorageError>>;

/// A bucket. Only the store's own word that an object is missing is `NotFound` (guarantee 4).
#[async_trait]
pub trait ObjectStore: fmt::Debug + Send + Sync + 'static {
    /// PutObject: writes the whole object.
    async fn put_object(&self, key: &str, body: Body, mode: PutMode) -> Result<(), StorageError>;

    /// ObjectExists.
    async fn object_exists(&self, key: &str) -> Result<bool, StorageError>;

    /// GetObject: the object as it was when the first part was read; one that is replaced meanwhile is an error.
    async fn get_object(&self, key: &str) -> Result<Contents, StorageError>;

    /// ListCommonPrefixes: the "folders" directly below `prefix`, each with `prefix` in front and `/` at its end.
    /// Complete, or an error.
    async fn list_common_prefixes(&self, prefix: &str) -> Result<Vec<String>, StorageError>;

    /// ListObjects: all keys that start with `prefix`. Complete, or an error.
    async fn list_objects(&self, prefix: &str) -> Result<Vec<String>, StorageError>;

    /// DeleteObject; one that is missing is no error.
    async fn delete_object(&self, key: &str) -> Result<(), StorageError>;

    /// CreateSignedURL: an address that anyone may GET the object from for `ttl`.
    async fn create_signed_url(&self, key: &str, ttl: Duration) -> Result<SignedUrl, StorageError>;
}

/// An address that lets anyone read an object. `Display` shows it, for the one status it belongs in; `Debug`
/// does not (guarantee 8).
#[derive(Clone, PartialEq, Eq)]
pub struct SignedUrl(String);

impl SignedUrl {
    pub(crate) fn new(url: String) -> Self {
        Self(url)
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedUrl(hidden)")
    }
}
