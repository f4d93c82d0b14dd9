//! Bad input of issue 5: each has a kind of its own and says what to do, and nothing is written in any of them.
#![allow(clippy::unwrap_used)]

mod simulated;

use std::{sync::Arc, time::Duration};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use caravel_repository::{crypto::envelope::Envelope, *};
use caravel_storage::{
    BlobId, Operation, Storage, StorageErrorKind,
    faulty::{Fault, FaultyStorage, Rule},
    memory::MemoryStorage,
};
use futures::FutureExt;
use serde_json::{Value, json};
use simulated::*;

const FORMAT: &str = "kopia.repository";

/// A repository with one snapshot, seen through a storage that notes every call.
fn recorded() -> (World, Arc<MemoryStorage>, Arc<FaultyStorage>) {
    let (world, memory) = (World::new(21), Arc::new(MemoryStorage::new()));
    world.create(memory.clone()).unwrap();
    let repository = world.open(memory.clone()).unwrap();
    save_file(&repository, "a", &noise(100_000, 1)).unwrap();
    let recorded = Arc::new(FaultyStorage::new(memory.clone()));
    (world, memory, recorded)
}

fn writes(storage: &FaultyStorage) -> Vec<(Operation, String)> {
    let changes = [Operation::Put, Operation::PutIfAbsent, Operation::Delete];
    let calls = storage.calls().into_iter();
    calls
        .filter(|(operation, _)| changes.contains(operation))
        .collect()
}

fn get(storage: &dyn Storage, name: &str) -> Bytes {
    storage.get(&BlobId::from(name)).now_or_never().unwrap().unwrap()
}

fn put(storage: &dyn Storage, name: &str, bytes: Vec<u8>) {
    let id = BlobId::from(name);
    storage.put(&id, bytes.into()).now_or_never().unwrap().unwrap();
}

/// Changes the sealed settings, as a newer client could.
fn change_settings(world: &World, memory: &MemoryStorage, change: impl FnOnce(&mut Value)) {
    let mut outer: Value = serde_json::from_slice(&get(memory, FORMAT)).unwrap();
    let decoded = |field: &Value| BASE64_STANDARD.decode(field.as_str().unwrap()).unwrap();
    let unique_id = decoded(&outer["uniqueID"]);
    let derivation = &world.environment.key_derivation;
    let key = derivation
        .derive("scrypt-65536-8-1", b"secret", &unique_id)
        .unwrap();
    let envelope = Envelope::new(&key, &unique_id);
    let plain = envelope.open(&decoded(&outer["encryptedBlockFormat"])).unwrap();
    let mut inner: Value = serde_json::from_slice(&plain).unwrap();
    change(&mut inner["format"]);
    let sealed = envelope.seal(&world.environment, inner.to_string().as_bytes());
    outer["encryptedBlockFormat"] = BASE64_STANDARD.encode(sealed).into();
    put(memory, FORMAT, outer.to_string().into_bytes());
}

/// Opening fails with this kind and these words, and changes nothing.
fn refused(world: &World, storage: &Arc<FaultyStorage>, kind: RepositoryErrorKind, words: &str) {
    let error = world.open(storage.clone()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{words:?} in {error}");
    assert_eq!(writes(storage), []);
}

#[test]
fn wrong_password() {
    let (world, _, storage) = recorded();
    let error = world.open_with(storage.clone(), "guess").unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::WrongPassword);
    assert!(error.to_string().contains("give the one it was created with"));
    assert_eq!(writes(&storage), []);
}

#[test]
fn unknown_required_feature() {
    let (world, memory, storage) = recorded();
    change_settings(&world, &memory, |format| {
        format["requiredFeatures"] =
            json!([{"feature": "quantum-packs", "ifNotUnderstood": {"warn": false}}]);
    });
    refused(
        &world,
        &storage,
        RepositoryErrorKind::MissingFeature,
        "quantum-packs",
    );
}

#[test]
fn newer_version() {
    let (world, memory, storage) = recorded();
    change_settings(&world, &memory, |format| format["version"] = json!(4));
    refused(
        &world,
        &storage,
        RepositoryErrorKind::NewerVersion,
        "use a newer version",
    );
}

fn lock(created: &str) -> Value {
    let minute = 60_000_000_000_u64;
    json!({"ownerID": "ann", "creationTime": created, "ioDrainTimeout": 15 * minute,
           "statusPollInterval": minute, "message": "to version 3", "maxPermittedClockDrift": 5 * minute})
}

