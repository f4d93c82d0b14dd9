//! Maintenance on simulated storage and time: what it removes, what it never removes, what it leaves for others.
#![allow(clippy::unwrap_used)]

mod simulated;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use caravel_repository::{maintenance::*, *};
use caravel_storage::{BlobId, Storage, memory::MemoryStorage};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use simulated::*;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

struct Place {
    world: World,
    memory: Arc<MemoryStorage>,
}

impl Place {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let memory = Arc::new(world.memory());
        world.create(memory.clone()).unwrap();
        Self { world, memory }
    }

    fn open(&self) -> Repository {
        self.world.open(self.memory.clone()).unwrap()
    }

    fn pass(&self, secs: i64) {
        self.world.clock.advance_secs(secs);
    }

    fn run(&self, mode: Mode) -> Plan {
        match self.open().run_maintenance(&options(mode)).unwrap() {
            Outcome::Done(plan) => plan,
            other => panic!("{other:?}"),
        }
    }

    /// A full maintenance every day.
    fn days(&self, days: usize) {
        for _ in 0..days {
            self.pass(DAY + 60);
            self.run(Mode::Full);
        }
    }

    fn names(&self, prefix: &str) -> Vec<String> {
        let listed = self.memory.list(prefix).now_or_never().unwrap().unwrap();
        listed.iter().map(|blob| blob.id.as_str().to_owned()).collect()
    }

    fn delete_blob(&self, name: &str) {
        let id = BlobId::from(name);
        self.memory.delete(&id).now_or_never().unwrap().unwrap();
    }
}

fn options(mode: Mode) -> MaintenanceOptions {
    MaintenanceOptions {
        mode,
        ..MaintenanceOptions::default()
    }
}

fn forget(repository: &Repository, id: &ManifestId) {
    repository.delete_snapshot(id).now_or_never().unwrap().unwrap();
}

#[test]
fn parameters_and_owner_decide_who_maintains() {
    let place = Place::new(1);
    let repository = place.open();
    let mut parameters = repository.maintenance_parameters().unwrap();
    assert_eq!(parameters, MaintenanceParameters::standard("default@default"));
    parameters.owner = "someone@else".into();
    repository.set_maintenance_parameters(&parameters).unwrap();
    let error = place.open().run_maintenance(&options(Mode::Full)).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::NotOwner);
    assert!(error.to_string().contains("someone@else"), "{error}");
    let forced = MaintenanceOptions {
        force: true,
        ..options(Mode::Full)
    };
    assert!(matches!(
        place.open().run_maintenance(&forced),
        Ok(Outcome::Done(_))
    ));
}

#[test]
fn auto_runs_full_once_a_day_and_quick_once_an_hour() {
    let place = Place::new(2);
    let mut kinds = Vec::new();
    for _ in 0..50 {
        kinds.push(
            match place.open().run_maintenance(&options(Mode::Auto)).unwrap() {
                Outcome::Done(plan) => Some(plan.kind),
                Outcome::NotDue => None,
                Outcome::RunningElsewhere => panic!(),
            },
        );
        place.pass(HOUR / 2 + 30);
    }
    let count = |kind| kinds.iter().filter(|k| **k == kind).count();
    assert_eq!(
        (count(Some(Kind::Full)), count(Some(Kind::Quick)), count(None)),
        (2, 23, 25),
        "{kinds:?}"
    );
}

#[test]
fn space_of_a_deleted_snapshot_returns_within_days_and_the_others_stay() {
    let place = Place::new(3);
    let kept = save_file(&place.open(), "kept", &noise(3 << 20, 1)).unwrap();
    let gone = save_file(&place.open(), "gone", &noise(9 << 20, 2)).unwrap();
    place.days(2);
    let before = place.memory.total_bytes();
    forget(&place.open(), &gone);
    place.days(6);
    let after = place.memory.total_bytes();
    assert!(before - after > 8 << 20, "{before} bytes became {after}");
    let repository = place.open();
    assert_eq!(read_file(&repository, &kept).unwrap(), noise(3 << 20, 1));
    assert_eq!(check_whole(&repository), 1);
}

