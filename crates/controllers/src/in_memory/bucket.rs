//! A bucket in memory: backups and repositories, with faults by rule, and one client that can be held anywhere.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use caravel_backup_store::{
    BackupStore, Body, Contents, Credentials, Location, LocationError, MemoryObjectStore, ObjectStore,
    PutMode, SignedUrl, Stores,
};
use caravel_storage::faulty::FaultyStorage;
use caravel_storage::memory::MemoryStorage;
use caravel_storage::{BlobId, BlobMetadata, Operation, Storage, StorageError, StorageErrorKind};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// A bucket; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bucket {
    /// Backups and restores.
    pub objects: MemoryObjectStore,
    /// By namespace of the volumes.
    repositories: Arc<Mutex<BTreeMap<String, FaultyStorage>>>,
    turn: Option<Arc<Turn>>,
}

impl Bucket {
    /// The same bucket for a client that waits for its turn before each call.
    pub fn in_turn(&self, turn: &Arc<Turn>) -> Self {
        Self {
            turn: Some(Arc::clone(turn)),
            ..self.clone()
        }
    }

    /// The blobs of a repository, also where faults are set.
    pub fn repository(&self, namespace: &str) -> FaultyStorage {
        let mut repositories = self.repositories.lock();
        repositories
            .entry(namespace.to_owned())
            .or_insert_with(|| FaultyStorage::new(Arc::new(MemoryStorage::new())))
            .clone()
    }

    /// How often a repository was opened: preparing lists all of it once.
    pub fn opened(&self, namespace: &str) -> usize {
        let calls = self.repository(namespace).calls();
        let opens = calls
            .iter()
            .filter(|(operation, subject)| *operation == Operation::List && subject.is_empty());
        opens.count()
    }

    /// The backups.
    pub fn backups(&self) -> BackupStore {
        BackupStore::new(Arc::new(self.objects.clone()), "")
    }
}

impl Stores for Bucket {
    fn object_store(
        &self,
        _: &Location,
        _: Option<&Credentials>,
    ) -> Result<Arc<dyn ObjectStore>, LocationError> {
        Ok(match &self.turn {
            None => Arc::new(self.objects.clone()),
            Some(turn) => Arc::new(InTurn {
                inner: self.objects.clone(),
                turn: Arc::clone(turn),
            }),
        })
    }

    fn repository_storage(
        &self,
        _: &Location,
        _: Option<&Credentials>,
        volume_namespace: &str,
    ) -> Result<Arc<dyn Storage>, LocationError> {
        let inner = self.repository(volume_namespace);
        Ok(match &self.turn {
            None => Arc::new(inner),
            Some(turn) => Arc::new(InTurn {
                inner,
                turn: Arc::clone(turn),
            }),
        })
    }
}

/// Lets so many calls of a client through, to a bucket or to the API server; then it is held until it goes on, or dead.
#[derive(Debug)]
pub(crate) struct Turn {
    left: AtomicUsize,
    dies: bool,
    waiting: Semaphore,
    open: Semaphore,
}

impl Turn {
    /// Holds its client before the call after `free` calls.
    pub fn after(free: usize) -> Arc<Self> {
        Self::new(free, false)
    }

    /// Every call after `free` calls fails, and does nothing: so the world looks after a process that was killed there.
    pub fn dying_after(free: usize) -> Arc<Self> {
        Self::new(free, true)
    }

    fn new(free: usize, dies: bool) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(free),
            dies,
            waiting: Semaphore::new(0),
            open: Semaphore::new(0),
        })
    }

    pub(super) async fn pass(&self, call: &str) -> Result<(), StorageError> {
        let free = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if free.is_ok() {
            return Ok(());
        }
        if self.dies {
            let (kind, operation) = (StorageErrorKind::Unavailable, Operation::Metadata);
            return Err(StorageError::new(kind, operation, call, "the client is dead"));
        }
        self.waiting.add_permits(1);
        self.open.acquire().await.expect("never closed").forget();
        self.open.add_permits(1);
        Ok(())
    }

    /// Waits until the client is held.
    pub async fn held(&self) {
        self.waiting.acquire().await.expect("never closed").forget();
    }

    /// Lets it go on to its end.
    pub fn go_on(&self) {
        self.open.add_permits(1);
    }
}

/// A client's way to a store.
#[derive(Clone, Debug)]
struct InTurn<T> {
    inner: T,
    turn: Arc<Turn>,
}

macro_rules! in_turn {
    ($trait:ident of $store:ty: $($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)+) => {
        #[async_trait]
        impl $trait for InTurn<$store> {
            $(async fn $name(&self, $($argument: $kind),*) -> Result<$result, StorageError> {
                self.turn.pass(stringify!($name)).await?;
                self.inner.$name($($argument),*).await
            })+
        }
    };
}

in_turn! {
    Storage of FaultyStorage:
    put(id: &BlobId, data: Bytes) -> ();
    put_if_absent(id: &BlobId, data: Bytes) -> ();
    get(id: &BlobId) -> Bytes;
    get_range(id: &BlobId, range: Range<u64>) -> Bytes;
    metadata(id: &BlobId) -> BlobMetadata;
    list(prefix: &str) -> Vec<BlobMetadata>;
    delete(id: &BlobId) -> ();
}

in_turn! {
    ObjectStore of MemoryObjectStore:
    put_object(key: &str, body: Body, mode: PutMode) -> ();
    object_exists(key: &str) -> bool;
    get_object(key: &str) -> Contents;
    list_common_prefixes(prefix: &str) -> Vec<String>;
    list_objects(prefix: &str) -> Vec<String>;
    delete_object(key: &str) -> ();
    create_signed_url(key: &str, ttl: Duration) -> SignedUrl;
}
