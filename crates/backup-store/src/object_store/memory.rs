//! The twin of `s3.rs` in memory. Its signed URLs are `memory:///<key>?…` and lead nowhere.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use caravel_storage::{Operation, StorageError, StorageErrorKind};
use futures::StreamExt as _;
use parking_lot::Mutex;

use super::{Body, Contents, ObjectStore, PutMode, SignedUrl};

/// A bucket in memory; clones see the same objects.
#[derive(Clone, Debug, Default)]
pub struct MemoryObjectStore {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    refuses_condition: bool,
    failures: Arc<Mutex<Vec<Failure>>>,
}

#[derive(Debug)]
struct Failure {
    operation: Operation,
    key_end: String,
    kind: StorageErrorKind,
    /// An object that somebody else has put by then.
    meanwhile: Option<(String, Bytes)>,
}

impl MemoryObjectStore {
    /// An empty bucket.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same bucket behind a server that refuses If-None-Match.
    #[must_use]
    pub fn without_conditional_put(mut self) -> Self {
        self.refuses_condition = true;
        self
    }

    /// From now on this operation on keys with this end fails with `kind`.
    pub fn fail(&self, operation: Operation, key_end: &str, kind: StorageErrorKind) {
        self.failures.lock().push(Failure {
            operation,
            key_end: key_end.to_owned(),
            kind,
            meanwhile: None,
        });
    }

    /// As [`Self::fail`], and somebody else has put an object by then.
    pub fn fail_behind(
        &self,
        operation: Operation,
        key_end: &str,
        kind: StorageErrorKind,
        (key, data): (&str, impl Into<Bytes>),
    ) {
        self.failures.lock().push(Failure {
            operation,
            key_end: key_end.to_owned(),
            kind,
            meanwhile: Some((key.to_owned(), data.into())),
        });
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.failures.lock().clear();
    }

    /// All keys.
    pub fn keys(&self) -> Vec<String> {
        self.objects.lock().keys().cloned().collect()
    }

    /// An object's bytes.
    pub fn object(&self, key: &str) -> Option<Bytes> {
        self.objects.lock().get(key).cloned()
    }

    /// Puts an object as somebody else would.
    pub fn insert(&self, key: &str, data: impl Into<Bytes>) {
        self.objects.lock().insert(key.to_owned(), data.into());
    }

    fn check(&self, operation: Operation, key: &str) -> Result<(), StorageError> {
        let failures = self.failures.lock();
        let failure = failures
            .iter()
            .find(|failure| failure.operation == operation && key.ends_with(&failure.key_end));
        let Some(failure) = failure else { return Ok(()) };
        if let Some((key, data)) = &failure.meanwhile {
            self.insert(key, data.clone());
        }
        let cause = "made to fail by a test";
        Err(StorageError::new(failure.kind, operation, key, cause))
    }
}

#[async_trait]
impl ObjectStore for MemoryObjectStore {
    async fn put_object(&self, key: &str, body: Body, mode: PutMode) -> Result<(), StorageError> {
        let operation = if mode == PutMode::Create {
            Operation::PutIfAbsent
        } else {
            Operation::Put
        };
        self.check(operation, key)?;
        let data = match body {
            Body::Bytes(data) => data,
            Body::File(path) => tokio::fs::read(&path).await.map(Bytes::from).map_err(|e| {
                let cause = format!("cannot read {}: {e}", path.display());
                StorageError::new(StorageErrorKind::Misconfigured, operation, key, cause)
            })?,
        };
        if mode == PutMode::Create && self.refuses_condition {
            let cause = "this store refuses a put with If-None-Match";
            return Err(StorageError::new(
                StorageErrorKind::Unsupported,
                operation,
                key,
                cause,
            ));
        }
        let mut objects = self.objects.lock();
        if mode == PutMode::Create && objects.contains_key(key) {
            return Err(StorageError::already_exists(&key.into()));
        }
        objects.insert(key.to_owned(), data);
        Ok(())
    }

    async fn object_exists(&self, key: &str) -> Result<bool, StorageError> {
        self.check(Operation::Metadata, key)?;
        Ok(self.objects.lock().contains_key(key))
    }

    async fn get_object(&self, key: &str) -> Result<Contents, StorageError> {
        self.check(Operation::Get, key)?;
        let found = self
            .object(key)
            .ok_or_else(|| StorageError::not_found(Operation::Get, &key.into()))?;
        Ok(futures::stream::iter([Ok(found)]).boxed())
    }

    async fn list_common_prefixes(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.check(Operation::List, prefix)?;
        let objects = self.objects.lock();
        let below = objects
            .keys()
            .filter_map(|key| key.strip_prefix(prefix)?.split_once('/'));
        let mut found: Vec<_> = below.map(|(folder, _)| format!("{prefix}{folder}/")).collect();
        found.dedup();
        Ok(found)
    }

    async fn list_objects(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.check(Operation::List, prefix)?;
        Ok(self
            .objects
            .lock()
            .keys()
            .filter(|key| key.starts_with(prefix))
            .cloned()
            .collect())
    }

    async fn delete_object(&self, key: &str) -> Result<(), StorageError> {
        self.check(Operation::Delete, key)?;
        self.objects.lock().remove(key);
        Ok(())
    }

    async fn create_signed_url(&self, key: &str, ttl: Duration) -> Result<SignedUrl, StorageError> {
        Ok(SignedUrl::new(format!(
            "memory:///{key}?expires={}&signature=none",
            ttl.as_secs()
        )))
    }
}
