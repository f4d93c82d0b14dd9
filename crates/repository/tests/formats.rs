//! Every format without kopia, on storage in memory: what is written in one is read back by another client; object
//! ids of every kind.
#![allow(clippy::unwrap_used)]

mod simulated;

use std::sync::Arc;

use caravel_repository::*;
use caravel_storage::{BlobId, Storage, memory::MemoryStorage};
use futures::FutureExt;
use simulated::*;

fn created(format: &FormatOptions) -> (World, Arc<MemoryStorage>, Repository) {
    let (world, memory) = (World::new(11), Arc::new(MemoryStorage::new()));
    world.create_with(memory.clone(), format).unwrap();
    let repository = world.open(memory.clone()).unwrap();
    (world, memory, repository)
}

fn count(memory: &MemoryStorage, prefix: &str) -> usize {
    memory.list(prefix).now_or_never().unwrap().unwrap().len()
}

fn compressor(name: &str) -> ObjectOptions {
    ObjectOptions {
        compressor: Compressor::by_name(name).unwrap(),
        splitter: None,
    }
}

#[test]
fn every_hash_cipher_version_and_correction_round_trips() {
    for hash in HashAlgorithm::ALL {
        for encryption in Cipher::ALL {
            for (version, ecc_overhead_percent) in [(1, 0), (2, 0), (3, 0), (3, 5)] {
                let format = FormatOptions {
                    version,
                    hash,
                    encryption,
                    ecc_overhead_percent,
                    ..FormatOptions::default()
                };
                let (world, memory, repository) = created(&format);
                let id = save_file(&repository, "a", &noise(300_000, 3)).unwrap();
                let other = world.open(memory).unwrap();
                assert!(read_file(&other, &id).unwrap() == noise(300_000, 3), "{format:?}");
                check_whole(&other);
                let own = other.format_options();
                assert_eq!(
                    (own.version, own.hash, own.encryption),
                    (version, hash, encryption)
                );
            }
        }
    }
}

#[test]
fn version_1_keeps_its_index_without_epochs_and_replicas_in_its_packs() {
    let format = FormatOptions {
        version: 1,
        ..FormatOptions::default()
    };
    let (_, memory, repository) = created(&format);
    save_file(&repository, "a", b"abc").unwrap();
    assert_eq!((count(&memory, "n"), count(&memory, "x")), (2, 0));
    let blob = |name: &str| memory.get(&BlobId::from(name)).now_or_never().unwrap().unwrap();
    let pack = memory.list("q").now_or_never().unwrap().unwrap().remove(0).id;
    let replica = blob("kopia.repository");
    assert!(blob(pack.as_str())[2..].starts_with(&replica));
    assert_eq!(repository.index_version(), 1);
}

#[test]
fn compressed_objects_of_version_1_are_named_so() {
    for version in [1, 3] {
        let format = FormatOptions {
            version,
            ..FormatOptions::default()
        };
        let (world, memory, repository) = created(&format);
        let writer = repository.write().unwrap();
        let text = "again and again ".repeat(20_000);
        let mut object = writer.object_with(compressor("s2-default"));
        object.write(text.as_bytes()).unwrap();
        let (short, _) = object.finish().unwrap();
        let mut object = writer.object_with(compressor("gzip"));
        let long = text.repeat(30);
        object.write(long.as_bytes()).unwrap();
        let (indirect, _) = object.finish().unwrap();
        let mut object = writer.object_with(compressor("zstd"));
        object.write(&noise(5000, 1)).unwrap();
        let (raw, _) = object.finish().unwrap();
        writer.commit().unwrap();
        assert_eq!(short.to_string().starts_with('Z'), version == 1, "{short}");
        assert!(indirect.to_string().starts_with("Ix"), "{indirect}");
        assert!(!raw.to_string().starts_with('Z'), "noise does not get smaller");
        let other = world.open(memory).unwrap();
        let read = |id| other.open_object(id).unwrap().read_to_end(u64::MAX).unwrap();
        assert!(read(short) == text.as_bytes());
        assert!(read(indirect) == long.as_bytes());
        assert!(read(raw) == noise(5000, 1));
    }
}

