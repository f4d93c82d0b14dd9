//! What may happen to a prefix, and what two installs do to each other. Keys are derived by a quick stand-in
//! here, except where a real server is used.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use caravel_repository::{KeyDerivation, Labels, RepositoryError, crypto::hkdf_sha256};
use caravel_storage::{
    BlobId, BlobMetadata, Operation, Storage, StorageError, StorageErrorKind,
    faulty::{Fault, FaultyStorage, Rule},
    memory::MemoryStorage,
    s3::{S3Storage, test_server::TestServer},
};
use secrecy::SecretString;
use tokio::sync::Semaphore;

use super::*;

/// Not slow, and still another key for another password or salt.
struct QuickKeys;

impl KeyDerivation for QuickKeys {
    fn derive(
        &self,
        _: &str,
        password: &[u8],
        salt: &[u8],
    ) -> Result<zeroize::Zeroizing<[u8; 32]>, RepositoryError> {
        Ok(hkdf_sha256(password, salt, b"test"))
    }
}

pub(crate) fn environment() -> Environment {
    Environment {
        cpu_threads: 1,
        key_derivation: Arc::new(QuickKeys),
        ..Environment::system()
    }
}

pub(crate) fn secret(text: &str) -> SecretString {
    text.to_owned().into()
}

async fn connect(storage: impl Storage) -> Result<Repository, PrepareError> {
    prepare(
        Arc::new(storage),
        &secret(DEFAULT_PASSWORD),
        Prepare::ConnectOrCreate,
        environment(),
    )
    .await
}

pub(crate) async fn content(storage: &MemoryStorage) -> Vec<(BlobMetadata, Bytes)> {
    let mut all = Vec::new();
    for blob in storage.list("").await.unwrap() {
        let data = storage.get(&blob.id).await.unwrap();
        all.push((blob, data));
    }
    all
}

