//! What a repository promises, on simulated storage: deduplication, freshness, deletion, creation, bad input.
#![allow(clippy::unwrap_used)]

mod simulated;

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{Arc, atomic::AtomicBool},
};

use async_trait::async_trait;
use bytes::Bytes;
use caravel_repository::*;
use caravel_storage::{
    BlobId, BlobMetadata, Operation, Storage, StorageError, StorageErrorKind,
    faulty::{Fault, FaultyStorage, Rule},
    memory::MemoryStorage,
};
use futures::FutureExt;
use simulated::*;

fn created(seed: u64) -> (World, Arc<MemoryStorage>, Repository) {
    let (world, memory) = (World::new(seed), Arc::new(MemoryStorage::new()));
    world.create(memory.clone()).unwrap();
    let repository = world.open(memory.clone()).unwrap();
    (world, memory, repository)
}

fn names(memory: &MemoryStorage, prefix: &str) -> Vec<String> {
    let listed = memory.list(prefix).now_or_never().unwrap().unwrap();
    listed
        .into_iter()
        .map(|blob| blob.id.as_str().to_owned())
        .collect()
}

#[test]
fn everything_written_is_read_back_by_another_client() {
    let (world, memory, repository) = created(1);
    for (n, length) in [0, 1, 4096, 2 << 20, (2 << 20) + 1, 23 << 20]
        .into_iter()
        .enumerate()
    {
        let data = noise(length, n as u64);
        let id = save_file(&repository, &format!("f{n}"), &data).unwrap();
        let other = world.open(memory.clone()).unwrap();
        assert!(read_file(&other, &id).unwrap() == data, "{length} bytes");
    }
}

#[test]
fn two_runs_of_one_seed_write_the_same_blobs() {
    let run = || {
        let (_, memory, repository) = created(5);
        save_file(&repository, "a", &noise(5 << 20, 9)).unwrap();
        let all = names(&memory, "");
        all.iter()
            .map(|n| {
                (
                    n.clone(),
                    memory
                        .get(&BlobId::from(n.as_str()))
                        .now_or_never()
                        .unwrap()
                        .unwrap(),
                )
            })
            .collect::<Vec<_>>()
    };
    assert!(run() == run());
}

#[test]
fn second_writer_of_the_same_bytes_adds_no_data() {
    let (world, memory, repository) = created(2);
    let data = noise(30 << 20, 3);
    save_file(&repository, "a", &data).unwrap();
    let packs = names(&memory, "p");
    let other = world.open(memory.clone()).unwrap();
    let writer = other.write().unwrap();
    put_file(&writer, "b", &data).unwrap();
    let new_bytes = writer.new_bytes();
    writer.commit().unwrap();
    assert_eq!(names(&memory, "p"), packs);
    assert!(new_bytes < 2000, "{new_bytes}");
}

#[test]
fn two_writers_at_the_same_time_both_count() {
    let (world, memory, repository) = created(3);
    let other = world.open(memory.clone()).unwrap();
    let (ours, theirs) = (repository.write().unwrap(), other.write().unwrap());
    put_file(&ours, "ours", &noise(1 << 20, 1)).unwrap();
    put_file(&theirs, "theirs", &noise(1 << 20, 2)).unwrap();
    ours.commit().unwrap();
    theirs.commit().unwrap();
    assert_eq!(check_whole(&world.open(memory.clone()).unwrap()), 2);
    assert_eq!(
        names(&memory, "s"),
        Vec::<String>::new(),
        "session markers are gone after the commit"
    );
}

#[test]
fn long_holes_are_the_same_object_as_written_zeros() {
    let (_, _, repository) = created(4);
    let writer = repository.write().unwrap();
    let (mut written, mut skipped) = (writer.object(), writer.object());
    for object in [&mut written, &mut skipped] {
        object.write(b"head").unwrap();
    }
    written.write(&vec![0; 21 << 20]).unwrap();
    skipped.write_zeros(21 << 20).unwrap();
    for object in [&mut written, &mut skipped] {
        object.write(b"tail").unwrap();
    }
    assert_eq!(written.finish().unwrap(), skipped.finish().unwrap());
}

