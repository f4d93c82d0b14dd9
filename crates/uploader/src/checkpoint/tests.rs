//! Uploads that are killed on the way, and the ones that come after. Names of files are unique in this process, because
//! `opened` counts by them.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use caravel_repository::{Clock, Environment, Repository, Snapshot, SnapshotFilter};
use caravel_storage::faulty::{Fault, FaultyStorage, Rule};
use caravel_storage::{Operation, StorageErrorKind};
use jiff::Timestamp;

use crate::filesystem::opened;
use crate::tests::{World, noise, picture, request};
use crate::*;

/// A clock that goes on by so many seconds each time somebody looks.
struct Stepping {
    now: AtomicI64,
    step: i64,
}

impl Clock for Stepping {
    fn now(&self) -> Timestamp {
        let second = self.now.fetch_add(self.step, Ordering::Relaxed);
        Timestamp::from_second(second).expect("in range")
    }
}

/// A clock on which an hour passes when so many bytes are done.
struct Late {
    progress: Progress,
    bytes: u64,
}

impl Clock for Late {
    fn now(&self) -> Timestamp {
        let hours = i64::from(self.progress.bytes_done() >= self.bytes);
        Timestamp::from_second(1_700_000_000 + hours * 3600).expect("in range")
    }
}

fn with(clock: impl Clock + 'static) -> Environment {
    Environment {
        clock: Arc::new(clock),
        ..Environment::system()
    }
}

/// Runs an upload, one file at a time, that saves a checkpoint after so many bytes and is killed later: from its second
/// commit on nothing that it does counts.
fn run_and_kill(world: &World, request: &UploadRequest, bytes: u64) {
    let progress = Progress::default();
    let killed = Rule::always(Fault::Fail(StorageErrorKind::Unavailable));
    let dying =
        FaultyStorage::new(world.storage.clone()).with(killed.on(Operation::Put).named("xn").after(1));
    let environment = with(Late {
        progress: progress.clone(),
        bytes,
    });
    let request = UploadRequest {
        parallel_files: Some(1),
        ..request.clone()
    };
    let repository = world.open(Arc::new(dying), environment);
    upload(&repository, &request, &progress, &CancelToken::default()).expect_err("it was killed");
}

fn run(repository: &Repository, request: &UploadRequest) -> Result<UploadOutcome, UploadError> {
    upload(repository, request, &Progress::default(), &CancelToken::default())
}

fn snapshots(repository: &Repository) -> Vec<Snapshot> {
    let all = SnapshotFilter {
        include_incomplete: true,
        ..SnapshotFilter::default()
    };
    repository.find_snapshots(&all).expect("a list")
}

fn only_checkpoint(repository: &Repository) -> Vec<String> {
    let snapshots = snapshots(repository);
    let [checkpoint] = snapshots.as_slice() else {
        panic!("{snapshots:?}")
    };
    let manifest = &checkpoint.manifest;
    assert_eq!(manifest.incomplete, "checkpoint");
    assert!(manifest.tags.is_empty() && manifest.pins.is_empty() && manifest.description.is_empty());
    let root = manifest.root_entry.as_ref().expect("a root");
    assert_eq!(root.summary.as_ref().expect("a summary").incomplete, "checkpoint");
    let directory = repository.read_directory(root.object).expect("a directory");
    directory.entries.into_iter().map(|entry| entry.name).collect()
}

#[test]
fn the_second_try_of_a_killed_upload_reuses_what_the_checkpoint_names() {
    let world = World::new();
    let source = world.folder("source");
    let names: Vec<String> = (0..8).map(|n| format!("killed-{n}")).collect();
    for (n, name) in (0..).zip(&names) {
        fs::create_dir_all(source.join("folder")).expect("a folder");
        fs::write(source.join("folder").join(name), noise(10_000, n)).expect("a file");
    }
    let request = request(&source);
    run_and_kill(&world, &request, 50_000);

    let repository = world.repository();
    assert_eq!(only_checkpoint(&repository), ["folder"]);
    let root = snapshots(&repository)[0]
        .manifest
        .root_entry
        .clone()
        .expect("a root");
    let folder = repository
        .read_directory(root.object)
        .expect("a directory")
        .entries[0]
        .object;
    let named: Vec<String> = repository
        .read_directory(folder)
        .expect("a directory")
        .entries
        .into_iter()
        .map(|entry| entry.name)
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert!((1..8).contains(&named.len()), "{named:?}");
    let before: Vec<usize> = names.iter().map(|name| opened::count(name)).collect();

    let outcome = run(&repository, &request).expect("the second try");
    for (name, before) in names.iter().zip(before) {
        let read_again = opened::count(name) - before;
        assert_eq!(read_again, usize::from(!named.contains(name)), "{name}");
    }
    assert_eq!(outcome.total_bytes, 80_000);
    assert_eq!(
        outcome.incremental_bytes, 80_000,
        "no complete snapshot had any of it"
    );
    let left = snapshots(&world.repository());
    assert_eq!(left.len(), 1, "the checkpoint is gone");
    assert_eq!(left[0].manifest.incomplete, "");
    let target = world.folder("target");
    world.restore(&outcome.snapshot_id, &target).expect("a restore");
    assert_eq!(picture(&target), picture(&source));
}