#[test]
fn nothing_is_removed_before_two_collections_have_agreed() {
    let place = Place::new(4);
    let gone = save_file(&place.open(), "gone", &noise(1 << 20, 2)).unwrap();
    let contents = place.open().live_contents();
    forget(&place.open(), &gone);
    place.days(2);
    // Marked, but still there for whoever needs it.
    let repository = place.open();
    for id in contents.iter().filter(|id| id.prefix() != Some(b'm')) {
        assert!(repository.content_matches_name(id).unwrap());
        assert!(!repository.live_contents().contains(id));
    }
}

#[test]
fn content_that_a_snapshot_took_up_again_is_revived() {
    let place = Place::new(5);
    let data = noise(2 << 20, 3);
    let first = save_file(&place.open(), "first", &data).unwrap();
    forget(&place.open(), &first);
    place.pass(2 * DAY);
    // A writer that knows the contents as live, at work while the collection marks them.
    let slow = place.open();
    let writer = slow.write().unwrap();
    let second = put_file(&writer, "second", &data).unwrap();
    let plan = place.run(Mode::Full);
    let Step::CollectSnapshots(gc) = &plan.steps[0] else {
        panic!("{plan}")
    };
    assert!(gc.deleted_content_count > 0, "{plan}");
    writer.commit().unwrap();
    assert_eq!(read_file(&place.open(), &second).unwrap(), data);
    place.pass(DAY + 60);
    let plan = place.run(Mode::Full);
    let Step::CollectSnapshots(gc) = &plan.steps[0] else {
        panic!("{plan}")
    };
    assert!(gc.recovered_content_count > 0, "{plan}");
    place.days(10);
    assert_eq!(read_file(&place.open(), &second).unwrap(), data);
    assert_eq!(check_whole(&place.open()), 1);
}

#[test]
fn short_packs_are_joined_and_go() {
    let place = Place::new(6);
    let mut snapshots = Vec::new();
    for n in 0..12 {
        snapshots.push(save_file(&place.open(), &format!("f{n}"), &noise(300_000, n)).unwrap());
    }
    assert_eq!(place.names("p").len(), 12);
    place.days(4);
    assert_eq!(place.names("p").len(), 1, "{:?}", place.names(""));
    for (n, id) in snapshots.iter().enumerate() {
        assert_eq!(read_file(&place.open(), id).unwrap(), noise(300_000, n as u64));
    }
    assert_eq!(check_whole(&place.open()), 12);
}

#[test]
fn epochs_advance_are_merged_and_cleaned_up() {
    let place = Place::new(7);
    let mut snapshots = BTreeMap::new();
    for round in 0..220u64 {
        let data = noise(2000, round);
        snapshots.insert(
            save_file(&place.open(), &format!("f{}", round % 5), &data).unwrap(),
            data,
        );
        place.pass(2 * HOUR);
        if round % 12 == 0 {
            place.run(Mode::Full);
        }
    }
    let count = |prefix: &str| place.names(prefix).len();
    let all = place.names("x");
    assert!(count("xs") > 0 && count("xr") > 0 && count("xw") > 0, "{all:?}");
    assert!(count("xe") <= 2, "{all:?}");
    assert!(count("xn") < 90, "{all:?}");
    let repository = place.open();
    for (id, data) in &snapshots {
        assert_eq!(&read_file(&repository, id).unwrap(), data);
    }
    assert_eq!(check_whole(&repository), 220);
}

