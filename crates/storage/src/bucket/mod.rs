//! Blobs in a bucket of an object store, flat below a key prefix (kopia-format.md 1.3), over `object_store`: what S3,
//! Google Cloud Storage and Azure have in common. Each of them has its settings, its client and its words for a refusal in
//! a neighbour ([`crate::s3`], [`crate::gcs`], [`crate::azure`]).
//!
//! ```text
//! settings ── the neighbour's builder ──► object_store's client ──► http.rs: every answer is looked at
//!                                               │                    tls.rs: whom we trust
//! BucketStorage (this file): the Storage trait ─┘   answer.rs: what an answer means, in words
//! ```
//!
//! `object_store` itself would take a missing bucket for a missing blob, and a page of HTML for an empty
//! listing; `http.rs` sees each answer first, so that neither can be mistaken for "does not exist" (guarantee 4).

mod address;
pub(crate) mod answer;
#[cfg(test)]
pub(crate) mod answering;
mod create;
pub(crate) mod http;
mod listing;
pub(crate) mod locking;
pub(crate) mod tls;

use std::{fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt as _, RetryConfig,
    list::{PaginatedListOptions, PaginatedListStore},
    path::Path,
    signer::Signer,
};

pub use address::{DEFAULT_RETRIES, is_loopback};
pub(crate) use address::{address, retries};
use answer::Dialect;
pub use answer::Place;
pub use create::create;
pub use listing::{exists, page};
use locking::{Locking, Locks};

use crate::{
    BlobId, BlobMetadata, ObjectLock, Operation, Storage, StorageError, StorageErrorKind,
    blob::{check_name, check_range},
    storage::no_locks,
};

/// What a client of `object_store` must be able to do.
pub trait BucketClient: ObjectStore + PaginatedListStore + Signer + Clone {}

impl<C: ObjectStore + PaginatedListStore + Signer + Clone> BucketClient for C {}

/// Blobs of one prefix in one bucket.
#[derive(Clone)]
pub struct BucketStorage<C> {
    store: C,
    place: Place,
    prefix: String,
    /// None: this kind of store has no object lock, or we do not know it.
    locking: Option<Locking<C>>,
}

impl<C: BucketClient> BucketStorage<C> {
    /// The blobs below `prefix`, which is used verbatim and so normally ends with `/`. Nothing is sent.
    ///
    /// Errors: [`StorageErrorKind::Misconfigured`] for a prefix that keys cannot have.
    pub(crate) fn below(prefix: String, place: Place, store: C) -> Result<Self, StorageError> {
        check_prefix(&prefix)?;
        Ok(Self {
            store,
            place,
            prefix,
            locking: None,
        })
    }

    /// The same in a store that has object lock.
    pub(crate) fn with_locks(mut self, retry: RetryConfig, locks: Arc<dyn Locks<C>>) -> Self {
        self.locking = Some(Locking::new(retry, locks));
        self
    }

    fn locking(&self, operation: Operation, id: &BlobId) -> Result<&Locking<C>, StorageError> {
        self.locking.as_ref().ok_or_else(|| no_locks(operation, id))
    }

    /// Whether the store says that there is no such blob.
    async fn is_gone(&self, id: &BlobId) -> bool {
        let found = self.metadata(id).await;
        found.is_err_and(|error| error.is_not_found())
    }

    fn key(&self, operation: Operation, id: &BlobId) -> Result<Path, StorageError> {
        check_name(operation, id)?;
        key_path(operation, &format!("{}{id}", self.prefix))
    }

    fn explain(&self, operation: Operation, id: &BlobId, error: &object_store::Error) -> StorageError {
        self.place.explain(operation, id.as_str(), error)
    }

