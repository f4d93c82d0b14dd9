//! A writer that dies between any two writes to storage leaves a repository that opens, verifies, and can be
//! written on (kopia-format.md 7.10).
#![allow(clippy::unwrap_used)]

mod kopia_cli;
mod simulated;

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use caravel_repository::*;
use caravel_storage::{
    BlobId, BlobMetadata, Operation, Storage, StorageError, StorageErrorKind, filesystem::FilesystemStorage,
    memory::MemoryStorage,
};
use simulated::*;

/// Does so many writes, then no more; the last one's answer may be lost although it was done.
#[derive(Debug)]
struct Dying {
    inner: Arc<dyn Storage>,
    writes_left: AtomicI64,
    loses_last_answer: bool,
}

impl Dying {
    fn after(inner: Arc<dyn Storage>, writes: i64, loses_last_answer: bool) -> Arc<Self> {
        Arc::new(Self {
            inner,
            writes_left: AtomicI64::new(writes),
            loses_last_answer,
        })
    }

    async fn write<T>(
        &self,
        id: &BlobId,
        done: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let dead = || {
            Err(StorageError::new(
                StorageErrorKind::Unavailable,
                Operation::Put,
                id.as_str(),
                "died",
            ))
        };
        match self.writes_left.fetch_sub(1, Ordering::Relaxed) {
            ..=0 => dead(),
            1 if self.loses_last_answer => {
                done.await?;
                dead()
            }
            _ => done.await,
        }
    }
}

#[async_trait]
impl Storage for Dying {
    async fn put(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.write(id, self.inner.put(id, data)).await
    }
    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.write(id, self.inner.put_if_absent(id, data)).await
    }
    async fn delete(&self, id: &BlobId) -> Result<(), StorageError> {
        self.write(id, self.inner.delete(id)).await
    }
    async fn get(&self, id: &BlobId) -> Result<Bytes, StorageError> {
        self.inner.get(id).await
    }
    async fn get_range(&self, id: &BlobId, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.inner.get_range(id, range).await
    }
    async fn metadata(&self, id: &BlobId) -> Result<BlobMetadata, StorageError> {
        self.inner.metadata(id).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<BlobMetadata>, StorageError> {
        self.inner.list(prefix).await
    }
}

/// More writes than the scenario needs, found by running until it succeeds.
const MANY: i64 = 100;

#[test]
fn upload_that_dies_after_any_write_leaves_a_whole_repository() {
    for loses_last_answer in [false, true] {
        for writes in 0..MANY {
            let (world, memory) = (World::new(1), Arc::new(MemoryStorage::new()));
            world.create(memory.clone()).unwrap();
            save_file(&world.open(memory.clone()).unwrap(), "first", &noise(100_000, 1)).unwrap();
            let dying = Dying::after(memory.clone(), writes, loses_last_answer);
            let died = save_file(&world.open(dying).unwrap(), "second", &noise(25 << 20, 2)).is_err();

            let repository = world.open(memory.clone()).unwrap();
            let found = check_whole(&repository);
            assert!(
                (1..=2).contains(&found),
                "after {writes} writes: {found} snapshots"
            );
            save_file(&repository, "third", &noise(25 << 20, 2)).unwrap();
            assert_eq!(check_whole(&world.open(memory).unwrap()), found + 1);
            if !died {
                assert!(writes > 3, "the scenario writes nothing?");
                break;
            }
            assert!(writes + 1 < MANY, "the scenario never ends");
        }
    }
}

#[test]
fn creation_that_dies_after_any_write_is_no_repository_or_a_good_one() {
    for loses_last_answer in [false, true] {
        for writes in 0..MANY {
            let (world, memory) = (World::new(2), Arc::new(MemoryStorage::new()));
            let created = world.create(Dying::after(memory.clone(), writes, loses_last_answer));
            match world.open(memory.clone()) {
                Ok(repository) => {
                    save_file(&repository, "a", b"data").unwrap();
                    assert_eq!(check_whole(&repository), 1);
                }
                Err(error) => {
                    assert_eq!(error.kind(), RepositoryErrorKind::NotInitialized, "{error}");
                    world.create(memory).unwrap();
                }
            }
            if created.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn pack_that_failed_is_never_committed() {
    let (world, memory) = (World::new(3), Arc::new(MemoryStorage::new()));
    world.create(memory.clone()).unwrap();
    let dying = Dying::after(memory.clone(), 1, false);
    let repository = world.open(dying.clone()).unwrap();
    let writer = repository.write().unwrap();
    let first = put_file(&writer, "a", &noise(45 << 20, 4));
    dying.writes_left.store(MANY, Ordering::Relaxed);
    // The storage works again, but a pack is missing: this writer must not commit.
    assert!(first.is_err());
    assert!(writer.commit().is_err());
    assert_eq!(check_whole(&world.open(memory).unwrap()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn kopia_verifies_what_a_dead_writer_left() {
    let Some(kopia) = kopia_cli::Kopia::find() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(FilesystemStorage::open(folder.path()).await.unwrap());
    let options = CreateOptions {
        username: "default".into(),
        hostname: "default".into(),
    };
    let password = kopia_cli::PASSWORD.into();
    create(storage.clone(), &password, &options, Environment::system())
        .await
        .unwrap();
    kopia.connect(folder.path());
    for writes in 0..MANY {
        let dying = Dying::after(storage.clone(), writes, false);
        let options = OpenOptions {
            username: "default".into(),
            hostname: "default".into(),
        };
        let repository = open(dying, &password, options, Environment::system())
            .await
            .unwrap();
        let data = noise(3 << 20, 7 + writes as u64);
        let died = tokio::task::block_in_place(|| save_file(&repository, "file", &data)).is_err();
        kopia.verify();
        if !died {
            break;
        }
    }
    assert!(kopia.run(&["snapshot", "list", "--all"]).contains("/file"));
    // The dead writers' markers are well formed: kopia lists them, and collects their packs.
    assert!(kopia.run(&["session", "list"]).contains("default@default"));
    let packs = || kopia.run(&["blob", "list", "--prefix=p"]).lines().count();
    let before = packs();
    kopia.run(&["maintenance", "run", "--full", "--safety=none"]);
    assert!(packs() < before, "nothing was collected of {before} packs");
    kopia.verify();
}
