//! Tombstones and the writer (kopia-format.md 6.2, 6.4), on storage in memory.

use std::{sync::Arc, thread, time::Duration};

use caravel_storage::{
    Operation, Storage, StorageErrorKind,
    faulty::{Fault, FaultyStorage, Rule},
    memory::MemoryStorage,
};
use futures::FutureExt;

use super::*;
use crate::{CreateOptions, OpenOptions, Repository, create, open};

fn repository(storage: &Arc<MemoryStorage>) -> Repository {
    let environment = Environment {
        cpu_threads: 0,
        ..Environment::system()
    };
    let password = "x".into();
    let options = CreateOptions {
        username: "u".into(),
        hostname: "h".into(),
    };
    let _ = create(storage.clone(), &password, &options, environment.clone())
        .now_or_never()
        .unwrap();
    let options = OpenOptions {
        username: "u".into(),
        hostname: "h".into(),
    };
    open(storage.clone(), &password, options, environment)
        .now_or_never()
        .unwrap()
        .unwrap()
}

fn writer(repository: &Repository, pack_size: usize) -> ContentWriter {
    let inner = &repository.inner;
    ContentWriter::new(WriterParts {
        blobs: inner.blobs.clone(),
        sealer: inner.sealer.clone(),
        environment: inner.environment.clone(),
        committed: inner.committed.clone(),
        identity: inner.identity.clone(),
        layout: Layout {
            pack_size,
            ..Layout::of(&inner.format).unwrap()
        },
        format: inner.format.clone(),
        guard: inner.guard.clone(),
    })
}

#[test]
fn content_marked_as_deleted_is_written_afresh_and_outdoes_its_tombstone() {
    let storage = Arc::new(MemoryStorage::new());
    let repository = repository(&storage);
    let writer = writer(&repository, 1 << 20);
    let id = writer.write(None, b"bytes", None).unwrap();
    writer.commit().unwrap();
    writer.delete(&id).unwrap();
    writer.commit().unwrap();
    let contents = &repository.inner.contents;
    assert!(!contents.is_live(&id).unwrap());
    assert_eq!(
        &*contents.read(&id).unwrap(),
        b"bytes",
        "readable until its pack goes"
    );
    let tombstone = repository.inner.committed.current().index.find(&id).unwrap();

    assert_eq!(writer.write(None, b"bytes", None).unwrap(), id);
    writer.commit().unwrap();
    let fresh = repository.inner.committed.current().index.find(&id).unwrap();
    assert!(!fresh.deleted && fresh.timestamp > tombstone.timestamp);
    assert_eq!(
        storage.list("p").now_or_never().unwrap().unwrap().len(),
        2,
        "a copy in a pack of its own"
    );
    assert!(contents.is_live(&id).unwrap());
}

#[test]
fn small_contents_of_one_data_pack_are_read_across_windows() {
    let storage = Arc::new(MemoryStorage::new());
    let repository = repository(&storage);
    let parts = writer(&repository, 20 << 20);
    let contents: Vec<(ContentId, Vec<u8>)> = (0..40u8)
        .map(|n| {
            let bytes = vec![n; 200_000 + usize::from(n)];
            (parts.write(None, &bytes, None).unwrap(), bytes)
        })
        .collect();
    parts.commit().unwrap();
    for (id, bytes) in contents.iter().rev() {
        assert!(repository.read_content(id).unwrap() == *bytes, "{id}");
    }
}

#[test]
fn a_content_that_would_make_a_long_pack_much_longer_begins_the_next_one() {
    let storage = Arc::new(MemoryStorage::new());
    let repository = repository(&storage);
    let parts = writer(&repository, 20 << 20);
    // In MiB: 18 + 5 is too long, 13 is too short to be sent, 13 + 8 is full.
    let written: Vec<(ContentId, Vec<u8>)> = [6, 6, 6, 5, 8, 8, 1]
        .into_iter()
        .enumerate()
        .map(|(n, mib)| {
            let bytes = vec![n as u8; mib << 20];
            (parts.write(None, &bytes, None).unwrap(), bytes)
        })
        .collect();
    parts.commit().unwrap();
    let mut lengths: Vec<u64> = storage
        .list("p")
        .now_or_never()
        .unwrap()
        .unwrap()
        .iter()
        .map(|pack| pack.length >> 20)
        .collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [1, 18, 21]);
    for (id, bytes) in &written {
        assert!(repository.read_content(id).unwrap() == *bytes, "{id}");
    }
}