    /// One page after the other; the first error ends it.
    async fn pages(&self, prefix: &str, max_keys: Option<usize>) -> Result<Vec<ObjectMeta>, StorageError> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let options = PaginatedListOptions {
                page_token: token,
                delimiter: Some("/".into()),
                max_keys,
                ..Default::default()
            };
            let page = page(&self.store, &self.place, prefix, options).await?;
            found.extend(page.result.objects);
            token = page.page_token;
            // A page may be empty and yet not the last (Azure, between its partitions): it does not say "there is none".
            if token.is_none() || (max_keys.is_some() && !found.is_empty()) {
                return Ok(found);
            }
        }
    }

    /// Azure says by a header what is missing, and its listing has no exact first name (see [`page`]).
    async fn head(&self, key: &Path, id: &BlobId) -> Result<BlobMetadata, StorageError> {
        let object = self.store.head(key).await;
        let object = object.map_err(|e| self.explain(Operation::Metadata, id, &e))?;
        let described = self.describe(object)?;
        described.ok_or_else(|| StorageError::not_found(Operation::Metadata, id))
    }

    fn describe(&self, object: ObjectMeta) -> Result<Option<BlobMetadata>, StorageError> {
        let key = object.location.as_ref();
        // The prefix itself as an object ("folder" markers of web consoles) comes back without its slash.
        let Some(name) = key.strip_prefix(&self.prefix).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let nanoseconds = object.last_modified.timestamp_subsec_nanos();
        let timestamp = i32::try_from(nanoseconds)
            .ok()
            .and_then(|nanoseconds| Timestamp::new(object.last_modified.timestamp(), nanoseconds).ok());
        let timestamp = timestamp.ok_or_else(|| {
            let cause = "the store's listing has a time that cannot be";
            StorageError::new(StorageErrorKind::Damaged, Operation::List, name, cause)
        })?;
        Ok(Some(BlobMetadata {
            id: BlobId::from(name),
            length: object.size,
            timestamp,
        }))
    }
}

impl<C> fmt::Debug for BucketStorage<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketStorage({}/{})", self.place, self.prefix)
    }
}

/// Refuses prefixes whose keys `object_store` would change on the way: a changed key is another object.
fn check_prefix(prefix: &str) -> Result<(), StorageError> {
    let trimmed = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.is_empty() || key_path(Operation::Open, trimmed).is_ok() {
        return Ok(());
    }
    let cause = "not a usable key prefix: it must not start with '/', and hold no empty, '.' or '..' part";
    Err(StorageError::new(
        StorageErrorKind::Misconfigured,
        Operation::Open,
        format!("prefix {prefix:?}"),
        cause,
    ))
}

/// `key` as `object_store` addresses it, or an error where that would be another key.
pub fn key_path(operation: Operation, key: &str) -> Result<Path, StorageError> {
    match Path::parse(key) {
        Ok(path) if path.as_ref() == key && !key.is_empty() => Ok(path),
        _ => {
            let cause =
                "the key cannot be addressed: it has an empty, '.' or '..' part or a control character";
            Err(StorageError::new(
                StorageErrorKind::Misconfigured,
                operation,
                format!("{key:?}"),
                cause,
            ))
        }
    }
}