#[test]
fn lists_that_are_long_themselves_are_lists_of_lists() {
    let format = FormatOptions {
        splitter: "FIXED-128K".into(),
        ..FormatOptions::default()
    };
    let (_, _, repository) = created(&format);
    let writer = repository.write().unwrap();
    let mut object = writer.object();
    object.write_zeros(300 << 20).unwrap();
    object.write(b"the end").unwrap();
    let (id, length) = object.finish().unwrap();
    writer.commit().unwrap();
    assert!(id.to_string().starts_with("IIx"), "{id}");
    let mut reader = repository.open_object(id).unwrap();
    assert_eq!(reader.length(), Some(length));
    let mut read = 0;
    let mut last = bytes::Bytes::new();
    while let Some(piece) = reader.next_piece().unwrap() {
        read += piece.len() as u64;
        last = piece;
    }
    assert_eq!((read, &*last), (length, b"the end".as_slice()));
}

#[test]
fn parts_written_side_by_side_are_joined_without_writing_them_again() {
    let (_, memory, repository) = created(&FormatOptions::default());
    let writer = repository.write().unwrap();
    let parts: Vec<Vec<u8>> = [9 << 20, 5, 0, 12 << 20]
        .into_iter()
        .zip(0..)
        .map(|(n, seed)| noise(n, seed))
        .collect();
    let objects: Vec<(ObjectId, u64)> = parts
        .iter()
        .map(|part| {
            let mut object = writer.object();
            object.write(part).unwrap();
            object.finish().unwrap()
        })
        .collect();
    writer.commit().unwrap();
    let packs = count(&memory, "p");
    let writer = repository.write().unwrap();
    let (joined, length) = writer.concatenate(&objects).unwrap();
    writer.commit().unwrap();
    assert_eq!(count(&memory, "p"), packs, "no file data is written again");
    assert!(joined.to_string().starts_with("Ix"));
    let whole = parts.concat();
    assert_eq!(length, whole.len() as u64);
    let reader = repository.open_object(joined).unwrap();
    assert!(reader.read_to_end(u64::MAX).unwrap() == whole);
}

#[test]
fn splitter_of_one_object_does_not_change_the_repository() {
    let (_, _, repository) = created(&FormatOptions::default());
    let writer = repository.write().unwrap();
    let mut object = writer.object_with(ObjectOptions {
        compressor: None,
        splitter: Some(splitter::Rule::by_name("FIXED-1M").unwrap()),
    });
    object.write(&noise(3 << 20, 1)).unwrap();
    let (id, _) = object.finish().unwrap();
    writer.commit().unwrap();
    let mut reader = repository.open_object(id).unwrap();
    let mut starts = Vec::new();
    while let Some(location) = reader.next_location().unwrap() {
        starts.push(location.start);
    }
    assert_eq!(starts, [0, 1 << 20, 2 << 20]);
}

#[test]
fn password_and_parameters_can_be_changed_and_unknown_settings_survive() {
    let (world, memory, repository) = created(&FormatOptions::default());
    let id = save_file(&repository, "a", b"abc").unwrap();
    let epochs = EpochParameters {
        full_checkpoint_frequency: 9,
        ..EpochParameters::standard()
    };
    let change = ParameterChange {
        max_pack_size: Some(30 << 20),
        epochs: Some(epochs.clone()),
        ..ParameterChange::default()
    };
    repository.set_parameters(&change).unwrap();
    let error = repository.set_parameters(&change).unwrap_err();
    assert_eq!(
        error.kind(),
        RepositoryErrorKind::Locked,
        "it was read before the change"
    );
    let repository = world.open(memory.clone()).unwrap();
    let own = repository.format_options();
    assert_eq!((own.max_pack_size, own.epochs), (30 << 20, epochs));
    let too_large = ParameterChange {
        max_pack_size: Some(1 << 30),
        epochs: None,
        ..ParameterChange::default()
    };
    assert!(repository.set_parameters(&too_large).is_err());

    repository.change_password(&"another".into()).unwrap();
    let error = world.open(memory.clone()).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::WrongPassword);
    let repository = world.open_with(memory, "another").unwrap();
    assert_eq!(read_file(&repository, &id).unwrap(), b"abc");

    let format = FormatOptions {
        version: 1,
        ..FormatOptions::default()
    };
    let (_, _, old) = created(&format);
    assert!(old.change_password(&"x".into()).is_err());
}
