//! The boundary between a repository and the place that keeps its bytes (decisions.md 1). The stores are
//! the neighbours `s3.rs`, `filesystem.rs`, `memory.rs`; what every one of them must do is `conformance.rs`.

use std::{fmt::Debug, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{BlobId, BlobMetadata, ObjectLock, Operation, StorageError, StorageErrorKind};

/// A flat, strongly consistent set of blobs: what was put is at once got and listed, and a blob is there
/// whole or not at all.
///
/// Only a store's own word that a blob is missing becomes [`crate::StorageErrorKind::NotFound`]. A refusal,
/// a timeout or half a listing is an error of its own kind (guarantee 4), so that nobody initialises a
/// repository over one that could not be seen.
#[async_trait]
pub trait Storage: Debug + Send + Sync + 'static {
    /// Writes the whole blob, replacing one of the same name.
    async fn put(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError>;

    /// Writes the blob only if none of that name exists.
    ///
    /// Errors: [`crate::StorageErrorKind::AlreadyExists`] if one exists (and was not written by this very call,
    /// also when the answer to it was lost), [`crate::StorageErrorKind::Unsupported`] where the store cannot
    /// do it in one step: the caller then writes, lists again and compares.
    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError>;

    /// Whether this store can put under object lock.
    fn has_locks(&self) -> bool {
        false
    }

    /// Like [`Storage::put`], and this version of the blob cannot be deleted before the lock ends: a later put or delete
    /// only hides it.
    ///
    /// Errors: also [`crate::StorageErrorKind::Unsupported`] without [`Storage::has_locks`], and the store's refusal where
    /// the bucket was made without object lock.
    async fn put_locked(&self, id: &BlobId, data: Bytes, lock: &ObjectLock) -> Result<(), StorageError> {
        let _ = (data, lock);
        Err(no_locks(Operation::Put, id))
    }

    /// [`Storage::put_if_absent`] under a lock.
    async fn put_locked_if_absent(
        &self,
        id: &BlobId,
        data: Bytes,
        lock: &ObjectLock,
    ) -> Result<(), StorageError> {
        let _ = (data, lock);
        Err(no_locks(Operation::PutIfAbsent, id))
    }

    /// Gives a blob another lock, which must not end earlier than the one it has.
    async fn extend_lock(&self, id: &BlobId, lock: &ObjectLock) -> Result<(), StorageError> {
        let _ = lock;
        Err(no_locks(Operation::ExtendLock, id))
    }

    /// Reads the whole blob.
    async fn get(&self, id: &BlobId) -> Result<Bytes, StorageError>;

    /// Reads the bytes `range.start..range.end` of the blob; a range that reaches past its end is an error of
    /// kind [`crate::StorageErrorKind::Damaged`], and an empty range is empty without asking.
    async fn get_range(&self, id: &BlobId, range: Range<u64>) -> Result<Bytes, StorageError>;

    /// Says how long the blob is and when the store wrote it.
    async fn metadata(&self, id: &BlobId) -> Result<BlobMetadata, StorageError>;

    /// Lists every blob whose name starts with `prefix` (raw letters such as `xn0_`; empty for all), sorted by
    /// name. The list is complete, or this fails: never a part of it.
    async fn list(&self, prefix: &str) -> Result<Vec<BlobMetadata>, StorageError>;

    /// Deletes the blob; one that is missing is no error.
    async fn delete(&self, id: &BlobId) -> Result<(), StorageError>;
}

/// What a store without object lock answers.
pub(crate) fn no_locks(operation: Operation, id: &BlobId) -> StorageError {
    let cause = "object lock is known of S3 only, not of this kind of storage";
    StorageError::new(StorageErrorKind::Unsupported, operation, id.as_str(), cause)
}
