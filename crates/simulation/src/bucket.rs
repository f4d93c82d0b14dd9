//! The object store of a simulation: in memory, with answers that take their time and go wrong.
//!
//! Every write is a step. A call may have to wait before it is done and again before its answer comes, so that a process
//! can be killed on either side of the write.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use caravel_backup_store::{
    BackupStore, Body, Contents, Credentials, Location, LocationError, MemoryObjectStore, ObjectStore,
    PutMode, SignedUrl, Stores,
};
use caravel_storage::memory::MemoryStorage;
use caravel_storage::{BlobId, BlobMetadata, Operation, Storage, StorageError, StorageErrorKind};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::coroutine;
use crate::trace::Trace;

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketFault {
    /// 503 after all of the client's own tries; nothing was done.
    Unavailable,
    /// It was done, but the answer was lost.
    LostAnswer,
    /// It takes half a minute.
    Slow,
    /// 403, as of a key that somebody has changed; nothing was done.
    Denied,
    /// Its disk is full: a write was not done. What is read or deleted goes on.
    Full,
}

/// The store; clones are the same.
#[derive(Clone)]
pub struct Bucket(Arc<Shared>);

struct Shared {
    trace: Arc<Trace>,
    objects: MemoryObjectStore,
    /// By prefix.
    repositories: Mutex<BTreeMap<String, MemoryStorage>>,
    luck: Mutex<Luck>,
}

struct Luck {
    rng: StdRng,
    /// What goes wrong with this many of the next calls.
    fault: Option<(BucketFault, u32)>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bucket")
    }
}

impl Bucket {
    /// An empty one.
    pub fn new(trace: Arc<Trace>, seed: u64) -> Self {
        Self(Arc::new(Shared {
            trace,
            objects: MemoryObjectStore::new(),
            repositories: Mutex::default(),
            luck: Mutex::new(Luck {
                rng: StdRng::seed_from_u64(seed),
                fault: None,
            }),
        }))
    }

    /// This goes wrong with so many of the next calls.
    pub fn fail(&self, fault: BucketFault, calls: u32) {
        self.0.luck.lock().fault = Some((fault, calls));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.0.luck.lock().fault = None;
    }

    /// What is below no prefix, read without being a step or meeting a fault.
    pub fn backups(&self) -> BackupStore {
        BackupStore::new(Arc::new(self.0.objects.clone()), "")
    }

    /// Somebody's object in a repository's folder (`kopia/shop/`), put there without being a step.
    ///
    /// # Errors
    /// None: memory takes everything.
    pub async fn put_stranger(&self, prefix: &str, name: &str) -> Result<(), StorageError> {
        let blobs = self.blobs(prefix);
        blobs.put(&name.into(), Bytes::from_static(b"somebody's")).await
    }

    /// Names of all that is in a repository's folder.
    ///
    /// # Errors
    /// None: memory tells everything.
    pub async fn names_in(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let blobs = self.blobs(prefix).list("").await?;
        Ok(blobs.iter().map(|blob| blob.id.as_str().to_owned()).collect())
    }

    fn blobs(&self, prefix: &str) -> MemoryStorage {
        let mut repositories = self.0.repositories.lock();
        repositories.entry(prefix.to_owned()).or_default().clone()
    }

    fn fault(&self) -> Option<BucketFault> {
        let mut luck = self.0.luck.lock();
        let (fault, left) = luck.fault?;
        luck.fault = left
            .checked_sub(1)
            .filter(|left| *left > 0)
            .map(|left| (fault, left));
        Some(fault)
    }

    /// How long a call waits: most not at all.
    fn latency(&self) -> Option<Duration> {
        let mut luck = self.0.luck.lock();
        luck.rng
            .random_bool(0.3)
            .then(|| Duration::from_millis(luck.rng.random_range(0..60)))
    }

    /// Does a call as this store does calls.
    async fn call<T>(
        &self,
        operation: Operation,
        name: &str,
        work: impl Future<Output = Result<T, StorageError>> + Send,
    ) -> Result<T, StorageError> {
        let failed = |kind, cause: &'static str| StorageError::new(kind, operation, name, cause);
        let unavailable = |cause| failed(StorageErrorKind::Unavailable, cause);
        let killed = |_| unavailable("the process that asked was killed");
        let is_write = matches!(
            operation,
            Operation::Put | Operation::PutIfAbsent | Operation::Delete
        );
        if let Some(time) = self.latency() {
            wait(time).await.map_err(killed)?;
        }
        let fault = self.fault();
        if let Some(fault) = fault {
            self.0
                .trace
                .fault(&format!("storage {operation:?} {name}: {fault:?}"));
        }
        match fault {
            Some(BucketFault::Unavailable) => return Err(unavailable("the simulated store refuses")),
            Some(BucketFault::Denied) => {
                return Err(failed(
                    StorageErrorKind::Denied,
                    "the simulated store knows no such key",
                ));
            }
            Some(BucketFault::Full) if is_write && operation != Operation::Delete => {
                return Err(failed(StorageErrorKind::NoSpace, "the simulated store is full"));
            }
            Some(BucketFault::Slow) => wait(Duration::from_secs(30)).await.map_err(killed)?,
            _ => {}
        }
        if is_write {
            self.0.trace.step(&format!("storage {operation:?} {name}"));
        }
        let answer = work.await;
        if fault == Some(BucketFault::LostAnswer) {
            return Err(unavailable("the simulated store's answer was lost"));
        }
        if is_write && let Some(time) = self.latency() {
            wait(time).await.map_err(killed)?;
        }
        answer
    }
}

