//! A repository under retention (kopia-format.md 12): what is locked and for how long, and what is refused where locks cannot
//! be. On storage in memory; with the real kopia on a real S3 server in `kopia_object_lock.rs`.
#![allow(clippy::unwrap_used)]

mod simulated;

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use caravel_repository::maintenance::{MaintenanceOptions, Mode, Outcome};
use caravel_repository::*;
use caravel_storage::{
    BlobId, BlobMetadata, ObjectLock, Operation, Storage, StorageError, StorageErrorKind,
    faulty::{Fault, FaultyStorage, Rule},
    filesystem::FilesystemStorage,
    memory::MemoryStorage,
};
use futures::FutureExt;
use jiff::SignedDuration;
use simulated::*;

const HOUR: i64 = 3_600_000_000_000;

fn retention(hours: i64) -> Option<Retention> {
    Some(Retention {
        mode: "GOVERNANCE".into(),
        period: hours * HOUR,
    })
}

fn under(retention: Option<Retention>) -> FormatOptions {
    FormatOptions {
        retention,
        ..FormatOptions::default()
    }
}

fn names(memory: &MemoryStorage) -> Vec<BlobId> {
    let listed = memory.list("").now_or_never().unwrap().unwrap();
    listed.into_iter().map(|blob| blob.id).collect()
}

