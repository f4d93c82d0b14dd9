//! Tombstones and the writer (kopia-format.md 6.2, 6.4), on storage in memory.

use std::sync::Arc;

use caravel_storage::{Storage, memory::MemoryStorage};
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
        contents.read(&id).unwrap(),
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
