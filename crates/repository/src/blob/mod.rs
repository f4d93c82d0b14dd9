//! The synchronous engine's view of asynchronous storage. Only this folder waits for storage.
//! Neighbours: `upload.rs` (finished packs on their way), `pack_memory.rs` (their memory), `names.rs` (pack ids and
//! sessions), `kept.rs` (what may come from the disk cache).
//!
//! The engine runs on threads of its own; a call here blocks that thread until the storage answers. With
//! `cpu_threads: 0` nothing waits: the storage must answer at once, as the one in memory does.

mod kept;
pub mod names;
pub(crate) mod pack_memory;
pub mod upload;

use std::{future::Future, ops::Range, sync::Arc};

use bytes::Bytes;
use caravel_storage::{BlobId, BlobMetadata, ObjectLock, Operation, Storage, StorageError, StorageErrorKind};
use futures::FutureExt;
use jiff::Timestamp;
use tokio::runtime::Handle;

use crate::{
    cache::DiskCache,
    environment::Environment,
    error::{RepositoryError, Result},
    format::Retention,
};

/// How many blobs are deleted, or their locks extended, at the same time.
const CHANGED_TOGETHER: usize = 16;

/// Blocking access to one repository's blobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs {
    storage: Arc<dyn Storage>,
    waiting: Waiting,
    cache: Option<Arc<DiskCache>>,
    /// Whether what is read may come from the cache.
    believes_cache: bool,
    /// How what is put is locked.
    retention: Option<(Retention, Environment)>,
}

#[derive(Clone, Debug)]
enum Waiting {
    /// Futures run on this runtime while the engine's thread waits.
    Runtime(Handle),
    /// Futures are ready at once; simulation.
    Inline,
}

impl Blobs {
    /// Captures the runtime this is called on.
    pub fn new(storage: Arc<dyn Storage>, environment: &Environment) -> Self {
        let waiting = match environment.cpu_threads {
            0 => Waiting::Inline,
            _ => Waiting::Runtime(Handle::current()),
        };
        Self {
            storage,
            waiting,
            cache: None,
            believes_cache: false,
            retention: None,
        }
    }

    /// The same, with what is put under a repository's retention, if it has one.
    pub fn with_retention(mut self, retention: Option<&Retention>, environment: &Environment) -> Self {
        self.retention = retention.map(|retention| (retention.clone(), environment.clone()));
        self
    }

    /// Whether what is put can be locked as the retention wants.
    pub fn keeps_retention(&self) -> bool {
        self.retention.as_ref().is_none_or(|(retention, environment)| {
            self.storage.has_locks() && retention.lock(environment.clock.now()).is_some()
        })
    }

    /// The lock that a blob of this name is put under.
    ///
    /// Errors: the repository's retention has a mode that S3 does not know; nothing is put without a lock then.
    fn lock(&self, operation: Operation, id: &str) -> Result<Option<ObjectLock>, StorageError> {
        let Some((retention, environment)) = self.retention.as_ref().filter(|_| Retention::covers(id)) else {
            return Ok(None);
        };
        match retention.lock(environment.clock.now()) {
            Some(lock) => Ok(Some(lock)),
            None => Err(StorageError::new(
                StorageErrorKind::Unsupported,
                operation,
                id,
                format!("there is no object lock of mode {:?} in S3", retention.mode),
            )),
        }
    }