/// The locks by the blobs' first letters; each letter must have one answer.
fn locks(memory: &MemoryStorage) -> Vec<(String, Option<ObjectLock>)> {
    let mut found: Vec<_> = names(memory)
        .iter()
        .map(|id| (id.as_str().to_owned(), memory.lock_of(id)))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn packs_indexes_and_the_format_are_locked_for_the_period_and_nothing_else_is() {
    let (world, memory) = (World::new(3), Arc::new(MemoryStorage::new()));
    world.create_with(memory.clone(), &under(retention(48))).unwrap();
    let repository = world.open(memory.clone()).unwrap();
    assert_eq!(repository.format_options().retention, retention(48));
    save_file(&repository, "a", &noise(100_000, 1)).unwrap();
    let until = world.clock.now() + SignedDuration::from_hours(48);
    let mut seen = String::new();
    for (name, lock) in locks(&memory) {
        let covered = ["p", "q", "x", "n", "kopia.repository", "kopia.blobcfg"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        assert_eq!(lock.is_some(), covered, "{name}");
        let Some(lock) = lock else { continue };
        assert_eq!(lock.mode.to_string(), "GOVERNANCE");
        // The clock of the simulation moves a little with each look.
        let early = until.duration_since(lock.until);
        assert!(
            early >= SignedDuration::ZERO && early < SignedDuration::from_mins(1),
            "{name}: {lock:?}"
        );
        seen.extend(name.chars().next());
    }
    for letter in ["k", "p", "q", "x"] {
        assert!(seen.contains(letter), "{seen}");
    }
}

#[test]
fn where_locks_cannot_be_nothing_is_created_written_or_changed() {
    let (world, folder) = (World::new(3), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let storage: Arc<dyn Storage> =
        Arc::new(runtime.block_on(FilesystemStorage::open(folder.path())).unwrap());
    let password = secrecy::SecretString::from("secret");
    let options = CreateOptions {
        username: "u".into(),
        hostname: "h".into(),
    };
    let environment = Environment::system();
    let format = under(retention(48));
    let created = create_with(storage.clone(), &password, &options, &format, environment.clone());
    let refused = runtime.block_on(created).unwrap_err();
    assert_eq!(refused.kind(), RepositoryErrorKind::Invalid, "{refused}");
    assert_eq!(runtime.block_on(storage.list("")).unwrap(), []);

    // A mode that only Azure has, and which is read all the same.
    let memory = Arc::new(MemoryStorage::new());
    let azures = Retention {
        mode: "Locked".into(),
        ..retention(48).unwrap()
    };
    let refused = world
        .create_with(memory.clone(), &under(Some(azures.clone())))
        .unwrap_err();
    assert_eq!(refused.kind(), RepositoryErrorKind::Invalid, "{refused}");
    assert_eq!(names(&memory), []);
    world.create(memory.clone()).unwrap();
    let repository = world.open(memory.clone()).unwrap();
    let change = ParameterChange {
        retention: Some(Some(azures)),
        ..ParameterChange::default()
    };
    let before = names(&memory);
    let refused = repository.set_parameters(&change).unwrap_err();
    assert_eq!(refused.kind(), RepositoryErrorKind::Invalid, "{refused}");
    assert_eq!(names(&memory), before);
}

#[test]
fn retention_begins_changes_and_ends_with_the_parameters() {
    let (world, memory) = (World::new(3), Arc::new(MemoryStorage::new()));
    world.create(memory.clone()).unwrap();
    let format = BlobId::from("kopia.repository");
    assert_eq!(memory.lock_of(&format), None);
    for (hours, locked) in [(Some(48), true), (Some(72), true), (None, false)] {
        let wanted = hours.and_then(retention);
        let change = ParameterChange {
            retention: Some(wanted.clone()),
            ..ParameterChange::default()
        };
        world
            .open(memory.clone())
            .unwrap()
            .set_parameters(&change)
            .unwrap();
        let repository = world.open(memory.clone()).unwrap();
        assert_eq!(repository.format_options().retention, wanted);
        assert_eq!(memory.lock_of(&format).is_some(), locked, "{hours:?}");
        let before = names(&memory);
        save_file(&repository, "a", &noise(10_000, 7 + hours.unwrap_or(0) as u64)).unwrap();
        for id in names(&memory).iter().filter(|id| !before.contains(id)) {
            let covered = !id.as_str().starts_with(['s', '_']);
            assert_eq!(memory.lock_of(id).is_some(), locked && covered, "{id}");
        }
    }
}

#[test]
fn full_maintenance_locks_for_the_whole_period_again_when_it_is_asked_to() {
    let world = World::new(3);
    let memory = Arc::new(world.memory());
    world.create_with(memory.clone(), &under(retention(72))).unwrap();
    let repository = world.open(memory.clone()).unwrap();
    save_file(&repository, "a", &noise(100_000, 1)).unwrap();
    let format = BlobId::from("kopia.repository");
    let first = memory.lock_of(&format).unwrap().until;
    let run = || {
        world.clock.advance_secs(24 * 3600);
        let options = MaintenanceOptions {
            mode: Mode::Full,
            ..MaintenanceOptions::default()
        };
        let outcome = world
            .open(memory.clone())
            .unwrap()
            .run_maintenance(&options)
            .unwrap();
        assert!(matches!(outcome, Outcome::Done(_)));
    };
    run();
    assert_eq!(
        memory.lock_of(&format).unwrap().until,
        first,
        "nobody asked for it"
    );

    let mut parameters = repository.maintenance_parameters().unwrap();
    parameters.extend_object_locks = true;
    parameters.full.interval = 49 * HOUR;
    let refused = repository.set_maintenance_parameters(&parameters).unwrap_err();
    assert_eq!(refused.kind(), RepositoryErrorKind::Invalid, "{refused}");
    parameters.full.interval = 48 * HOUR;
    repository.set_maintenance_parameters(&parameters).unwrap();
    let shorter = ParameterChange {
        retention: Some(retention(71)),
        ..ParameterChange::default()
    };
    let refused = world
        .open(memory.clone())
        .unwrap()
        .set_parameters(&shorter)
        .unwrap_err();
    assert_eq!(refused.kind(), RepositoryErrorKind::Invalid, "{refused}");

    run();
    let now = world.clock.now();
    for (name, lock) in locks(&memory) {
        let Some(lock) = lock else { continue };
        let left = lock.until.duration_since(now);
        assert!(left > SignedDuration::from_hours(71), "{name}: {left}");
    }
    let schedule = world
        .open(memory.clone())
        .unwrap()
        .maintenance_schedule()
        .unwrap();
    let noted = &schedule.runs["extend-blob-retention-time"][0];
    assert!(noted.success);
    assert_eq!(noted.extra[0].kind, "extendBlobRetentionStats");
    assert_eq!(noted.extra[0].data["retentionPeriod"], "72h0m0s");
    assert_eq!(
        noted.extra[0].data["toExtendBlobCount"],
        noted.extra[0].data["extendedBlobCount"]
    );
}

#[test]
fn one_lock_that_cannot_be_extended_leaves_no_other_as_it_was() {
    let world = World::new(3);
    let memory = Arc::new(world.memory());
    world.create_with(memory.clone(), &under(retention(72))).unwrap();
    let repository = world.open(memory.clone()).unwrap();
    let mut parameters = repository.maintenance_parameters().unwrap();
    parameters.extend_object_locks = true;
    repository.set_maintenance_parameters(&parameters).unwrap();
    for n in 0..30 {
        save_file(&repository, &format!("{n}"), &noise(50_000, n)).unwrap();
    }
    world.clock.advance_secs(24 * 3600);
    // One of the first to be asked for.
    let refused = Rule::always(Fault::Fail(StorageErrorKind::Denied)).on(Operation::ExtendLock);
    let faulty = FaultyStorage::new(memory.clone()).with(refused.named("kopia.blobcfg"));
    let options = MaintenanceOptions {
        mode: Mode::Full,
        ..MaintenanceOptions::default()
    };
    let failed = world
        .open(Arc::new(faulty))
        .unwrap()
        .run_maintenance(&options)
        .unwrap_err();
    assert!(
        failed
            .to_string()
            .contains("the locks of 1 blobs could not be extended"),
        "{failed}"
    );
    let now = world.clock.now();
    let short: Vec<_> = locks(&memory)
        .into_iter()
        .filter_map(|(name, lock)| Some((name, lock?)))
        .filter(|(_, lock)| lock.until.duration_since(now) < SignedDuration::from_hours(71))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(short, ["kopia.blobcfg"]);
}

#[test]
fn a_creation_that_breaks_off_leaves_no_repository_without_its_locks() {
    let (world, memory) = (World::new(3), Arc::new(MemoryStorage::new()));
    let dies = Rule::always(Fault::Fail(StorageErrorKind::Unavailable)).named("kopia.repository");
    let faulty = FaultyStorage::new(memory.clone()).with(dies);
    world
        .create_with(Arc::new(faulty), &under(retention(48)))
        .unwrap_err();
    assert_eq!(names(&memory), [BlobId::from("kopia.blobcfg")]);
    assert!(world.open(memory.clone()).is_err());
    let again = world
        .create_with(memory.clone(), &under(retention(48)))
        .unwrap_err();
    assert_eq!(again.kind(), RepositoryErrorKind::AlreadyInitialized);
    assert!(again.to_string().contains("a creation broke off"), "{again}");
}

/// A storage that knows no locks, as Azure's is to us.
#[derive(Debug)]
struct WithoutLocks(Arc<MemoryStorage>);

#[async_trait::async_trait]
impl Storage for WithoutLocks {
    async fn put(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.0.put(id, data).await
    }

    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.0.put_if_absent(id, data).await
    }

    async fn get(&self, id: &BlobId) -> Result<Bytes, StorageError> {
        self.0.get(id).await
    }

    async fn get_range(&self, id: &BlobId, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.0.get_range(id, range).await
    }

    async fn metadata(&self, id: &BlobId) -> Result<BlobMetadata, StorageError> {
        self.0.metadata(id).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobMetadata>, StorageError> {
        self.0.list(prefix).await
    }

    async fn delete(&self, id: &BlobId) -> Result<(), StorageError> {
        self.0.delete(id).await
    }
}

#[test]
fn maintenance_that_cannot_keep_the_retention_leaves_the_schedule_to_who_can() {
    let world = World::new(3);
    let memory = Arc::new(world.memory());
    world.create_with(memory.clone(), &under(retention(72))).unwrap();
    let without_locks = || world.open(Arc::new(WithoutLocks(memory.clone()))).unwrap();
    let before = without_locks().maintenance_schedule().unwrap();
    let refused = without_locks()
        .run_maintenance(&MaintenanceOptions::default())
        .unwrap_err();
    assert_eq!(refused.kind(), RepositoryErrorKind::Unsupported, "{refused}");
    assert_eq!(without_locks().maintenance_schedule().unwrap(), before);
}
