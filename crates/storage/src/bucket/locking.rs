//! Putting under object lock, where a store has it. `object_store` has no setting for one put, but signs the headers that a
//! client has for all of its requests: so there is a client per lock, made anew (which sends nothing) when the
//! lock's end moves on, with every second.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use object_store::{RetryConfig, path::Path};
use parking_lot::Mutex;

use crate::{ObjectLock, StorageError};

/// What a kind of store does about locks.
#[async_trait]
pub(crate) trait Locks<C>: Send + Sync {
    /// A client all of whose puts are locked so, with the key and the connections of `store`.
    fn client(&self, store: &C, lock: &ObjectLock) -> Result<C, StorageError>;

    /// Moves the end of an object's lock.
    async fn extend(&self, store: &C, key: &Path, lock: &ObjectLock) -> object_store::Result<()>;
}

/// The locks of one bucket, and the client that was used last.
pub(crate) struct Locking<C> {
    locks: Arc<dyn Locks<C>>,
    retry: RetryConfig,
    held: Arc<Mutex<Option<(ObjectLock, C)>>>,
}

impl<C: Clone> Locking<C> {
    /// `retry`: how often and how long apart an extension is tried again, which is not a call of `object_store`.
    pub fn new(retry: RetryConfig, locks: Arc<dyn Locks<C>>) -> Self {
        Self {
            locks,
            retry,
            held: Arc::default(),
        }
    }

    /// The client for a lock.
    pub fn client(&self, store: &C, lock: &ObjectLock) -> Result<C, StorageError> {
        let lock = lock.in_seconds();
        let mut held = self.held.lock();
        if let Some((_, client)) = held.as_ref().filter(|(held, _)| *held == lock) {
            return Ok(client.clone());
        }
        let client = self.locks.client(store, &lock)?;
        *held = Some((lock, client.clone()));
        Ok(client)
    }

    /// Moves the end of an object's lock; `explain` says what an error means.
    pub async fn extend(
        &self,
        store: &C,
        key: &Path,
        lock: &ObjectLock,
        explain: impl Fn(&object_store::Error) -> StorageError,
    ) -> Result<(), StorageError> {
        let lock = lock.in_seconds();
        let backoff = &self.retry.backoff;
        let mut pause = backoff.init_backoff;
        for _ in 0..self.retry.max_retries {
            match self
                .locks
                .extend(store, key, &lock)
                .await
                .map_err(|e| explain(&e))
            {
                Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
                ended => return ended,
            }
            pause = pause.mul_f64(backoff.base).min(backoff.max_backoff);
        }
        self.locks
            .extend(store, key, &lock)
            .await
            .map_err(|e| explain(&e))
    }
}

impl<C> Clone for Locking<C> {
    fn clone(&self) -> Self {
        Self {
            locks: self.locks.clone(),
            retry: self.retry.clone(),
            held: self.held.clone(),
        }
    }
}

impl<C> fmt::Debug for Locking<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Locking")
    }
}
