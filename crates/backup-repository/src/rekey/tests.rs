//! A change of the password that is killed at each step, and what others do meanwhile.

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use caravel_repository::{ManifestId, RepositoryErrorKind, SnapshotManifest};
use caravel_storage::{
    BlobMetadata, StorageError, StorageErrorKind,
    faulty::{Fault, FaultyStorage, Rule},
    memory::MemoryStorage,
};

use super::*;
use crate::tests::{content, environment, secret};

async fn open(storage: &MemoryStorage, passwords: impl Into<Passwords>) -> Result<Repository, PrepareError> {
    let storage = Arc::new(storage.clone());
    prepare(storage, passwords, Prepare::ConnectOnly, environment()).await
}

/// A repository with the password `old`, and a snapshot in it.
async fn made() -> (MemoryStorage, ManifestId) {
    let storage = MemoryStorage::new();
    let (old, create) = (secret("old"), Prepare::ConnectOrCreate);
    let repository = prepare(Arc::new(storage.clone()), &old, create, environment())
        .await
        .unwrap();
    let manifest: SnapshotManifest = serde_json::from_str(
        r#"{"source": {"host": "default", "userName": "default", "path": "shop/data"},
            "startTime": "2026-11-22T00:00:00Z", "endTime": "2026-11-22T00:00:01Z"}"#,
    )
    .unwrap();
    let id = tokio::task::block_in_place(|| {
        let writer = repository.write().unwrap();
        let id = writer.put_snapshot(&manifest).unwrap();
        writer.commit().unwrap();
        id
    });
    (storage, id)
}

async fn change(storage: impl Storage) -> Result<Rekeyed, PrepareError> {
    rekey(Arc::new(storage), &secret("old"), &secret("new"), environment()).await
}

async fn assert_changed(storage: &MemoryStorage, snapshot: &ManifestId) {
    let repository = open(storage, &secret("new")).await.unwrap();
    repository.snapshot(snapshot).await.unwrap();
    let error = open(storage, &secret("old")).await.unwrap_err();
    assert_eq!(error.kind(), PrepareErrorKind::WrongPassword);
    let settings = storage.get(&BlobId::from(BLOBCFG_BLOB)).await;
    settings.expect("the second format blob is there again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_killed_at_any_step_leaves_a_repository_that_opens_with_a_recorded_password() {
    let (whole, snapshot) = made().await;
    let recorded = Passwords::changing(secret("old"), Some(secret("new")));
    for lost in [false, true] {
        for calls in 0.. {
            let storage = whole.copy(Arc::new(jiff::Timestamp::now));
            let dead = Fault::Fail(StorageErrorKind::Unavailable);
            let faulty = FaultyStorage::new(Arc::new(storage.clone())).with(Rule::always(dead).after(calls));
            if lost {
                // The last call was done, and nobody was there any more for its answer.
                faulty.add(Rule::always(Fault::LostAnswer(StorageErrorKind::Unavailable)).nth(calls));
            }
            let changed = change(faulty.clone()).await;

            let opened = open(&storage, &recorded).await;
            let repository = opened.unwrap_or_else(|error| panic!("killed after {calls} calls: {error}"));
            repository.snapshot(&snapshot).await.unwrap();

            let again = change(storage.clone()).await;
            again.unwrap_or_else(|error| panic!("again after {calls} calls: {error}"));
            assert_changed(&storage, &snapshot).await;
            if changed.is_ok() {
                assert!(calls > 10, "it was killed at {calls} places");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_has_the_new_password_is_only_opened() {
    let (storage, snapshot) = made().await;
    assert_eq!(change(storage.clone()).await.unwrap(), Rekeyed::Changed);
    let before = content(&storage).await;
    assert_eq!(change(storage.clone()).await.unwrap(), Rekeyed::Already);
    assert!(content(&storage).await == before);
    assert_changed(&storage, &snapshot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_change_it_at_the_same_moment_agree() {
    let (storage, snapshot) = made().await;
    let (one, other) = tokio::join!(change(storage.clone()), change(storage.clone()));
    assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
    change(storage.clone()).await.unwrap();
    assert_changed(&storage, &snapshot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_opens_with_neither_is_left_as_it_is() {
    let (storage, _) = made().await;
    let before = content(&storage).await;
    let (another, new) = (secret("another"), secret("new"));
    let changed = rekey(Arc::new(storage.clone()), &another, &new, environment()).await;
    assert_eq!(changed.unwrap_err().kind(), PrepareErrorKind::WrongPassword);
    assert!(content(&storage).await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_it_during_the_change_tries_both_and_who_creates_one_takes_the_new_password() {
    let recorded = Passwords::changing(secret("old"), Some(secret("new")));
    let (storage, snapshot) = made().await;
    for _ in 0..2 {
        let repository = open(&storage, &recorded).await.unwrap();
        repository.snapshot(&snapshot).await.unwrap();
        change(storage.clone()).await.unwrap();
    }
    let empty = MemoryStorage::new();
    let create = Prepare::ConnectOrCreate;
    prepare(Arc::new(empty.clone()), &recorded, create, environment())
        .await
        .unwrap();
    open(&empty, &secret("new")).await.unwrap();
}

/// Re-keys what lies behind it, once, before `kopia.blobcfg` is read.
#[derive(Debug)]
struct RekeyedBetween {
    inner: MemoryStorage,
    once: AtomicBool,
}

#[async_trait::async_trait]
impl Storage for RekeyedBetween {
    async fn put(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.inner.put(id, data).await
    }

    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.inner.put_if_absent(id, data).await
    }

    async fn get(&self, id: &BlobId) -> Result<Bytes, StorageError> {
        if id.as_str() == BLOBCFG_BLOB && !self.once.swap(true, Ordering::SeqCst) {
            change(self.inner.clone()).await.unwrap();
        }
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

    async fn delete(&self, id: &BlobId) -> Result<(), StorageError> {
        self.inner.delete(id).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_it_while_both_blobs_change_finds_no_damage() {
    let (storage, snapshot) = made().await;
    let between = RekeyedBetween {
        inner: storage.clone(),
        once: AtomicBool::new(false),
    };
    let recorded = Passwords::changing(secret("old"), Some(secret("new")));
    let connect = Prepare::ConnectOnly;
    let repository = prepare(Arc::new(between), &recorded, connect, environment())
        .await
        .unwrap();
    repository.snapshot(&snapshot).await.unwrap();
    assert_changed(&storage, &snapshot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_it_open_is_told_to_open_it_again() {
    let (storage, _) = made().await;
    let open_since = open(&storage, &secret("old")).await.unwrap();
    change(storage.clone()).await.unwrap();
    // It works on; only a second change from the same reading is refused.
    let error = tokio::task::block_in_place(|| open_since.change_password(&secret("third"))).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::Locked);
    open(&storage, &secret("new")).await.unwrap();
}
