//! Blobs in an S3 bucket, flat below a key prefix (kopia-format.md 1.3), over `object_store`.
//!
//! ```text
//! S3Config ── client.rs: amazon_s3 ──► object_store::aws::AmazonS3 ──► http.rs: every answer is looked at
//!                                                    │                    tls.rs: whom we trust
//! S3Storage (this file): the Storage trait ──────────┘   answer.rs: what an answer means, in words
//! ```
//!
//! `object_store` itself would take a missing bucket for a missing blob, and a page of HTML for an empty
//! listing; `http.rs` sees each answer first, so that neither can be mistaken for "does not exist" (guarantee 4).

mod answer;
mod client;
mod http;
mod tls;

#[cfg(any(test, feature = "test-server"))]
mod chunked;
#[cfg(any(test, feature = "test-server"))]
pub mod storage_server;
#[cfg(any(test, feature = "test-server"))]
pub mod test_server;
#[cfg(test)]
mod tests;

use std::{fmt, ops::Range, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use object_store::{
    ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions,
    aws::AmazonS3,
    list::{PaginatedListOptions, PaginatedListStore as _},
    path::Path,
};

pub use answer::Place;
pub use client::{DEFAULT_RETRIES, ROLE_VARIABLES, S3Config, S3Credentials, amazon_s3, is_loopback};
/// Whom S3 clients trust; for others that follow the addresses a location signs.
pub use tls::client_config as tls_client_config;

use crate::{
    BlobId, BlobMetadata, Operation, Storage, StorageError, StorageErrorKind,
    blob::{check_name, check_range},
};

/// How often a create is tried again when the store did not say whether it was done.
const CREATE_ATTEMPTS: u32 = 4;

/// Blobs of one prefix in one bucket.
#[derive(Clone)]
pub struct S3Storage {
    store: AmazonS3,
    place: Place,
    prefix: String,
}

impl S3Storage {
    /// Makes the client; nothing is sent. The prefix is used verbatim, so it normally ends with `/`.
    ///
    /// Errors: [`StorageErrorKind::Misconfigured`] for settings that cannot work (an unreadable CA, a bad
    /// address, a prefix that S3 keys cannot have).
    pub fn new(config: S3Config) -> Result<Self, StorageError> {
        check_prefix(&config.prefix)?;
        Ok(Self {
            store: amazon_s3(&config)?,
            place: Place::of(&config),
            prefix: config.prefix,
        })
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
            let page = self.store.list_paginated(Some(prefix), options).await;
            let page = page.map_err(|e| {
                self.place
                    .explain(Operation::List, &self.place.listing(prefix), &e)
            })?;
            found.extend(page.result.objects);
            token = page.page_token;
            if token.is_none() || max_keys.is_some() {
                return Ok(found);
            }
        }
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

impl fmt::Debug for S3Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Storage({}/{})", self.place, self.prefix)
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
impl Storage for S3Storage {
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
        // S3 cuts a range at the end of the object without saying so.
        check_range(id, &range, range.start + data.len() as u64)?;
        Ok(data)
    }

    async fn metadata(&self, id: &BlobId) -> Result<BlobMetadata, StorageError> {
        // A listing, not HEAD: its 404 has no body, so a missing bucket would look like a missing blob,
        // and its time has other digits than a listing's.
        let key = self.key(Operation::Metadata, id)?;
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

/// Creates the object with If-None-Match. When the answer is lost the object is read back: these very bytes
/// mean that it was this call that created it.
///
/// Errors: [`StorageErrorKind::AlreadyExists`]; [`StorageErrorKind::Unsupported`] where the store refuses
/// the condition.
pub async fn create(
    store: &AmazonS3,
    place: &Place,
    key: &Path,
    subject: &str,
    data: Bytes,
) -> Result<(), StorageError> {
    let mut answer_lost = false;
    let mut attempt = 1;
    loop {
        let options = PutOptions {
            mode: PutMode::Create,
            ..Default::default()
        };
        let Err(error) = store.put_opts(key, data.clone().into(), options).await else {
            return Ok(());
        };
        let error = place.explain(Operation::PutIfAbsent, subject, &error);
        match error.kind() {
            StorageErrorKind::AlreadyExists if !answer_lost => return Err(error),
            StorageErrorKind::AlreadyExists | StorageErrorKind::Unavailable => {}
            _ => return Err(error),
        }
        answer_lost = true;
        if let Ok(Some(held)) = read_back(store, place, key, subject).await {
            return if held == data {
                Ok(())
            } else {
                Err(StorageError::already_exists(&subject.into()))
            };
        }
        if attempt == CREATE_ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(200) * 4u32.pow(attempt - 1)).await;
        attempt += 1;
    }
}

async fn read_back(
    store: &AmazonS3,
    place: &Place,
    key: &Path,
    subject: &str,
) -> Result<Option<Bytes>, StorageError> {
    let read = async { store.get(key).await?.bytes().await };
    match read.await.map_err(|e| place.explain(Operation::Get, subject, &e)) {
        Ok(held) => Ok(Some(held)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}