#[test]
fn deleted_snapshot_is_gone_and_deleting_it_again_is_no_error() {
    let (world, memory, repository) = created(6);
    let id = save_file(&repository, "a", b"a").unwrap();
    let kept = save_file(&repository, "b", b"b").unwrap();
    for _ in 0..2 {
        repository.delete_snapshot(&id).now_or_never().unwrap().unwrap();
    }
    let left = world
        .open(memory)
        .unwrap()
        .find_snapshots(&SnapshotFilter::default())
        .unwrap();
    assert_eq!(left.iter().map(|s| &s.id).collect::<Vec<_>>(), [&kept]);
    let error = repository.load_snapshot(&id).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::NotFound);
}

#[test]
fn manifests_are_compacted_and_none_is_lost() {
    let (world, memory, repository) = created(7);
    let mut kept = BTreeSet::new();
    for n in 0..40 {
        let id = save_file(&repository, &format!("s{n}"), &[n]).unwrap();
        if n % 4 == 0 {
            repository.delete_snapshot(&id).now_or_never().unwrap().unwrap();
        } else {
            kept.insert(id);
        }
    }
    let other = world.open(memory).unwrap();
    let found = other.find_snapshots(&SnapshotFilter::default()).unwrap();
    assert_eq!(found.iter().map(|s| s.id.clone()).collect::<BTreeSet<_>>(), kept);
    let manifest_contents = other
        .live_contents()
        .iter()
        .filter(|id| id.prefix() == Some(b'm'))
        .count();
    assert!(manifest_contents <= 17, "{manifest_contents}");
    let labels = Labels::from([("type".into(), "maintenance".into())]);
    assert_eq!(other.find_manifests(&labels).unwrap().len(), 1);
}

#[test]
fn index_older_than_fifteen_minutes_decides_nothing() {
    let (world, memory, repository) = created(8);
    let data = noise(100_000, 1);
    let writer = repository.write().unwrap();
    save_file(&world.open(memory.clone()).unwrap(), "others", &data).unwrap();
    // Not seen yet: the index is young enough.
    put_file(&writer, "ours", &data).unwrap();
    assert!(writer.new_bytes() > 100_000);
    let writer = repository.write().unwrap();
    world.clock.advance_secs(16 * 60);
    put_file(&writer, "ours", &data).unwrap();
    assert!(writer.new_bytes() < 2000, "{}", writer.new_bytes());
}

/// Moves the epoch on by two when an index blob is written.
#[derive(Debug)]
struct MovingOn {
    inner: Arc<MemoryStorage>,
    always: AtomicBool,
}

#[async_trait]
impl Storage for MovingOn {
    async fn put(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.inner.put(id, data).await?;
        if let Some(rest) = id.as_str().strip_prefix("xn") {
            let epoch: u64 = rest.split('_').next().unwrap().parse().unwrap();
            if epoch == 0 || self.always.load(std::sync::atomic::Ordering::Relaxed) {
                self.inner
                    .put(
                        &BlobId::from(format!("xe{}", epoch + 2)),
                        Bytes::from_static(b"epoch-marker"),
                    )
                    .await?;
            }
        }
        Ok(())
    }
    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.inner.put_if_absent(id, data).await
    }
    async fn delete(&self, id: &BlobId) -> Result<(), StorageError> {
        self.inner.delete(id).await
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

#[test]
fn commit_overtaken_by_two_epochs_is_written_again_or_refused() {
    let (world, memory, _) = created(9);
    // The maintenance manifest was written in epoch 0; settle it by hand so that only new blobs are at stake.
    let moving = Arc::new(MovingOn {
        inner: memory.clone(),
        always: AtomicBool::new(false),
    });
    let repository = world.open(moving.clone()).unwrap();
    save_file(&repository, "late", b"late").unwrap();
    assert!(names(&memory, "xn2_").len() == 1, "{:?}", names(&memory, "x"));
    assert_eq!(check_whole(&world.open(memory.clone()).unwrap()), 1);

    moving.always.store(true, std::sync::atomic::Ordering::Relaxed);
    let error = save_file(&repository, "later", b"later").unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::TooSlow);
    assert!(error.is_transient());
    assert_eq!(check_whole(&world.open(memory).unwrap()), 1);
}

