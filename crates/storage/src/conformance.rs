//! What every store must do, in one suite: run it for a new store before anything is built on it.
//! The rules are those of `storage.rs`; the reasons are Kopia's assumptions about its storage
//! (kopia-format.md 1.3) and guarantee 4.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{BlobId, LockMode, ObjectLock, Storage, StorageErrorKind};

/// Runs the suite on an empty storage, and leaves it empty.
///
/// # Panics
/// With a sentence, when the store breaks a rule.
pub async fn verify(storage: Arc<dyn Storage>) {
    let storage = storage.as_ref();
    assert_eq!(
        storage.list("").await.expect("listing an empty store works"),
        [],
        "the store must be empty"
    );
    whole_blobs(storage).await;
    ranges(storage).await;
    raw_prefixes(storage).await;
    creating_only_once(storage).await;
    racing_creators(storage).await;
    odd_names(storage).await;
    locks(storage).await;
    for blob in storage.list("").await.expect("the final listing works") {
        storage.delete(&blob.id).await.expect("cleaning up works");
    }
    assert_eq!(
        storage.list("").await.expect("listing works"),
        [],
        "deleted blobs are gone from the listing"
    );
}

/// A store without locks says so and writes nothing. What locks do can only be tried in a bucket that has them.
async fn locks(storage: &dyn Storage) {
    if storage.has_locks() {
        return;
    }
    let id = BlobId::from("p-locked");
    let lock = ObjectLock {
        mode: LockMode::Governance,
        until: Timestamp::MAX,
    };
    for refused in [
        storage.put_locked(&id, Bytes::from_static(b"x"), &lock).await,
        storage
            .put_locked_if_absent(&id, Bytes::from_static(b"x"), &lock)
            .await,
        storage.extend_lock(&id, &lock).await,
    ] {
        let refused = refused.expect_err("a store without locks refuses them");
        assert_eq!(refused.kind(), StorageErrorKind::Unsupported, "{refused}");
    }
    assert_eq!(storage.list("p-locked").await.expect("listing works"), []);
}

async fn whole_blobs(storage: &dyn Storage) {
    let id = BlobId::from("p00112233445566778899aabbccddeeff-s0123456789abcdef147");
    let missing = storage.get(&id).await.expect_err("a missing blob is an error");
    assert_eq!(
        missing.kind(),
        StorageErrorKind::NotFound,
        "get of a missing blob: {missing}"
    );
    assert!(
        missing.to_string().contains(id.as_str()),
        "the message names the blob: {missing}"
    );
    let missing = storage
        .metadata(&id)
        .await
        .expect_err("a missing blob is an error");
    assert_eq!(
        missing.kind(),
        StorageErrorKind::NotFound,
        "metadata of a missing blob: {missing}"
    );
    storage
        .delete(&id)
        .await
        .expect("deleting a missing blob is no error");

    for data in [Bytes::from_static(b"first"), Bytes::new(), pattern(3 << 20)] {
        storage
            .put(&id, data.clone())
            .await
            .expect("put works, also over an older blob");
        assert!(
            storage.get(&id).await.expect("get works") == data,
            "a blob comes back as it was put"
        );
        let metadata = storage.metadata(&id).await.expect("metadata works");
        assert_eq!((&metadata.id, metadata.length), (&id, data.len() as u64));
        let listed = storage.list(id.as_str()).await.expect("list works");
        assert_eq!(
            listed,
            [metadata],
            "a listing shows a new blob at once, with the same timestamp"
        );
    }
    storage.delete(&id).await.expect("delete works");
    assert!(storage.get(&id).await.expect_err("it is gone").is_not_found());
}

async fn ranges(storage: &dyn Storage) {
    let id = BlobId::from("q00112233445566778899aabbccddeeff-s0123456789abcdef147");
    let missing = storage
        .get_range(&id, 0..1)
        .await
        .expect_err("a missing blob is an error");
    assert_eq!(
        missing.kind(),
        StorageErrorKind::NotFound,
        "range of a missing blob: {missing}"
    );
    let data = pattern(100_000);
    storage.put(&id, data.clone()).await.expect("put works");
    for range in [0..1, 0..100_000, 99_999..100_000, 4096..70_001] {
        let part = storage
            .get_range(&id, range.clone())
            .await
            .expect("a range inside the blob can be read");
        assert!(
            part == data[range.start as usize..range.end as usize],
            "wrong bytes for {range:?}"
        );
    }
    assert!(
        storage
            .get_range(&id, 5..5)
            .await
            .expect("an empty range is empty")
            .is_empty()
    );
    for range in [99_999..100_001, 100_000..100_001, 500_000..500_010] {
        let error = storage
            .get_range(&id, range.clone())
            .await
            .expect_err("past the end is an error");
        assert_eq!(error.kind(), StorageErrorKind::Damaged, "{range:?}: {error}");
    }
    storage.delete(&id).await.expect("delete works");
}

