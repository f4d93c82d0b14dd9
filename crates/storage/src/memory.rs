//! A store in memory with an injectable clock: for tests, the sandbox and simulation (no I/O, no time of its
//! own, so that two runs of one seed are alike).

use std::{collections::BTreeMap, fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::{
    BlobId, BlobMetadata, ObjectLock, Operation, Storage, StorageError, StorageErrorKind,
    blob::{check_name, check_range},
};

/// Where the store's timestamps come from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Blobs in memory. Clones see the same blobs, as two clients of one bucket do.
#[derive(Clone)]
pub struct MemoryStorage {
    blobs: Arc<Mutex<BTreeMap<BlobId, Held>>>,
    clock: Clock,
    conditional: bool,
}

#[derive(Clone)]
struct Held {
    data: Bytes,
    timestamp: Timestamp,
    lock: Option<ObjectLock>,
}

impl MemoryStorage {
    /// An empty store on the system's clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(Timestamp::now))
    }

    /// An empty store whose timestamps come from `clock`.
    pub fn with_clock(clock: Clock) -> Self {
        Self {
            blobs: Arc::default(),
            clock,
            conditional: true,
        }
    }

    /// A store of its own that begins with what is in this one now.
    #[must_use]
    pub fn copy(&self, clock: Clock) -> Self {
        Self {
            blobs: Arc::new(Mutex::new(self.blobs.lock().clone())),
            clock,
            conditional: self.conditional,
        }
    }

    /// The same blobs seen through a server that refuses puts with a condition.
    #[must_use]
    pub fn without_conditional_put(mut self) -> Self {
        self.conditional = false;
        self
    }

    /// How many bytes all blobs hold together.
    pub fn total_bytes(&self) -> u64 {
        self.blobs
            .lock()
            .values()
            .map(|held| held.data.len() as u64)
            .sum()
    }

    fn hold(&self, data: Bytes) -> Held {
        Held {
            data,
            timestamp: (self.clock)(),
            lock: None,
        }
    }

    /// The lock of a blob's newest version; like a bucket with versions, this store lets go of locked blobs.
    pub fn lock_of(&self, id: &BlobId) -> Option<ObjectLock> {
        self.blobs.lock().get(id)?.lock
    }

    /// Notes a lock of a blob that is there.
    fn note(&self, operation: Operation, id: &BlobId, lock: &ObjectLock) -> Result<(), StorageError> {
        let mut blobs = self.blobs.lock();
        let held = blobs
            .get_mut(id)
            .ok_or_else(|| StorageError::not_found(operation, id))?;
        // As no store lets it, a lock never ends earlier than it did.
        let until = held.lock.map_or(lock.until, |held| held.until.max(lock.until));
        held.lock = Some(ObjectLock { until, ..*lock });
        Ok(())
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStorage({} blobs)", self.blobs.lock().len())
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn put(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        check_name(Operation::Put, id)?;
        let held = self.hold(data);
        self.blobs.lock().insert(id.clone(), held);
        Ok(())
    }

    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        check_name(Operation::PutIfAbsent, id)?;
        if !self.conditional {
            return Err(StorageError::new(
                StorageErrorKind::Unsupported,
                Operation::PutIfAbsent,
                id.as_str(),
                "this store refuses a put with If-None-Match",
            ));
        }
        let held = self.hold(data);
        let mut blobs = self.blobs.lock();
        if blobs.contains_key(id) {
            return Err(StorageError::already_exists(id));
        }
        blobs.insert(id.clone(), held);
        Ok(())
    }

    fn has_locks(&self) -> bool {
        true
    }

    async fn put_locked(&self, id: &BlobId, data: Bytes, lock: &ObjectLock) -> Result<(), StorageError> {
        self.put(id, data).await?;
        self.note(Operation::Put, id, lock)
    }

    async fn put_locked_if_absent(
        &self,
        id: &BlobId,
        data: Bytes,
        lock: &ObjectLock,
    ) -> Result<(), StorageError> {
        self.put_if_absent(id, data).await?;
        self.note(Operation::PutIfAbsent, id, lock)
    }

    async fn extend_lock(&self, id: &BlobId, lock: &ObjectLock) -> Result<(), StorageError> {
        self.note(Operation::ExtendLock, id, lock)
    }

    async fn get(&self, id: &BlobId) -> Result<Bytes, StorageError> {
        let blobs = self.blobs.lock();
        let held = blobs
            .get(id)
            .ok_or_else(|| StorageError::not_found(Operation::Get, id))?;
        Ok(held.data.clone())
    }

    async fn get_range(&self, id: &BlobId, range: Range<u64>) -> Result<Bytes, StorageError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let blobs = self.blobs.lock();
        let held = blobs
            .get(id)
            .ok_or_else(|| StorageError::not_found(Operation::GetRange, id))?;
        let length = held.data.len() as u64;
        check_range(id, &range, length)?;
        Ok(held.data.slice(range.start as usize..range.end as usize))
    }

    async fn metadata(&self, id: &BlobId) -> Result<BlobMetadata, StorageError> {
        let blobs = self.blobs.lock();
        let held = blobs
            .get(id)
            .ok_or_else(|| StorageError::not_found(Operation::Metadata, id))?;
        Ok(describe(id, held))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobMetadata>, StorageError> {
        let blobs = self.blobs.lock();
        let from = blobs.range(BlobId::from(prefix)..);
        let matching = from.take_while(|(id, _)| id.as_str().starts_with(prefix));
        Ok(matching.map(|(id, held)| describe(id, held)).collect())
    }

    async fn delete(&self, id: &BlobId) -> Result<(), StorageError> {
        self.blobs.lock().remove(id);
        Ok(())
    }
}

fn describe(id: &BlobId, held: &Held) -> BlobMetadata {
    BlobMetadata {
        id: id.clone(),
        length: held.data.len() as u64,
        timestamp: held.timestamp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_behaves_as_a_storage_must() {
        crate::conformance::verify(Arc::new(MemoryStorage::new())).await;
        crate::conformance::verify(Arc::new(MemoryStorage::new().without_conditional_put())).await;
    }

    #[tokio::test]
    async fn timestamps_come_from_the_given_clock() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let storage = MemoryStorage::with_clock(Arc::new(move || now));
        storage.put(&BlobId::from("p1"), Bytes::new()).await.unwrap();
        assert_eq!(
            storage.metadata(&BlobId::from("p1")).await.unwrap().timestamp,
            now
        );
    }
}