#[test]
fn dry_run_says_what_would_be_done_and_writes_nothing() {
    let place = Place::new(8);
    let gone = save_file(&place.open(), "gone", &noise(1 << 20, 2)).unwrap();
    for n in 0..13 {
        save_file(&place.open(), &format!("f{n}"), &noise(1000, n)).unwrap();
    }
    forget(&place.open(), &gone);
    place.pass(2 * DAY);
    let before = place.names("");
    let plan = place.open().plan_maintenance(&options(Mode::Auto)).unwrap();
    assert_eq!(place.names(""), before);
    let text = plan.to_string();
    for expected in [
        "Full maintenance",
        "write the manifests of",
        "as deleted",
        "out of short packs",
        "no full-drop-deleted-content",
        "packs and markers",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(!text.contains("0 contents"), "{text}");
    let same = |a: &Step, b: &Step| match (a, b) {
        (Step::CollectSnapshots(a), Step::CollectSnapshots(b)) => {
            a.deleted_content_count == b.deleted_content_count
        }
        (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
    };
    let done = place.run(Mode::Full);
    assert!(
        same(&plan.steps[0], &done.steps[0]) && same(&plan.steps[1], &done.steps[1]),
        "{plan}{done}"
    );
}

#[test]
fn packs_of_a_session_at_work_stay_whatever_their_age() {
    let place = Place::new(9);
    let slow = place.open();
    let writer = slow.write().unwrap();
    // More than a pack, so that one is stored before the commit.
    let id = put_file(&writer, "slow", &noise(45 << 20, 1)).unwrap();
    let packs = place.names("p");
    assert!(!packs.is_empty());
    for _ in 0..3 {
        place.pass(DAY);
        place.run(Mode::Full);
    }
    assert!(packs.iter().all(|pack| place.names("p").contains(pack)));
    writer.commit().unwrap();
    assert_eq!(read_file(&place.open(), &id).unwrap(), noise(45 << 20, 1));
}

#[test]
fn leftovers_of_a_dead_writer_go_after_four_days() {
    let place = Place::new(10);
    let writer = place.open();
    let writer = writer.write().unwrap();
    put_file(&writer, "dead", &noise(45 << 20, 1)).unwrap();
    std::mem::drop(writer);
    assert!(place.names("p").len() == 2 && place.names("s").len() == 1);
    place.days(6);
    assert!(
        place.names("p").is_empty() && place.names("s").is_empty(),
        "{:?}",
        place.names("")
    );
}

#[test]
fn lost_index_is_not_taken_for_unneeded_packs() {
    let place = Place::new(11);
    save_file(&place.open(), "a", &noise(1 << 20, 1)).unwrap();
    place.names("x").iter().for_each(|name| place.delete_blob(name));
    place.pass(9 * DAY);
    let packs = (place.names("p"), place.names("q"));
    let forced = MaintenanceOptions {
        force: true,
        ..options(Mode::Full)
    };
    let error = place.open().run_maintenance(&forced).unwrap_err();
    assert!(error.to_string().contains("recover the index"), "{error}");
    assert_eq!(packs, (place.names("p"), place.names("q")));
}

#[test]
fn snapshot_that_cannot_be_walked_stops_the_collection_and_is_named() {
    let place = Place::new(12);
    let broken = save_file(&place.open(), "broken", &noise(1 << 20, 1)).unwrap();
    let metadata = place.names("q");
    let gone = save_file(&place.open(), "gone", &noise(1 << 20, 2)).unwrap();
    forget(&place.open(), &gone);
    let manifests = place.open().find_snapshots(&SnapshotFilter::default()).unwrap();
    assert_eq!(manifests.len(), 1);
    // Damage the directory: its pack is cut short. The manifests' own packs are left alone.
    let directory = metadata
        .iter()
        .find(|name| {
            let id = BlobId::from(name.as_str());
            let whole = place.memory.get(&id).now_or_never().unwrap().unwrap();
            place
                .memory
                .put(&id, Bytes::from(whole[..40].to_vec()))
                .now_or_never()
                .unwrap()
                .unwrap();
            let still_open = place.open().find_snapshots(&SnapshotFilter::default()).is_ok();
            if !still_open {
                place.memory.put(&id, whole).now_or_never().unwrap().unwrap();
            }
            still_open
        })
        .cloned();
    let Some(_) = directory else { return };
    place.pass(2 * DAY);
    let contents = place.open().live_contents();
    let error = place.open().run_maintenance(&options(Mode::Full)).unwrap_err();
    assert!(error.to_string().contains(broken.as_str()), "{error}");
    assert_eq!(place.open().live_contents(), contents);
    let schedule = place.open().maintenance_schedule().unwrap();
    assert!(!schedule.runs_of(Task::SnapshotGc)[0].success);
}

#[test]
fn clock_that_differs_from_the_storages_stops_maintenance() {
    let world = World::new(13);
    let clock = world.clock.clone();
    let ahead = MemoryStorage::with_clock(Arc::new(move || {
        clock.now().checked_add(SignedDuration::from_mins(6)).unwrap()
    }));
    let memory = Arc::new(ahead);
    world.create(memory.clone()).unwrap();
    let repository = world.open(memory.clone()).unwrap();
    let error = repository.run_maintenance(&options(Mode::Full)).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::ClockSkew);
    assert_eq!(repository.maintenance_schedule().unwrap(), Schedule::default());
}

#[test]
fn a_storage_that_is_slow_to_write_the_schedule_is_not_taken_for_one_with_another_clock() {
    let world = World::new(13);
    let (clock, is_slow) = (world.clock.clone(), Arc::new(AtomicBool::new(false)));
    let once = is_slow.clone();
    let slow = MemoryStorage::with_clock(Arc::new(move || {
        if once.swap(false, Ordering::Relaxed) {
            clock.advance_secs(26 * 60);
        }
        clock.now()
    }));
    let memory = Arc::new(slow);
    world.create(memory.clone()).unwrap();
    let repository = world.open(memory.clone()).unwrap();
    is_slow.store(true, Ordering::Relaxed);
    let error = repository.run_maintenance(&options(Mode::Full)).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::TooSlow, "{error}");
    assert!(error.to_string().contains("26m"), "{error}");
    assert_eq!(repository.maintenance_schedule().unwrap(), Schedule::default());
    let again = repository.run_maintenance(&options(Mode::Full)).unwrap();
    assert!(matches!(again, Outcome::Done(_)), "{again:?}");
}