async fn raw_prefixes(storage: &dyn Storage) {
    let names = [
        "xn0_aa00112233445566778899aa-c1",
        "xn0_bb00112233445566778899aa-c1",
        "xn10_aa-c1",
        "xs0_aa-c1",
    ];
    for name in names {
        storage
            .put(&BlobId::from(name), Bytes::from_static(b"x"))
            .await
            .expect("put works");
    }
    for (prefix, expected) in [
        ("", &names[..]),
        ("x", &names[..]),
        ("xn", &names[..3]),
        ("xn0_", &names[..2]),
        ("xn0_b", &names[1..2]),
        ("xn1", &names[2..3]),
        ("xs0_aa-c1", &names[3..]),
        ("y", &[]),
        ("xs0_aa-c1x", &[]),
    ] {
        let listed = storage.list(prefix).await.expect("list works");
        let listed: Vec<_> = listed.iter().map(|blob| blob.id.as_str()).collect();
        assert_eq!(
            listed, expected,
            "list({prefix:?}) is by raw letters and sorted by name"
        );
    }
    for name in names {
        storage.delete(&BlobId::from(name)).await.expect("delete works");
    }
}

async fn creating_only_once(storage: &dyn Storage) {
    let id = BlobId::from("kopia.repository");
    match storage.put_if_absent(&id, Bytes::from_static(b"ours")).await {
        Err(e) if e.kind() == StorageErrorKind::Unsupported => return,
        created => created.expect("creating a new blob works"),
    }
    let error = storage
        .put_if_absent(&id, Bytes::from_static(b"theirs"))
        .await
        .expect_err("it exists");
    assert_eq!(error.kind(), StorageErrorKind::AlreadyExists, "{error}");
    let kept = storage.get(&id).await.expect("get works");
    assert_eq!(kept.as_ref(), b"ours", "the first writer's bytes stay");
    storage.delete(&id).await.expect("delete works");
    storage
        .put_if_absent(&id, Bytes::from_static(b"again"))
        .await
        .expect("after deletion it can be created");
    storage.delete(&id).await.expect("delete works");
}

async fn racing_creators(storage: &dyn Storage) {
    let id = BlobId::from("udmrepo.Repository");
    let creators = (0..8u8).map(|n| {
        let id = id.clone();
        async move { (n, storage.put_if_absent(&id, Bytes::from(vec![n; 1000])).await) }
    });
    let results = futures::future::join_all(creators).await;
    let mut winners = Vec::new();
    for (n, result) in results {
        match result {
            Ok(()) => winners.push(n),
            Err(e) if e.kind() == StorageErrorKind::Unsupported => return,
            Err(e) => assert_eq!(e.kind(), StorageErrorKind::AlreadyExists, "{e}"),
        }
    }
    assert_eq!(
        winners.len(),
        1,
        "exactly one of the racing creators wins: {winners:?}"
    );
    let kept = storage.get(&id).await.expect("get works");
    assert!(kept == vec![winners[0]; 1000], "the winner's bytes are there");
    storage.delete(&id).await.expect("delete works");
}

async fn odd_names(storage: &dyn Storage) {
    for name in [
        "n%2Fa",
        "a+b",
        "_log_20260102030405_ab12_1_2_1_ff",
        "c#d?e=f&g",
        "sämtlich-no",
    ] {
        let id = BlobId::from(name);
        let put = storage.put(&id, Bytes::from_static(b"odd")).await;
        if !id.is_storable() {
            assert_eq!(put.expect_err("refused").kind(), StorageErrorKind::Misconfigured);
            continue;
        }
        put.expect("put works");
        let listed = storage.list(name).await.expect("list works");
        let listed: Vec<_> = listed.iter().map(|blob| blob.id.as_str()).collect();
        assert_eq!(listed, [name], "a name comes back as it was given");
        assert_eq!(storage.get(&id).await.expect("get works").as_ref(), b"odd");
        storage.delete(&id).await.expect("delete works");
    }
    for name in ["", "a/b", ".shards", "a b"] {
        let error = storage
            .put(&BlobId::from(name), Bytes::new())
            .await
            .expect_err("no name for a blob");
        assert_eq!(error.kind(), StorageErrorKind::Misconfigured, "{name:?}: {error}");
    }
}

/// Bytes that differ at every place one may mix up.
fn pattern(length: usize) -> Bytes {
    (0..length)
        .map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect()
}