#[async_trait]
impl<C: BucketClient> Storage for BucketStorage<C> {
    async fn put(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        let key = self.key(Operation::Put, id)?;
        let put = self.store.put(&key, data.into()).await;
        put.map_err(|e| self.explain(Operation::Put, id, &e))?;
        Ok(())
    }

    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        let key = self.key(Operation::PutIfAbsent, id)?;
        create(&self.store, &self.place, &key, id.as_str(), data).await
    }

    fn has_locks(&self) -> bool {
        self.locking.is_some()
    }

    async fn put_locked(&self, id: &BlobId, data: Bytes, lock: &ObjectLock) -> Result<(), StorageError> {
        let key = self.key(Operation::Put, id)?;
        let client = self.locking(Operation::Put, id)?.client(&self.store, lock)?;
        let put = client.put(&key, data.into()).await;
        put.map_err(|e| self.explain(Operation::Put, id, &e))?;
        Ok(())
    }

    async fn put_locked_if_absent(
        &self,
        id: &BlobId,
        data: Bytes,
        lock: &ObjectLock,
    ) -> Result<(), StorageError> {
        let key = self.key(Operation::PutIfAbsent, id)?;
        let client = self
            .locking(Operation::PutIfAbsent, id)?
            .client(&self.store, lock)?;
        create(&client, &self.place, &key, id.as_str(), data).await
    }

    async fn extend_lock(&self, id: &BlobId, lock: &ObjectLock) -> Result<(), StorageError> {
        let key = self.key(Operation::ExtendLock, id)?;
        let explain = |error: &_| self.explain(Operation::ExtendLock, id, error);
        let locking = self.locking(Operation::ExtendLock, id)?;
        match locking.extend(&self.store, &key, lock, explain).await {
            // Of what was deleted where there are versions, S3 says 405 and not that it is gone.
            Err(error) if !error.is_transient() && self.is_gone(id).await => {
                Err(StorageError::not_found(Operation::ExtendLock, id).with_source(error))
            }
            ended => ended,
        }
    }

    async fn get(&self, id: &BlobId) -> Result<Bytes, StorageError> {
        let key = self.key(Operation::Get, id)?;
        let failed = |e| self.explain(Operation::Get, id, &e);
        let answer = self.store.get(&key).await.map_err(failed)?;
        let expected = answer.meta.size;
        let data = answer.bytes().await.map_err(failed)?;
        whole(Operation::Get, id, &data, expected)?;
        Ok(data)
    }

    async fn get_range(&self, id: &BlobId, range: Range<u64>) -> Result<Bytes, StorageError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let key = self.key(Operation::GetRange, id)?;
        let data = self.store.get_range(&key, range.clone()).await;
        let data = data.map_err(|e| self.explain(Operation::GetRange, id, &e))?;
        // A store cuts a range at the end of the object without saying so.
        check_range(id, &range, range.start + data.len() as u64)?;
        Ok(data)
    }

    async fn metadata(&self, id: &BlobId) -> Result<BlobMetadata, StorageError> {
        // A listing, not HEAD: its 404 has no body, so a missing bucket would look like a missing blob,
        // and its time has other digits than a listing's.
        let key = self.key(Operation::Metadata, id)?;
        if self.place.dialect == Dialect::Azure {
            return self.head(&key, id).await;
        }
        let found = self
            .pages(key.as_ref(), Some(1))
            .await
            .map_err(|e| e.during(Operation::Metadata, id))?;
        match found.into_iter().find(|object| object.location == key) {
            Some(object) => {
                let described = self.describe(object)?;
                described.ok_or_else(|| StorageError::not_found(Operation::Metadata, id))
            }
            None => Err(StorageError::not_found(Operation::Metadata, id)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobMetadata>, StorageError> {
        let objects = self.pages(&format!("{}{prefix}", self.prefix), None).await?;
        let mut blobs = Vec::with_capacity(objects.len());
        for object in objects {
            blobs.extend(self.describe(object)?);
        }
        blobs.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(blobs)
    }

    async fn delete(&self, id: &BlobId) -> Result<(), StorageError> {
        let key = self.key(Operation::Delete, id)?;
        match self
            .store
            .delete(&key)
            .await
            .map_err(|e| self.explain(Operation::Delete, id, &e))
        {
            Err(e) if e.is_not_found() => Ok(()),
            deleted => deleted,
        }
    }
}

fn whole(operation: Operation, id: &BlobId, data: &Bytes, expected: u64) -> Result<(), StorageError> {
    if data.len() as u64 == expected {
        return Ok(());
    }
    let cause = format!("{} bytes came, the store announced {expected}", data.len());
    Err(StorageError::new(
        StorageErrorKind::Damaged,
        operation,
        id.as_str(),
        cause,
    ))
}