#[test]
fn guarantee_4_of_two_simultaneous_creators_one_wins_and_both_can_open() {
    for memory in [
        MemoryStorage::new(),
        MemoryStorage::new().without_conditional_put(),
    ] {
        let memory = Arc::new(memory);
        let (ours, theirs) = (World::new(10), World::new(11));
        ours.create(memory.clone()).unwrap();
        let error = theirs.create(memory.clone()).unwrap_err();
        assert_eq!(error.kind(), RepositoryErrorKind::AlreadyInitialized);
        let (first, second) = (
            ours.open(memory.clone()).unwrap(),
            theirs.open(memory.clone()).unwrap(),
        );
        assert_eq!(first.unique_id(), second.unique_id());
        save_file(&first, "a", b"a").unwrap();
        save_file(&second, "b", b"b").unwrap();
        assert_eq!(check_whole(&first), 2);
    }
}

#[test]
fn guarantee_4_refusals_and_timeouts_are_never_taken_for_an_empty_storage() {
    for kind in [
        StorageErrorKind::Denied,
        StorageErrorKind::Unavailable,
        StorageErrorKind::Misconfigured,
    ] {
        let (world, memory, _) = created(12);
        let faulty = FaultyStorage::new(memory).with(Rule::always(Fault::Fail(kind)).on(Operation::Get));
        let error = world.open(Arc::new(faulty.clone())).unwrap_err();
        assert_eq!(error.kind(), RepositoryErrorKind::Storage);
        let listless = faulty.with(Rule::always(Fault::Fail(kind)).on(Operation::List));
        assert_eq!(
            world.create(Arc::new(listless)).unwrap_err().kind(),
            RepositoryErrorKind::Storage
        );
    }
}

#[test]
fn wrong_password_and_empty_storage_are_told_apart() {
    let (world, memory, _) = created(13);
    assert_eq!(
        world.open_with(memory.clone(), "wrong").unwrap_err().kind(),
        RepositoryErrorKind::WrongPassword
    );
    let empty = Arc::new(MemoryStorage::new());
    assert_eq!(
        world.open(empty.clone()).unwrap_err().kind(),
        RepositoryErrorKind::NotInitialized
    );
    let id = peek_unique_id(memory, &world.environment)
        .now_or_never()
        .unwrap()
        .unwrap();
    assert_eq!(id.map(|id| id.len()), Some(32));
    assert_eq!(
        peek_unique_id(empty, &world.environment)
            .now_or_never()
            .unwrap()
            .unwrap(),
        None
    );
}

#[test]
fn one_flipped_bit_in_any_blob_is_an_error_that_names_it() {
    let (world, memory, repository) = created(14);
    let id = save_file(&repository, "a", &noise(300_000, 5)).unwrap();
    for name in names(&memory, "")
        .into_iter()
        .filter(|name| !name.starts_with("kopia."))
    {
        let blob = BlobId::from(name.as_str());
        let good = memory.get(&blob).now_or_never().unwrap().unwrap();
        let mut bad = good.to_vec();
        // In the middle of the first segment, behind preamble and nonce.
        bad[60] ^= 1;
        memory.put(&blob, bad.into()).now_or_never().unwrap().unwrap();
        let error = world.open(memory.clone()).and_then(|r| read_file(&r, &id)).err();
        match error {
            Some(error) => {
                assert_eq!(error.kind(), RepositoryErrorKind::Damaged, "{error}");
                assert!(error.to_string().contains(&name), "{error}");
            }
            // The pack of the maintenance parameters is not on the way to this file … but its manifests are.
            None => panic!("{name} was altered and nobody noticed"),
        }
        memory.put(&blob, good).now_or_never().unwrap().unwrap();
    }
}

#[test]
fn truncated_pack_and_missing_pack_are_errors_that_name_them() {
    let (world, memory, repository) = created(15);
    let id = save_file(&repository, "a", &noise(300_000, 5)).unwrap();
    let pack = BlobId::from(names(&memory, "p")[0].as_str());
    let good = memory.get(&pack).now_or_never().unwrap().unwrap();
    memory
        .put(&pack, good.slice(..1000))
        .now_or_never()
        .unwrap()
        .unwrap();
    let error = read_file(&world.open(memory.clone()).unwrap(), &id).unwrap_err();
    assert!(error.to_string().contains(pack.as_str()), "{error}");
    memory.delete(&pack).now_or_never().unwrap().unwrap();
    let error = read_file(&world.open(memory.clone()).unwrap(), &id).unwrap_err();
    assert!(
        error.is_missing_blob() && error.to_string().contains(pack.as_str()),
        "{error}"
    );
}