#[test]
fn a_packs_memory_holds_the_longest_that_it_can_become() {
    assert_eq!(most_bytes(20 << 20) >> 20, 23);
    // 7 MiB are too short to be sent, and a content of 8 follows.
    assert_eq!(most_bytes(10 << 20) >> 20, 15);
    assert_eq!(most_bytes(120 << 20) >> 20, 123);
}

/// A repository with threads, on a store with these rules.
async fn with_threads(rules: impl IntoIterator<Item = Rule>) -> Repository {
    let memory = Arc::new(MemoryStorage::new());
    repository(&memory);
    let faulty = FaultyStorage::new(memory);
    rules.into_iter().for_each(|rule| faulty.add(rule));
    let environment = Environment {
        cpu_threads: 2,
        ..Environment::system()
    };
    let options = OpenOptions {
        username: "u".into(),
        hostname: "h".into(),
    };
    open(Arc::new(faulty), &"x".into(), options, environment)
        .await
        .unwrap()
}

fn bytes_of(thread: usize, number: usize) -> Vec<u8> {
    let seed = (thread * 1000 + number).to_be_bytes();
    seed.into_iter().cycle().take(300_000 + number).collect()
}

/// Four threads write 30 contents each, many packs more than there is memory for; what each was told.
fn write_much(writer: &ContentWriter) -> Vec<Result<Vec<ContentId>>> {
    thread::scope(|scope| {
        let write = |thread| {
            let contents = (0..30).map(move |number| writer.write(None, &bytes_of(thread, number), None));
            scope.spawn(move || contents.collect::<Result<Vec<_>>>())
        };
        let running: Vec<_> = (0..4).map(write).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_are_faster_than_the_storage_wait_for_it() {
    let slow = Rule::always(Fault::Slow(Duration::from_millis(5)));
    let repository = with_threads([slow.on(Operation::Put).named("p")]).await;
    let work = move || {
        let writer = writer(&repository, 1 << 20);
        let written = write_much(&writer);
        writer.commit().unwrap();
        for (thread, ids) in written.into_iter().enumerate() {
            for (number, id) in ids.unwrap().iter().enumerate() {
                assert!(repository.read_content(id).unwrap() == bytes_of(thread, number));
            }
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_pack_is_lost_nobody_waits_for_its_memory_and_nothing_is_committed() {
    let full = Rule::always(Fault::Fail(StorageErrorKind::NoSpace));
    let repository = with_threads([full.on(Operation::Put).named("p").nth(3)]).await;
    let work = move || {
        let writer = writer(&repository, 1 << 20);
        assert!(write_much(&writer).iter().any(Result::is_err));
        assert!(writer.commit().is_err());
        assert!(repository.live_contents().len() < 120);
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[test]
fn a_pack_that_was_lost_before_it_was_sent_is_in_no_later_commit() {
    let memory = Arc::new(MemoryStorage::new());
    repository(&memory);
    let faulty = FaultyStorage::new(memory);
    // The session's marker cannot be written, once: the pack that waits for it goes nowhere.
    faulty.add(
        Rule::always(Fault::Fail(StorageErrorKind::Unavailable))
            .on(Operation::Put)
            .named("s")
            .nth(1),
    );
    let environment = Environment {
        cpu_threads: 0,
        ..Environment::system()
    };
    let options = OpenOptions {
        username: "u".into(),
        hostname: "h".into(),
    };
    let repository = open(Arc::new(faulty), &"x".into(), options, environment)
        .now_or_never()
        .unwrap()
        .unwrap();
    let writer = writer(&repository, 1 << 20);
    let id = writer.write(None, b"bytes", None).unwrap();
    assert!(writer.commit().is_err());
    let again = writer.commit();
    assert!(again.is_err(), "the index would name a pack that is nowhere");
    assert!(repository.read_content(&id).is_err());
    let next = writer_of(&repository);
    assert_eq!(next.write(None, b"bytes", None).unwrap(), id);
    next.commit().unwrap();
    assert_eq!(repository.read_content(&id).unwrap(), b"bytes");
}

fn writer_of(repository: &Repository) -> ContentWriter {
    writer(repository, 1 << 20)
}