#[test]
fn a_file_that_changed_since_the_checkpoint_is_read_again() {
    let world = World::new();
    let source = world.folder("source");
    for n in 0..4 {
        fs::write(source.join(format!("altered-{n}")), noise(5_000, n)).expect("a file");
    }
    let request = request(&source);
    run_and_kill(&world, &request, 10_000);
    assert!(only_checkpoint(&world.repository()).contains(&"altered-0".to_owned()));
    fs::write(source.join("altered-0"), noise(5_000, 99)).expect("another content");
    let before = opened::count("altered-0");
    let outcome = run(&world.repository(), &request).expect("the second try");
    assert_eq!(opened::count("altered-0"), before + 1);
    let target = world.folder("target");
    world.restore(&outcome.snapshot_id, &target).expect("a restore");
    assert_eq!(picture(&target), picture(&source));
}

#[test]
fn a_checkpoint_names_what_is_complete_of_a_file_that_is_still_being_read() {
    let world = World::new();
    let source = world.folder("source");
    fs::write(source.join("long-file"), noise(24 << 20, 7)).expect("a file");
    let request = request(&source);
    run_and_kill(&world, &request, 12 << 20);
    let names = only_checkpoint(&world.repository());
    assert!(
        names.len() == 1 && names[0].starts_with(".checkpointed.long-file."),
        "{names:?}"
    );
    let outcome = run(&world.repository(), &request).expect("the second try");
    let target = world.folder("target");
    world.restore(&outcome.snapshot_id, &target).expect("a restore");
    assert_eq!(picture(&target), picture(&source));
}

#[test]
fn a_killed_upload_of_a_device_leaves_what_was_sent_in_use() {
    let world = World::new();
    let device = world.folder("devices").join("device");
    fs::write(&device, noise(24 << 20, 8)).expect("a stand-in for a device");
    let request = UploadRequest {
        mode: VolumeMode::Block,
        ..request(&device)
    };
    run_and_kill(&world, &request, 12 << 20);
    let names = only_checkpoint(&world.repository());
    assert!(names[0].starts_with(".checkpointed."), "{names:?}");
    let outcome = run(&world.repository(), &request).expect("the second try");
    assert!(
        outcome.incremental_bytes < outcome.total_bytes,
        "what the first try has sent is not sent again"
    );
    assert_eq!(snapshots(&world.repository()).len(), 1);
}

#[test]
fn checkpoints_come_at_their_interval_and_not_before() {
    let commits = |step: i64| {
        let world = World::new();
        let source = world.folder("source");
        for n in 0..60 {
            fs::write(source.join(format!("hourly-{step}-{n}")), noise(100, n)).expect("a file");
        }
        let counted = FaultyStorage::new(world.storage.clone());
        let repository = world.open(
            Arc::new(counted.clone()),
            with(Stepping {
                now: AtomicI64::new(1_700_000_000),
                step,
            }),
        );
        run(&repository, &request(&source)).expect("an upload");
        let calls = counted.calls();
        calls
            .iter()
            .filter(|(operation, name)| *operation == Operation::Put && name.starts_with("xn"))
            .count()
    };
    assert_eq!(commits(0), 1, "in no time there is only the snapshot itself");
    assert!(commits(60) > 1, "the clock passes 45 minutes several times");
}

#[test]
fn several_readers_and_many_checkpoints_at_once_give_the_same_snapshot() {
    let world = World::new();
    let source = world.folder("source");
    for n in 0..40 {
        let folder = source.join(format!("a{}/b{}", n % 3, n % 7));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(
            folder.join(format!("many-{n}")),
            noise(3_000 + 400_000 * (n as usize % 2), n),
        )
        .expect("a file");
    }
    let request = UploadRequest {
        parallel_files: Some(4),
        // Before each file, and before each piece of one.
        checkpoint_interval: Duration::ZERO,
        ..request(&source)
    };
    let outcome = run(&world.repository(), &request).expect("an upload");
    let target = world.folder("target");
    world.restore(&outcome.snapshot_id, &target).expect("a restore");
    assert_eq!(picture(&target), picture(&source));
    assert_eq!(snapshots(&world.repository()).len(), 1);
}