#[test]
fn schedule_that_was_altered_is_damage_and_says_what_to_do() {
    let place = Place::new(14);
    place.run(Mode::Quick);
    let id = BlobId::from(SCHEDULE_BLOB);
    place
        .memory
        .put(&id, Bytes::from_static(b"junk"))
        .now_or_never()
        .unwrap()
        .unwrap();
    let error = place.open().maintenance_schedule().unwrap_err();
    assert!(
        error.kind() == RepositoryErrorKind::Damaged && error.to_string().contains("delete it"),
        "{error}"
    );
    place.delete_blob(SCHEDULE_BLOB);
    assert_eq!(place.open().maintenance_schedule().unwrap(), Schedule::default());
}

#[test]
fn logs_beyond_the_limits_go() {
    let place = Place::new(15);
    for n in 0..5 {
        let id = BlobId::from(format!("_log_{n}"));
        place
            .memory
            .put(&id, Bytes::from_static(b"log"))
            .now_or_never()
            .unwrap()
            .unwrap();
        place.pass(10 * DAY);
    }
    place.run(Mode::Full);
    assert_eq!(place.names("_"), ["_log_3", "_log_4"]);
}

#[test]
fn many_manifests_become_one_content() {
    let place = Place::new(16);
    for n in 0..15 {
        save_file(&place.open(), &format!("f{n}"), b"x").unwrap();
    }
    let manifests = |r: &Repository| {
        r.live_contents()
            .iter()
            .filter(|id| id.prefix() == Some(b'm'))
            .count()
    };
    assert_eq!(manifests(&place.open()), 16);
    let plan = place.run(Mode::Full);
    assert_eq!(plan.steps[0], Step::CompactManifests { contents: 16 });
    assert_eq!(manifests(&place.open()), 1);
    assert_eq!(check_whole(&place.open()), 15);
}

#[test]
fn schedule_keeps_what_it_does_not_know() {
    let mut schedule = Schedule::default();
    let run = Run {
        start: Timestamp::UNIX_EPOCH,
        end: Timestamp::UNIX_EPOCH,
        success: true,
        error: String::new(),
        extra: Vec::new(),
    };
    schedule.runs.insert("a-new-task".into(), vec![run]);
    let json = serde_json::to_string(&schedule).unwrap();
    assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
}
