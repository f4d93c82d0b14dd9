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

pub(crate) mod answer;
#[cfg(test)]
pub(crate) mod answering;
pub(crate) mod http;
pub(crate) mod tls;

use std::{fmt, ops::Range, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use object_store::{
    BackoffConfig, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig,
    list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore},
    path::Path,
    signer::Signer,
};
use url::{Host, Url};

use answer::Dialect;
pub use answer::Place;

use crate::{
    BlobId, BlobMetadata, Operation, Storage, StorageError, StorageErrorKind,
    blob::{check_name, check_range},
};

/// How often a create is tried again when the store did not say whether it was done.
const CREATE_ATTEMPTS: u32 = 4;

/// Five tries in all, within a minute: a controller tries again by itself, and a status must not wait longer.
pub const DEFAULT_RETRIES: usize = 4;

/// What a client of `object_store` must be able to do.
pub trait BucketClient: ObjectStore + PaginatedListStore + Signer + Clone {}

impl<C: ObjectStore + PaginatedListStore + Signer + Clone> BucketClient for C {}

/// Blobs of one prefix in one bucket.
#[derive(Clone)]
pub struct BucketStorage<C> {
    store: C,
    place: Place,
    prefix: String,
}

impl<C: BucketClient> BucketStorage<C> {
    /// The blobs below `prefix`, which is used verbatim and so normally ends with `/`. Nothing is sent.
    ///
    /// Errors: [`StorageErrorKind::Misconfigured`] for a prefix that keys cannot have.
    pub(crate) fn below(prefix: String, place: Place, store: C) -> Result<Self, StorageError> {
        check_prefix(&prefix)?;
        Ok(Self { store, place, prefix })
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

/// One page of the keys (and, with a delimiter, of the folders) that start with `prefix`, raw letters.
///
/// Errors: those of the store; an incomplete page is one.
pub async fn page<C: BucketClient>(
    store: &C,
    place: &Place,
    prefix: &str,
    options: PaginatedListOptions,
) -> Result<PaginatedListResult, StorageError> {
    // `object_store` leaves a blob out of Azure's listing whose name is the prefix itself (`azure/client.rs`, 0.14.2,
    // `to_list_result`). So one letter less is asked for, and the rest left out here.
    let asked = match place.dialect {
        Dialect::Azure if !prefix.ends_with('/') => {
            let last = prefix.chars().next_back().map_or(0, char::len_utf8);
            &prefix[..prefix.len() - last]
        }
        _ => prefix,
    };
    let listed = store
        .list_paginated(Some(asked).filter(|asked| !asked.is_empty()), options)
        .await;
    let mut page = listed.map_err(|e| place.explain(Operation::List, &place.listing(prefix), &e))?;
    if asked != prefix {
        let listing = &mut page.result;
        listing
            .objects
            .retain(|object| object.location.as_ref().starts_with(prefix));
        listing
            .common_prefixes
            .retain(|folder| format!("{folder}/").starts_with(prefix));
    }
    page.page_token = page.page_token.filter(|token| !token.is_empty());
    Ok(page)
}

/// Whether there is an object of exactly this key.
///
/// Errors: those of the store; only its own word that the object is missing is `false`.
pub async fn exists<C: BucketClient>(
    store: &C,
    place: &Place,
    key: &Path,
    subject: &str,
) -> Result<bool, StorageError> {
    if place.dialect == Dialect::Azure {
        let found = store.head(key).await;
        return match found.map_err(|e| place.explain(Operation::Metadata, subject, &e)) {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        };
    }
    // A listing, since the 404 of HEAD does not tell a missing object from a missing bucket.
    let mut next = None;
    loop {
        let options = PaginatedListOptions {
            max_keys: Some(1),
            page_token: next,
            ..Default::default()
        };
        let page = page(store, place, key.as_ref(), options).await?;
        // A page may be empty and yet not the last.
        if page.page_token.is_none() || !page.result.objects.is_empty() {
            return Ok(page.result.objects.iter().any(|object| object.location == *key));
        }
        next = page.page_token;
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

/// Creates the object with the store's condition that there is none. When the answer is lost the object is read back: these very bytes
/// mean that it was this call that created it.
///
/// Errors: [`StorageErrorKind::AlreadyExists`]; [`StorageErrorKind::Unsupported`] where the store refuses
/// the condition.
pub async fn create<C: BucketClient>(
    store: &C,
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

async fn read_back<C: BucketClient>(
    store: &C,
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

/// The address of a store as the user gave it: http or https, a host, perhaps a path where `with_path`, nothing else.
/// `setting` is what the messages call it; the address itself may hold a password and is not repeated.
pub(crate) fn address(text: &str, setting: &str, with_path: bool) -> Result<Url, StorageError> {
    let failed =
        |cause: String| StorageError::new(StorageErrorKind::Misconfigured, Operation::Open, setting, cause);
    let url = Url::parse(text).map_err(|e| failed(format!("not an address: {e}")))?;
    let wrong = match url.scheme() {
        "http" | "https" if url.host_str().is_some() => None,
        _ => Some("it must start with http:// or https:// and name a host"),
    };
    let wrong = wrong.or_else(|| {
        let has_path = !matches!(url.path(), "" | "/") && !with_path;
        (has_path || url.query().is_some())
            .then_some("it must have no path after the host; put a folder in the location's prefix")
    });
    let wrong = wrong.or_else(|| {
        (!url.username().is_empty() || url.password().is_some())
            .then_some("it must hold no user name or password; put keys in the credentials secret")
    });
    match wrong {
        Some(cause) => Err(failed(cause.to_owned())),
        None => Ok(url),
    }
}

/// Whether an address is on this machine: no proxy is asked for it, as in Go (`net/http`, `ProxyFromEnvironment`) and so
/// in Velero.
pub fn is_loopback(address: &Url) -> bool {
    match address.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

/// How often and how long apart requests are tried again; [`DEFAULT_RETRIES`] where none is set.
pub(crate) fn retries(given: Option<usize>) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(5),
            base: 3.0,
        },
        max_retries: given.unwrap_or(DEFAULT_RETRIES),
        retry_timeout: Duration::from_secs(60),
    }
}