    /// The storage itself.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(crate) fn is_inline(&self) -> bool {
        matches!(self.waiting, Waiting::Inline)
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        match &self.waiting {
            Waiting::Runtime(handle) => handle.block_on(future),
            Waiting::Inline => future
                .now_or_never()
                .expect("cpu_threads is 0, so the storage must answer without waiting"),
        }
    }

    pub fn get(&self, id: &str) -> Result<Bytes> {
        self.wait(self.storage.get(&BlobId::from(id)))
            .map_err(|e| reading(id, e))
    }

    pub fn get_range(&self, id: &str, range: Range<u64>) -> Result<Bytes> {
        self.wait(self.storage.get_range(&BlobId::from(id), range))
            .map_err(|e| reading(id, e))
    }

    /// Reads several blobs, a few at a time; in the order asked for.
    pub fn get_all(&self, ids: &[&str]) -> Result<Vec<(String, Bytes)>> {
        const TOGETHER: usize = 8;
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(TOGETHER) {
            let names: Vec<BlobId> = some.iter().map(|id| BlobId::from(*id)).collect();
            let answers = self.wait(futures::future::join_all(
                names.iter().map(|id| self.storage.get(id)),
            ));
            for (id, answer) in some.iter().zip(answers) {
                found.push(((*id).to_owned(), answer.map_err(|e| reading(id, e))?));
            }
        }
        Ok(found)
    }

    /// Reads one range of each of several blobs, a few at a time; each answer by itself, in the order asked for.
    pub fn get_ranges(&self, wanted: &[(&str, Range<u64>)]) -> Vec<Result<Bytes>> {
        const TOGETHER: usize = 8;
        let mut found = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(TOGETHER) {
            let names: Vec<BlobId> = some.iter().map(|(id, _)| BlobId::from(*id)).collect();
            let reads = names
                .iter()
                .zip(some)
                .map(|(id, (_, range))| self.storage.get_range(id, range.clone()));
            let answers = self.wait(futures::future::join_all(reads));
            let explained = some
                .iter()
                .zip(answers)
                .map(|((id, _), answer)| answer.map_err(|e| reading(id, e)));
            found.extend(explained);
        }
        found
    }

    pub fn put(&self, id: &str, data: Bytes) -> Result<()> {
        let name = BlobId::from(id);
        let lock = self.lock(Operation::Put, id).map_err(|e| writing(id, e))?;
        let done = match lock {
            None => self.wait(self.storage.put(&name, data)),
            Some(lock) => self.wait(self.storage.put_locked(&name, data, &lock)),
        };
        self.changed(&[id]);
        done.map_err(|e| writing(id, e))
    }

    pub fn put_if_absent(&self, id: &str, data: Bytes) -> Result<(), StorageError> {
        let name = BlobId::from(id);
        let done = match self.lock(Operation::PutIfAbsent, id)? {
            None => self.wait(self.storage.put_if_absent(&name, data)),
            Some(lock) => self.wait(self.storage.put_locked_if_absent(&name, data, &lock)),
        };
        self.changed(&[id]);
        done
    }

    /// Asks the storage about several blobs at the same time; in their order.
    fn ask_all<Asked: Future>(&self, ids: &[String], ask: impl Fn(BlobId) -> Asked) -> Vec<Asked::Output> {
        let asked = ids.iter().map(|id| ask(BlobId::from(id.as_str())));
        self.wait(futures::future::join_all(asked))
    }

    /// Locks several blobs for the whole period from `now` on, a few at a time; how many were still there. Every blob is
    /// tried, whatever became of the others.
    pub fn extend_locks(&self, ids: &[String], now: Timestamp) -> Result<u64> {
        let Some(lock) = self
            .retention
            .as_ref()
            .and_then(|(retention, _)| retention.lock(now))
        else {
            return Ok(0);
        };
        let (mut extended, mut failed, mut first) = (0, 0_u64, None);
        for some in ids.chunks(CHANGED_TOGETHER) {
            let lock = &lock;
            let answers = self.ask_all(
                some,
                |id| async move { self.storage.extend_lock(&id, lock).await },
            );
            for (id, answer) in some.iter().zip(answers) {
                match answer {
                    Ok(()) => extended += 1,
                    Err(gone) if gone.is_not_found() => {}
                    Err(error) => {
                        failed += 1;
                        first.get_or_insert_with(|| writing(id, error));
                    }
                }
            }
        }
        match first {
            None => Ok(extended),
            Some(error) => Err(error.while_doing(format_args!(
                "the locks of {failed} blobs could not be extended, those of {extended} were"
            ))),
        }
    }

    pub fn list(&self, prefix: &str) -> Result<Vec<BlobMetadata>> {
        self.wait(self.storage.list(prefix))
            .map_err(|e| RepositoryError::storage_while("cannot list the repository's blobs", e))
    }

    /// Length and time of a blob.
    pub fn metadata(&self, id: &str) -> Result<BlobMetadata> {
        self.wait(self.storage.metadata(&BlobId::from(id)))
            .map_err(|e| reading(id, e))
    }

    /// Deletes several blobs, a few at a time; stops at the first that fails.
    pub fn delete_all(&self, ids: &[String]) -> Result<()> {
        for some in ids.chunks(CHANGED_TOGETHER) {
            let answers = self.ask_all(some, |id| async move { self.storage.delete(&id).await });
            self.changed(&some.iter().map(String::as_str).collect::<Vec<_>>());
            for (id, answer) in some.iter().zip(answers) {
                answer.map_err(|e| writing(id, e))?;
            }
        }
        Ok(())
    }

    pub fn delete(&self, id: &str) -> Result<()> {
        let done = self.wait(self.storage.delete(&BlobId::from(id)));
        self.changed(&[id]);
        done.map_err(|e| writing(id, e))
    }
}

fn reading(id: &str, error: StorageError) -> RepositoryError {
    RepositoryError::storage_while(&format!("cannot read blob {id} of the repository"), error)
}

fn writing(id: &str, error: StorageError) -> RepositoryError {
    RepositoryError::storage_while(&format!("cannot change blob {id} of the repository"), error)
}

/// Runs a piece of the engine away from the runtime's own threads (inline: right here).
pub(crate) async fn run<T: Send + 'static>(
    environment: &Environment,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match environment.run(work).await {
        Ok(done) => done,
        Err(abandoned) => match abandoned.into_panic() {
            Some(panic) => std::panic::resume_unwind(panic),
            None => panic!("the runtime shut down while the repository engine was working"),
        },
    }
}