#[test]
fn guarantee_3_reading_back_takes_nothing_from_a_cache() {
    let (world, memory, _) = created(16);
    let faulty = FaultyStorage::new(memory);
    let repository = world.open(Arc::new(faulty.clone())).unwrap();
    let id = save_file(&repository, "a", b"a").unwrap();
    repository.load_snapshot(&id).unwrap();
    let before = faulty.calls().len();
    repository.read_back_snapshot(&id).unwrap();
    let calls = faulty.calls().split_off(before);
    let read = |prefix: &str| {
        calls
            .iter()
            .any(|(op, name)| *op != Operation::List && name.starts_with(prefix))
    };
    assert!(
        calls.iter().any(|(op, _)| *op == Operation::List) && read("q"),
        "{calls:?}"
    );
}

#[test]
fn guarantee_8_passwords_and_keys_are_in_no_error_or_debug_text() {
    let (world, memory, repository) = created(17);
    let error = world.open_with(memory, "another-secret-word").unwrap_err();
    for text in [
        format!("{error:?}{error}"),
        format!("{repository:?}"),
        format!("{:?}", world.environment),
    ] {
        assert!(
            !text.contains("secret-word") && !text.contains("masterKey"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_objects_come_back_in_order_whatever_was_read_ahead() {
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let options = CreateOptions {
        username: "u".into(),
        hostname: "h".into(),
    };
    let environment = World::new(20).environment;
    let environment = Environment {
        cpu_threads: 2,
        ..environment
    };
    create(memory.clone(), &"x".into(), &options, environment.clone())
        .await
        .unwrap();
    let options = OpenOptions {
        username: "u".into(),
        hostname: "h".into(),
    };
    let repository = open(memory, &"x".into(), options, environment).await.unwrap();
    let mut data = noise(40 << 20, 1);
    data[5 << 20..25 << 20].fill(0);
    tokio::task::spawn_blocking(move || {
        let writer = repository.write().unwrap();
        let mut object = writer.object();
        data.chunks(700_001)
            .for_each(|piece| object.write(piece).unwrap());
        let (id, _) = object.finish().unwrap();
        writer.commit().unwrap();
        assert!(repository.open_object(id).unwrap().read_to_end(u64::MAX).unwrap() == data);
        let mut walk = repository.open_object(id).unwrap();
        while let Some(location) = walk.next_location().unwrap() {
            let bytes = repository.read_location(id, &location).unwrap();
            assert!(bytes == data[location.start as usize..][..bytes.len()]);
        }
        // A reader that is dropped half way leaves nothing behind that anyone waits for.
        repository.open_object(id).unwrap().next_piece().unwrap();
    })
    .await
    .unwrap();
}

#[test]
fn a_large_index_lies_in_a_file_without_a_name_where_there_is_a_folder_for_it() {
    let (mut world, memory, repository) = created(31);
    let writer = repository.write().unwrap();
    let mut written = Vec::new();
    for number in 0..40_000u32 {
        let mut object = writer.object();
        object.write(&number.to_be_bytes()).unwrap();
        written.push(object.finish().unwrap().0);
    }
    writer.commit().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let indexes = folder.path().join("indexes");
    let mapped = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.contains(indexes.to_str().unwrap())
    };
    assert!(!mapped());
    world.environment.index_folder = Some(indexes.clone());
    let repository = world.open(memory).unwrap();
    assert!(mapped());
    assert_eq!(indexes.read_dir().unwrap().count(), 0);
    for (number, id) in (0..40_000u32).zip(&written).step_by(999) {
        let reader = repository.open_object(*id).unwrap();
        assert_eq!(reader.read_to_end(100).unwrap(), number.to_be_bytes());
    }
    drop(repository);
    assert!(!mapped(), "the file is gone with its last user");
}