#[test]
fn upgrade_lock_before_opening() {
    let (world, memory, storage) = recorded();
    change_settings(&world, &memory, |format| {
        format["upgradeLock"] = lock("2026-09-21T00:00:00Z")
    });
    refused(&world, &storage, RepositoryErrorKind::Locked, "ann");
}

#[test]
fn upgrade_lock_that_comes_while_we_write_stops_the_commit() {
    let (world, memory, storage) = recorded();
    let repository = world.open(storage.clone()).unwrap();
    let writer = repository.write().unwrap();
    let id = put_file(&writer, "late", &noise(1000, 9)).unwrap();
    change_settings(&world, &memory, |format| {
        format["upgradeLock"] = lock("2026-09-21T00:00:00Z")
    });
    world.clock.advance_secs(16 * 60);
    let error = writer.commit().unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::Locked, "{error}");
    assert_eq!(writes(&storage), []);
    assert!(repository.write().is_err());
    change_settings(&world, &memory, |format| {
        drop(format.as_object_mut().unwrap().remove("upgradeLock"))
    });
    writer.commit().unwrap();
    assert!(read_file(&repository, &id).unwrap() == noise(1000, 9));
}

#[test]
fn changed_password_and_new_features_stop_the_commit_too() {
    let (world, memory, storage) = recorded();
    let repository = world.open(storage.clone()).unwrap();
    let writer = repository.write().unwrap();
    put_file(&writer, "late", b"x").unwrap();
    let before = get(&*memory, FORMAT).to_vec();
    change_settings(&world, &memory, |format| {
        format["requiredFeatures"] = json!([{"feature": "new", "ifNotUnderstood": {}}]);
    });
    world.clock.advance_secs(16 * 60);
    assert_eq!(
        writer.commit().unwrap_err().kind(),
        RepositoryErrorKind::MissingFeature
    );
    let mut outer: Value = serde_json::from_slice(&before).unwrap();
    outer["encryptedBlockFormat"] = BASE64_STANDARD.encode([7; 100]).into();
    put(&*memory, FORMAT, outer.to_string().into_bytes());
    assert_eq!(
        writer.commit().unwrap_err().kind(),
        RepositoryErrorKind::WrongPassword
    );
    assert_eq!(writes(&storage), []);
}

#[test]
fn another_programs_files() {
    let (world, memory) = (World::new(22), Arc::new(MemoryStorage::new()));
    put(&*memory, "config", b"restic".to_vec());
    let storage = Arc::new(FaultyStorage::new(memory.clone()));
    let error = world.create(storage.clone()).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::ForeignFiles);
    assert!(error.to_string().contains("config") && error.to_string().contains("choose an empty place"));
    put(&*memory, FORMAT, b"<html>not found</html>".to_vec());
    refused(
        &world,
        &storage,
        RepositoryErrorKind::ForeignFiles,
        "another program's files",
    );
}

#[test]
fn storage_without_room_or_without_writes() {
    for (fault, kind, words) in [
        (
            StorageErrorKind::NoSpace,
            RepositoryErrorKind::NoSpace,
            "make room",
        ),
        (
            StorageErrorKind::ReadOnly,
            RepositoryErrorKind::ReadOnly,
            "make the storage writable",
        ),
    ] {
        let (world, memory, storage) = recorded();
        let names = || memory.list("").now_or_never().unwrap().unwrap();
        let before = names();
        storage.add(Rule::always(Fault::Fail(fault)).on(Operation::Put));
        let repository = world.open(storage.clone()).unwrap();
        let error = save_file(&repository, "more", &noise(3 << 20, 5)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(names(), before, "nothing was written");
        storage.clear();
        assert_eq!(check_whole(&repository), 1, "what was there is readable");
    }
}

#[test]
fn clock_that_lags_behind_the_storage() {
    let (world, _, storage) = recorded();
    let repository = world.open(storage.clone()).unwrap();
    // The store in memory has the system's clock; this world's stands in September 2026 or wherever it is set.
    let error = repository.check_clock(Duration::from_secs(300)).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::ClockSkew);
    assert!(error.to_string().contains("set the clock"), "{error}");
    world.clock.advance_secs(100 * 365 * 24 * 3600);
    repository.check_clock(Duration::from_secs(300)).unwrap();
    assert_eq!(writes(&storage), []);
}
