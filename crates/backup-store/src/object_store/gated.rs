//! A bucket that asks before each write: the server's Lease has no fencing of its own (docs/decisions/0007). A server that
//! its hypervisor stopped for a minute wakes up in the middle of an upload, and another one is at work by then.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use caravel_storage::{Operation, StorageError, StorageErrorKind};

use super::{Body, Contents, ObjectStore, PutMode, SignedUrl};

/// Who says whether this process may write.
#[async_trait]
pub trait WriteGate: fmt::Debug + Send + Sync + 'static {
    /// Asked before each put and delete.
    ///
    /// # Errors
    /// It may not, because of this.
    async fn may_write(&self) -> Result<(), String>;
}

/// A bucket whose writes a [`WriteGate`] may refuse, as [`StorageErrorKind::Unavailable`]. Reads need no asking.
#[derive(Debug)]
pub struct Gated {
    store: Arc<dyn ObjectStore>,
    gate: Arc<dyn WriteGate>,
}

impl Gated {
    /// `store` behind `gate`.
    pub fn new(store: Arc<dyn ObjectStore>, gate: Arc<dyn WriteGate>) -> Self {
        Self { store, gate }
    }

    async fn ask(&self, operation: Operation, key: &str) -> Result<(), StorageError> {
        let refused = |why| {
            let cause = format!("nothing is written: {why}");
            StorageError::new(StorageErrorKind::Unavailable, operation, key, cause)
        };
        self.gate.may_write().await.map_err(refused)
    }
}

#[async_trait]
impl ObjectStore for Gated {
    async fn put_object(&self, key: &str, body: Body, mode: PutMode) -> Result<(), StorageError> {
        self.ask(Operation::Put, key).await?;
        self.store.put_object(key, body, mode).await
    }

    async fn object_exists(&self, key: &str) -> Result<bool, StorageError> {
        self.store.object_exists(key).await
    }

    async fn get_object(&self, key: &str) -> Result<Contents, StorageError> {
        self.store.get_object(key).await
    }

    async fn list_common_prefixes(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.store.list_common_prefixes(prefix).await
    }

    async fn list_objects(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.store.list_objects(prefix).await
    }

    async fn delete_object(&self, key: &str) -> Result<(), StorageError> {
        self.ask(Operation::Delete, key).await?;
        self.store.delete_object(key).await
    }

    async fn create_signed_url(&self, key: &str, ttl: Duration) -> Result<SignedUrl, StorageError> {
        self.store.create_signed_url(key, ttl).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::MemoryObjectStore;

    #[derive(Debug, Default)]
    struct Lease(AtomicBool);

    #[async_trait]
    impl WriteGate for Lease {
        async fn may_write(&self) -> Result<(), String> {
            let is_lost = self.0.load(Ordering::Relaxed);
            (!is_lost)
                .then_some(())
                .ok_or_else(|| "velero-2 holds it".to_owned())
        }
    }

    #[tokio::test]
    async fn once_the_lease_is_lost_nothing_is_written_or_deleted_any_more() {
        let (inner, lease) = (Arc::new(MemoryObjectStore::default()), Arc::new(Lease::default()));
        let store = Gated::new(inner.clone(), lease.clone());
        let body = || Body::from(b"1".to_vec());
        store.put_object("a", body(), PutMode::Create).await.unwrap();
        lease.0.store(true, Ordering::Relaxed);
        let put = store.put_object("b", body(), PutMode::Create).await.unwrap_err();
        assert_eq!(put.kind(), StorageErrorKind::Unavailable);
        assert!(put.to_string().contains("velero-2 holds it"), "{put}");
        assert!(store.delete_object("a").await.is_err());
        assert_eq!(inner.list_objects("").await.unwrap(), ["a"]);
        assert!(store.object_exists("a").await.unwrap());
    }
}