async fn assert_finished(storage: &MemoryStorage, repository: &Repository) {
    let marker = storage.get(&BlobId::from(marker::MARKER)).await.unwrap();
    let expected = format!(
        "{{\"uniqueID\":\"{}\"}}",
        BASE64_STANDARD.encode(repository.unique_id())
    );
    assert_eq!(
        std::str::from_utf8(&marker).unwrap(),
        expected,
        "compact, as Velero reads it"
    );
    let (repository, labels) = (
        repository.clone(),
        Labels::from([("type".into(), "maintenance".into())]),
    );
    let manifests = tokio::task::spawn_blocking(move || {
        tokio::runtime::Handle::current()
            .block_on(repository.refresh())
            .unwrap();
        repository.find_manifests(&labels).unwrap()
    });
    let manifests = manifests.await.unwrap();
    assert!(!manifests.is_empty(), "somebody owns maintenance");
    assert!(
        manifests
            .iter()
            .all(|m| m.payload.get().contains("\"default@default\""))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_prefix_becomes_a_repository_with_velero_s_marker() {
    let storage = MemoryStorage::new();
    let made = connect(storage.clone()).await.unwrap();
    assert_finished(&storage, &made).await;
    for name in ["kopia.repository", "kopia.blobcfg"] {
        storage.get(&BlobId::from(name)).await.expect(name);
    }
    let before = content(&storage).await;
    let again = connect(storage.clone()).await.unwrap();
    assert_eq!(again.unique_id(), made.unique_id());
    assert!(content(&storage).await == before, "opening writes nothing");
}

/// Quick and full interval, in seconds.
async fn intervals(repository: &Repository) -> (i64, i64) {
    let repository = repository.clone();
    let read = tokio::task::spawn_blocking(move || {
        tokio::runtime::Handle::current()
            .block_on(repository.refresh())
            .unwrap();
        repository.maintenance_parameters().unwrap()
    });
    let parameters = read.await.unwrap();
    assert!(parameters.quick.enabled && parameters.full.enabled);
    assert_eq!(parameters.owner, "default@default");
    let second = 1_000_000_000;
    (
        parameters.quick.interval / second,
        parameters.full.interval / second,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_repository_is_maintained_in_full_as_often_as_it_is_told_and_keeps_that() {
    let as_often = |storage: MemoryStorage, hours: u64| async move {
        prepare_with(
            Arc::new(storage),
            &secret(DEFAULT_PASSWORD),
            Prepare::ConnectOrCreate,
            std::time::Duration::from_secs(hours * 3600),
            environment(),
        )
        .await
        .unwrap()
    };
    for hours in [24, 12, 6] {
        let storage = MemoryStorage::new();
        let made = as_often(storage.clone(), hours).await;
        let expected = (3600, i64::try_from(hours).unwrap() * 3600);
        assert_eq!(intervals(&made).await, expected);
        let again = as_often(storage.clone(), 18 - hours / 2).await;
        assert_eq!(intervals(&again).await, expected, "it was made with that");

        // Half created: without its marker it is finished, and what somebody has set stays.
        storage.delete(&BlobId::from(marker::MARKER)).await.unwrap();
        let finished = as_often(storage.clone(), 6).await;
        let untouched = hours == 24;
        let expected = if untouched { (3600, 6 * 3600) } else { expected };
        assert_eq!(intervals(&finished).await, expected);
    }
    let standard = connect(MemoryStorage::new()).await.unwrap();
    assert_eq!(intervals(&standard).await, (3600, 24 * 3600));
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_only_creates_nothing_and_finishes_nothing() {
    let storage = MemoryStorage::new();
    let only = |storage: MemoryStorage| async move {
        prepare(
            Arc::new(storage),
            &secret(DEFAULT_PASSWORD),
            Prepare::ConnectOnly,
            environment(),
        )
        .await
    };
    let error = only(storage.clone()).await.unwrap_err();
    assert_eq!(error.kind(), PrepareErrorKind::NotInitialized);
    assert_eq!(storage.list("").await.unwrap(), []);
    connect(storage.clone()).await.unwrap();
    storage.delete(&BlobId::from(marker::MARKER)).await.unwrap();
    let before = content(&storage).await;
    only(storage.clone())
        .await
        .expect("a repository without marker can be read");
    assert!(content(&storage).await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantee_4_a_prefix_with_anything_else_is_never_initialised() {
    for name in ["kopia.blobcfg", "udmrepo.Repository", "pabc", "readme.txt"] {
        let storage = MemoryStorage::new();
        storage
            .put(&BlobId::from(name), Bytes::from_static(b"{}"))
            .await
            .unwrap();
        let before = content(&storage).await;
        let error = connect(storage.clone()).await.unwrap_err();
        assert_eq!(error.kind(), PrepareErrorKind::NotEmpty, "{name}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(content(&storage).await == before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantee_4_a_store_that_does_not_answer_is_never_initialised() {
    use StorageErrorKind::{Damaged, Denied, Misconfigured, Unavailable};
    for kind in [Denied, Unavailable, Misconfigured, Damaged] {
        for operation in [Operation::List, Operation::Get] {
            let storage = MemoryStorage::new();
            if operation == Operation::Get {
                connect(storage.clone()).await.unwrap();
            }
            let before = content(&storage).await;
            let faulty = FaultyStorage::new(Arc::new(storage.clone()))
                .with(Rule::always(Fault::Fail(kind)).on(operation));
            let error = connect(faulty.clone()).await.unwrap_err();
            assert_ne!(
                error.kind(),
                PrepareErrorKind::NotInitialized,
                "{kind:?} {operation:?}: {error}"
            );
            assert!(content(&storage).await == before);
            let wrote = |(operation, _): &(Operation, String)| {
                matches!(
                    operation,
                    Operation::Put | Operation::PutIfAbsent | Operation::Delete
                )
            };
            assert!(!faulty.calls().iter().any(wrote), "{:?}", faulty.calls());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_says_so_and_overwrites_nothing() {
    let storage = MemoryStorage::new();
    connect(storage.clone()).await.unwrap();
    for without_marker in [false, true] {
        if without_marker {
            storage.delete(&BlobId::from(marker::MARKER)).await.unwrap();
        }
        let before = content(&storage).await;
        let opened = prepare(
            Arc::new(storage.clone()),
            &secret("another"),
            Prepare::ConnectOrCreate,
            environment(),
        )
        .await;
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), PrepareErrorKind::WrongPassword);
        assert!(error.to_string().contains("velero-repo-credentials"), "{error}");
        assert!(!format!("{error} {error:?}").contains("another"), "guarantee 8");
        assert!(content(&storage).await == before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_of_another_repository_is_damage() {
    let (storage, other) = (MemoryStorage::new(), MemoryStorage::new());
    connect(storage.clone()).await.unwrap();
    connect(other.clone()).await.unwrap();
    let marker = BlobId::from(marker::MARKER);
    storage
        .put(&marker, other.get(&marker).await.unwrap())
        .await
        .unwrap();
    assert_eq!(
        connect(storage.clone()).await.unwrap_err().kind(),
        PrepareErrorKind::Damaged
    );
    storage.put(&marker, Bytes::from_static(b"half")).await.unwrap();
    assert_eq!(
        connect(storage).await.unwrap_err().kind(),
        PrepareErrorKind::Damaged
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_broke_off_anywhere_is_finished_by_the_next_try() {
    for nth in 1u64.. {
        let storage = MemoryStorage::new();
        let faulty = FaultyStorage::new(Arc::new(storage.clone()));
        let lost = nth % 2 == 0;
        let fault = match lost {
            true => Fault::LostAnswer(StorageErrorKind::Unavailable),
            false => Fault::Fail(StorageErrorKind::Unavailable),
        };
        // From the nth operation on nothing works: the process ended there.
        faulty.add(Rule::always(fault).nth(nth.div_ceil(2)));
        for later in 1..40 {
            faulty.add(Rule::always(Fault::Fail(StorageErrorKind::Unavailable)).nth(nth.div_ceil(2) + later));
        }
        let first = connect(faulty.clone()).await;
        let second = connect(storage.clone())
            .await
            .unwrap_or_else(|error| panic!("after {nth}: {error}"));
        assert_finished(&storage, &second).await;
        if let Ok(first) = first {
            assert_eq!(first.unique_id(), second.unique_id());
            assert!(faulty.calls().len() > 5, "the creation was tried step by step");
            return;
        }
    }
}

/// Lets `free` operations through, and then waits until it is opened.
#[derive(Clone)]
struct Gate {
    inner: MemoryStorage,
    left: Arc<AtomicUsize>,
    open: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Gate {
    fn new(inner: MemoryStorage, free: usize) -> Self {
        let closed = || Arc::new(Semaphore::new(0));
        Self {
            inner,
            left: Arc::new(AtomicUsize::new(free)),
            open: closed(),
            waiting: closed(),
        }
    }

    async fn pass(&self) {
        let free = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if free.is_err() {
            self.waiting.add_permits(1);
            self.open.acquire().await.expect("never closed").forget();
            self.open.add_permits(1);
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

macro_rules! through_the_gate {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)+) => {
        #[async_trait::async_trait]
        impl Storage for Gate {
            $(async fn $name(&self, $($argument: $kind),*) -> Result<$result, StorageError> {
                self.pass().await;
                self.inner.$name($($argument),*).await
            })+
        }
    };
}

through_the_gate! {
    put(id: &BlobId, data: Bytes) -> ();
    put_if_absent(id: &BlobId, data: Bytes) -> ();
    get(id: &BlobId) -> Bytes;
    get_range(id: &BlobId, range: Range<u64>) -> Bytes;
    metadata(id: &BlobId) -> BlobMetadata;
    list(prefix: &str) -> Vec<BlobMetadata>;
    delete(id: &BlobId) -> ();
}

/// One install stops before each of its operations in turn, the other goes all the way, then the first goes on.
async fn race(memory: impl Fn() -> MemoryStorage, both_must_open: bool) {
    for free in 0.. {
        let storage = memory();
        let gate = Gate::new(storage.clone(), free);
        let mut slow = tokio::spawn(connect(gate.clone()));
        let stopped = tokio::select! {
            permit = gate.waiting.acquire() => { permit.expect("never closed").forget(); true }
            done = &mut slow => { done.expect("no panic").expect("alone it works"); false }
        };
        if !stopped {
            assert!(free > 8, "the race had {free} steps");
            return;
        }
        let quick = connect(storage.clone()).await;
        gate.open.add_permits(1);
        let slow = slow.await.expect("no panic");
        if both_must_open {
            let (slow, quick) = (
                slow.as_ref().expect("the slow one opens"),
                quick.as_ref().expect("the quick one opens"),
            );
            assert_eq!(
                slow.unique_id(),
                quick.unique_id(),
                "one repository after {free} operations"
            );
        }
        let now = connect(storage.clone()).await;
        let known: Vec<_> = [&slow, &quick]
            .into_iter()
            .flatten()
            .map(|r| r.unique_id().to_vec())
            .collect();
        match now {
            Ok(now) => assert!(
                known.iter().all(|id| id == now.unique_id()),
                "after {free} operations"
            ),
            // Without conditional puts the difference may be found only afterwards; it must be said then.
            Err(error) => assert!(
                !both_must_open && error.kind() == PrepareErrorKind::Damaged,
                "{free}: {error}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantee_4_two_installs_at_the_same_moment_make_one_repository() {
    race(MemoryStorage::new, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantee_4_without_conditional_puts_a_difference_is_noticed() {
    race(|| MemoryStorage::new().without_conditional_put(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantee_4_two_installs_on_a_real_server_make_one_repository() {
    let Some(server) = TestServer::start(
        true,
        "guarantee_4_two_installs_on_a_real_server_make_one_repository",
    ) else {
        return;
    };
    for round in 0..3 {
        let installs = (0..2).map(|_| {
            let storage = S3Storage::new(server.config(&format!("velero/kopia/race{round}/"))).unwrap();
            tokio::spawn(async move {
                let password = secret(DEFAULT_PASSWORD);
                prepare(
                    Arc::new(storage),
                    &password,
                    Prepare::ConnectOrCreate,
                    Environment::system(),
                )
                .await
            })
        });
        let installs = futures::future::join_all(installs).await;
        let ids: Vec<_> = installs
            .into_iter()
            .map(|done| done.unwrap().unwrap().unique_id().to_vec())
            .collect();
        assert_eq!(ids[0], ids[1]);
    }
}

#[test]
fn names_and_passwords_are_velero_s() {
    use secrecy::ExposeSecret as _;
    assert_eq!(name("shop", "default", "kopia"), "shop-default-kopia");
    assert_eq!(
        password(b" static-passw0rd\n").unwrap().expose_secret(),
        DEFAULT_PASSWORD
    );
    assert!(password(b" \n").is_none() && password(&[0xff]).is_none());
}