/// Where the caller is the simulation's thread, as a task; in a coroutine by letting the others run.
async fn wait(time: Duration) -> Result<(), coroutine::Killed> {
    if let Some(paused) = coroutine::pause(time) {
        return paused;
    }
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(time).await;
    }
    Ok(())
}

impl Stores for Bucket {
    fn object_store(
        &self,
        _: &Location,
        _: Option<&Credentials>,
    ) -> Result<Arc<dyn ObjectStore>, LocationError> {
        Ok(Arc::new(self.clone()))
    }

    fn repository_storage(
        &self,
        location: &Location,
        _: Option<&Credentials>,
        volume_namespace: &str,
    ) -> Result<Arc<dyn Storage>, LocationError> {
        let prefix = location.repository_prefix(volume_namespace);
        let inner = self.blobs(&prefix);
        Ok(Arc::new(Blobs {
            bucket: self.clone(),
            prefix,
            inner,
        }))
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_object(&self, key: &str, body: Body, mode: PutMode) -> Result<(), StorageError> {
        let operation = match mode {
            PutMode::Replace => Operation::Put,
            PutMode::Create => Operation::PutIfAbsent,
        };
        let body = match body {
            Body::Bytes(bytes) => Body::Bytes(bytes),
            Body::File(path) => Body::Bytes(std::fs::read(&path).map(Bytes::from).map_err(|error| {
                let cause = format!("cannot read {}: {error}", path.display());
                StorageError::new(StorageErrorKind::Misconfigured, operation, key, cause)
            })?),
        };
        self.call(operation, key, self.0.objects.put_object(key, body, mode))
            .await
    }

    async fn object_exists(&self, key: &str) -> Result<bool, StorageError> {
        self.call(Operation::Metadata, key, self.0.objects.object_exists(key))
            .await
    }

    async fn get_object(&self, key: &str) -> Result<Contents, StorageError> {
        self.call(Operation::Get, key, self.0.objects.get_object(key))
            .await
    }

    async fn list_common_prefixes(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.call(
            Operation::List,
            prefix,
            self.0.objects.list_common_prefixes(prefix),
        )
        .await
    }

    async fn list_objects(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.call(Operation::List, prefix, self.0.objects.list_objects(prefix))
            .await
    }

    async fn delete_object(&self, key: &str) -> Result<(), StorageError> {
        self.call(Operation::Delete, key, self.0.objects.delete_object(key))
            .await
    }

    async fn create_signed_url(&self, key: &str, ttl: Duration) -> Result<SignedUrl, StorageError> {
        self.0.objects.create_signed_url(key, ttl).await
    }
}

/// One repository's blobs.
#[derive(Clone)]
struct Blobs {
    bucket: Bucket,
    prefix: String,
    inner: MemoryStorage,
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blobs({})", self.prefix)
    }
}

impl Blobs {
    async fn call<T>(
        &self,
        operation: Operation,
        name: &str,
        work: impl Future<Output = Result<T, StorageError>> + Send,
    ) -> Result<T, StorageError> {
        let name = format!("{}{name}", self.prefix);
        self.bucket.call(operation, &name, work).await
    }
}

#[async_trait]
impl Storage for Blobs {
    async fn put(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.call(Operation::Put, id.as_str(), self.inner.put(id, data))
            .await
    }

    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.call(
            Operation::PutIfAbsent,
            id.as_str(),
            self.inner.put_if_absent(id, data),
        )
        .await
    }

    async fn get(&self, id: &BlobId) -> Result<Bytes, StorageError> {
        self.call(Operation::Get, id.as_str(), self.inner.get(id)).await
    }

    async fn get_range(&self, id: &BlobId, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.call(Operation::GetRange, id.as_str(), self.inner.get_range(id, range))
            .await
    }

    async fn metadata(&self, id: &BlobId) -> Result<BlobMetadata, StorageError> {
        self.call(Operation::Metadata, id.as_str(), self.inner.metadata(id))
            .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobMetadata>, StorageError> {
        self.call(Operation::List, prefix, self.inner.list(prefix)).await
    }

    async fn delete(&self, id: &BlobId) -> Result<(), StorageError> {
        self.call(Operation::Delete, id.as_str(), self.inner.delete(id))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_is_an_error_of_a_write_that_was_done() {
        let trace = Arc::new(Trace::new());
        let bucket = Bucket::new(trace.clone(), 1);
        bucket.fail(BucketFault::LostAnswer, 1);
        let put = || bucket.put_object("a", Body::from(vec![1]), PutMode::Create);
        assert!(put().await.is_err());
        assert!(bucket.object_exists("a").await.unwrap());
        assert_eq!(put().await.unwrap_err().kind(), StorageErrorKind::AlreadyExists);
        // The fault and both writes.
        assert_eq!((trace.steps(), trace.faults()), (3, 1));
    }
}
