//! What the disk cache promises: it saves requests, and nothing that lies in it, or happens to it, is ever believed
//! instead of the storage.
#![allow(clippy::unwrap_used)]

mod simulated;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use caravel_repository::*;
use caravel_storage::{BlobId, Operation, Storage, faulty::FaultyStorage, memory::MemoryStorage};
use futures::FutureExt;
use parking_lot::Mutex;
use simulated::*;

/// One machine with a cache folder, and a storage that remembers what was asked of it.
struct Machine {
    world: World,
    memory: Arc<MemoryStorage>,
    storage: FaultyStorage,
    folder: tempfile::TempDir,
    said: Arc<Mutex<Vec<String>>>,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let memory = Arc::new(MemoryStorage::new());
        world.create(memory.clone()).unwrap();
        Self {
            storage: FaultyStorage::new(memory.clone()),
            world,
            memory,
            folder: tempfile::tempdir().unwrap(),
            said: Arc::default(),
        }
    }

    fn settings(&self) -> CacheSettings {
        let said = self.said.clone();
        CacheSettings {
            notice: Notice::new(move |text| said.lock().push(text.to_owned())),
            ..CacheSettings::in_folder(self.folder.path().join("cache"))
        }
    }

    /// What a process of this machine opens.
    fn process(&self) -> Repository {
        self.process_with(self.settings())
    }

    fn process_with(&self, settings: CacheSettings) -> Repository {
        let mut world = self.world.clone();
        world.environment.cache = Some(settings);
        world.open(Arc::new(self.storage.clone())).unwrap()
    }

    /// A process of another machine, which knows nothing of the cache.
    fn elsewhere(&self) -> Repository {
        self.world.open(self.memory.clone()).unwrap()
    }

    /// What is asked of the storage meanwhile.
    fn asked<T>(&self, act: impl FnOnce() -> T) -> (T, Vec<(Operation, String)>) {
        let before = self.storage.calls().len();
        let done = act();
        (done, self.storage.calls().split_off(before))
    }

    /// The files of the cache, or of a part of it.
    fn files(&self, part: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("cache").join(part)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push(path),
                }
            }
        }
        found
    }

    fn bytes(&self, part: &str) -> u64 {
        let files = self.files(part);
        files.iter().map(|file| fs::metadata(file).unwrap().len()).sum()
    }
}

fn reads(calls: &[(Operation, String)], prefixes: &[&str]) -> usize {
    let read = |(operation, name): &&(Operation, String)| {
        matches!(operation, Operation::Get | Operation::GetRange)
            && prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    calls.iter().filter(read).count()
}

fn listings(calls: &[(Operation, String)]) -> usize {
    calls
        .iter()
        .filter(|(operation, _)| *operation == Operation::List)
        .count()
}

/// A short content, which is read with its neighbours, and long ones.
const LENGTHS: [usize; 2] = [20_000, 9 << 20];

fn saved(machine: &Machine) -> Vec<(ManifestId, Vec<u8>)> {
    let repository = machine.elsewhere();
    let save = |(n, length): (usize, usize)| {
        let data = noise(length, n as u64);
        (save_file(&repository, &format!("f{n}"), &data).unwrap(), data)
    };
    LENGTHS.into_iter().enumerate().map(save).collect()
}

fn check_all(repository: &Repository, snapshots: &[(ManifestId, Vec<u8>)]) {
    for (id, data) in snapshots {
        assert!(read_file(repository, id).unwrap() == *data);
    }
}

#[test]
fn what_one_process_has_read_the_next_one_does_not_ask_the_storage_for() {
    let machine = Machine::new(1);
    let snapshots = saved(&machine);
    let (_, first) = machine.asked(|| check_all(&machine.process(), &snapshots));
    assert!(reads(&first, &["p"]) > 2 && reads(&first, &["q"]) > 0 && reads(&first, &["x"]) > 0);
    let (_, second) = machine.asked(|| check_all(&machine.process(), &snapshots));
    assert_eq!(reads(&second, &["p", "q", "x"]), 0, "{second:?}");
    assert!(
        reads(&second, &["kopia.repository"]) > 0,
        "the format is always read"
    );
    assert!(machine.said.lock().is_empty());
}

#[test]
fn a_metadata_pack_is_fetched_whole_only_where_it_is_kept() {
    let machine = Machine::new(12);
    let snapshots = saved(&machine);
    let fetched = |settings: CacheSettings| {
        let (_, calls) = machine.asked(|| check_all(&machine.process_with(settings), &snapshots));
        let of_packs = |how| {
            let of_pack =
                |(operation, name): &&(Operation, String)| *operation == how && name.starts_with('q');
            calls.iter().filter(of_pack).count()
        };
        (of_packs(Operation::Get), of_packs(Operation::GetRange))
    };
    let none_kept = CacheSettings {
        metadata_bytes: 0,
        ..machine.settings()
    };
    let (whole, windows) = fetched(none_kept);
    assert!(whole == 0 && windows > 0, "{whole} whole, {windows} windows");
    let (whole, windows) = fetched(machine.settings());
    assert!(whole > 0 && windows == 0, "{whole} whole, {windows} windows");
}

#[test]
fn an_altered_copy_is_not_believed_whichever_byte_it_is() {
    let machine = Machine::new(2);
    let snapshots = saved(&machine);
    check_all(&machine.process(), &snapshots);
    for (n, path) in machine.files("").into_iter().enumerate() {
        let mut bytes = fs::read(&path).unwrap();
        let at = n * 7919 % bytes.len();
        match n % 3 {
            0 => bytes.truncate(at),
            _ => bytes[at] ^= 1,
        }
        fs::write(&path, bytes).unwrap();
    }
    let (_, calls) = machine.asked(|| check_all(&machine.process(), &snapshots));
    assert!(reads(&calls, &["p"]) > 2 && reads(&calls, &["q"]) > 0 && reads(&calls, &["x"]) > 0);
    assert_eq!(machine.said.lock().len(), 1, "{:?}", machine.said.lock());
    let (_, calls) = machine.asked(|| check_all(&machine.process(), &snapshots));
    assert_eq!(
        reads(&calls, &["p", "q", "x"]),
        0,
        "whole copies took their place"
    );
}

#[test]
fn copies_of_two_packs_that_changed_places_are_not_believed() {
    let machine = Machine::new(3);
    let snapshots = saved(&machine);
    check_all(&machine.process(), &snapshots);
    let packs = machine.files("metadata");
    assert!(packs.len() > 1);
    let aside = machine.folder.path().join("aside");
    fs::rename(&packs[0], &aside).unwrap();
    fs::rename(&packs[1], &packs[0]).unwrap();
    fs::rename(&aside, &packs[1]).unwrap();
    check_all(&machine.process(), &snapshots);
    assert_eq!(machine.said.lock().len(), 1);
}

#[test]
fn a_copy_made_while_the_storage_was_damaged_does_not_outlive_the_mending() {
    let machine = Machine::new(4);
    let snapshots = saved(&machine);
    for pack in machine.memory.list("p").now_or_never().unwrap().unwrap() {
        // Nothing of the round before.
        let _ = fs::remove_dir_all(machine.folder.path().join("cache"));
        let get = |id: &BlobId| machine.memory.get(id).now_or_never().unwrap().unwrap();
        let put = |bytes: Vec<u8>| machine.memory.put(&pack.id, bytes.into()).now_or_never().unwrap();
        let whole = get(&pack.id).to_vec();
        put(whole.iter().map(|byte| byte ^ 1).collect()).unwrap();
        let damaged = machine.process();
        assert!(snapshots.iter().any(|(id, _)| read_file(&damaged, id).is_err()));
        put(whole).unwrap();
        check_all(&machine.process(), &snapshots);
    }
}

#[test]
fn limits_hold_while_packs_are_read_and_after_they_are_made_smaller() {
    let machine = Machine::new(5);
    let repository = machine.elsewhere();
    let snapshots: Vec<_> = (0..12)
        .map(|n| {
            let data = noise(3 << 20, 100 + n);
            (save_file(&repository, &format!("f{n}"), &data).unwrap(), data)
        })
        .collect();
    let limited = |content_bytes, metadata_bytes| CacheSettings {
        content_bytes,
        metadata_bytes,
        ..machine.settings()
    };
    let small = limited(8 << 20, 20_000);
    let reader = machine.process_with(small.clone());
    for snapshot in &snapshots {
        check_all(&reader, std::slice::from_ref(snapshot));
        assert!(machine.bytes("contents") <= 8 << 20);
        assert!(machine.bytes("metadata") <= 20_000);
        assert!(machine.bytes("index-blobs") <= 20_000);
    }
    assert!(machine.bytes("contents") > 2 << 20, "something is kept");
    let smaller = limited(4 << 20, 0);
    smaller.sweep().unwrap();
    assert!(machine.bytes("contents") <= 4 << 20);
    assert_eq!(machine.bytes("metadata") + machine.bytes("index-blobs"), 0);
    check_all(&machine.process_with(smaller), &snapshots);
    assert!(machine.said.lock().is_empty());
}

#[test]
fn a_cache_that_cannot_be_written_is_said_once_and_fails_nothing() {
    let machine = Machine::new(6);
    let snapshots = saved(&machine);
    // A file in the folder's place stops every account, root too.
    fs::write(machine.folder.path().join("cache"), "mine").unwrap();
    let repository = machine.process();
    check_all(&repository, &snapshots);
    let id = save_file(&repository, "more", b"more").unwrap();
    assert_eq!(read_file(&machine.process(), &id).unwrap(), b"more");
    let said = machine.said.lock();
    let of_one_process = said.iter().filter(|text| text.contains("goes on without it"));
    assert_eq!(
        of_one_process.count(),
        2,
        "once in each of two processes: {said:?}"
    );
    assert_eq!(
        fs::read(machine.folder.path().join("cache")).unwrap(),
        b"mine",
        "nothing of others is touched"
    );
}

#[test]
fn a_cache_that_is_cleared_while_others_read_costs_only_requests() {
    let machine = Machine::new(7);
    let snapshots = saved(&machine);
    let (one, other) = (machine.process(), machine.process());
    for round in 0..4 {
        check_all(&one, &snapshots);
        fs::remove_dir_all(machine.folder.path().join("cache")).unwrap();
        check_all(&other, &snapshots);
        let id = save_file(&one, &format!("round{round}"), b"x").unwrap();
        assert_eq!(read_file(&other, &id).unwrap(), b"x");
        check_all(&machine.process(), &snapshots);
    }
    assert!(machine.said.lock().is_empty(), "{:?}", machine.said.lock());
}

#[test]
fn two_processes_on_one_folder_write_and_read_at_the_same_time() {
    let mut machine = Machine::new(8);
    // The seeded one may give two threads the same.
    machine.world.environment.randomness = Environment::system().randomness;
    let machine = machine;
    let snapshots = saved(&machine);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let limited = CacheSettings {
                        content_bytes: 6 << 20,
                        ..machine.settings()
                    };
                    check_all(&machine.process_with(limited), &snapshots);
                }
            });
        }
    });
    assert!(machine.said.lock().is_empty(), "{:?}", machine.said.lock());
}

#[test]
fn guarantee_3_what_is_read_back_has_come_from_the_storage_past_the_cache() {
    let machine = Machine::new(9);
    let repository = machine.process();
    let id = save_file(&repository, "a", b"a").unwrap();
    check_all(&machine.process(), &[(id.clone(), b"a".to_vec())]);
    repository.load_snapshot(&id).unwrap();
    let (read, calls) = machine.asked(|| repository.read_back_snapshot(&id));
    read.unwrap();
    assert!(reads(&calls, &["q"]) > 0 && listings(&calls) > 0, "{calls:?}");
}

#[test]
fn opening_believes_a_listing_for_thirty_seconds_and_whoever_asks_for_snapshots_sees_them_all() {
    let machine = Machine::new(10);
    saved(&machine);
    let (_, calls) = machine.asked(|| machine.process());
    assert_eq!(listings(&calls), 1);
    let foreign = save_file(&machine.elsewhere(), "foreign", b"foreign").unwrap();
    let (repository, calls) = machine.asked(|| machine.process());
    assert_eq!(listings(&calls), 0, "{calls:?}");
    let snapshots = repository.find_snapshots(&SnapshotFilter::default()).unwrap();
    assert!(snapshots.iter().any(|snapshot| snapshot.id == foreign));
    assert_eq!(read_file(&repository, &foreign).unwrap(), b"foreign");
    machine.world.clock.advance_secs(31);
    let (_, calls) = machine.asked(|| machine.process());
    assert_eq!(listings(&calls), 1);
}

#[test]
fn what_a_process_of_this_machine_wrote_the_next_one_sees_at_once() {
    let machine = Machine::new(11);
    let repository = machine.process();
    let (_, calls) = machine.asked(|| machine.process());
    assert_eq!(listings(&calls), 0, "the listing of the first is believed");
    save_file(&repository, "a", &noise(5_000, 1)).unwrap();
    let next = machine.process();
    let all = machine.elsewhere().live_contents();
    assert_eq!(next.live_contents(), all);
    // Also one that reads past the cache makes itself known.
    let past = machine.process_with(machine.settings().past());
    save_file(&past, "b", &noise(5_000, 2)).unwrap();
    assert_eq!(
        machine.process().live_contents(),
        machine.elsewhere().live_contents()
    );
}

#[test]
fn a_writer_decides_on_no_listing_that_is_older_than_fifteen_minutes() {
    let machine = Machine::new(12);
    let patient = || CacheSettings {
        list_duration: Duration::from_secs(3600),
        ..machine.settings()
    };
    machine.process_with(patient());
    machine.world.clock.advance_secs(16 * 60);
    let (repository, calls) = machine.asked(|| machine.process_with(patient()));
    assert_eq!(listings(&calls), 0);
    let (_, calls) = machine.asked(|| {
        let writer = repository.write().unwrap();
        let mut object = writer.object();
        object.write(b"new").unwrap();
        object.finish().unwrap();
    });
    assert!(listings(&calls) > 0, "{calls:?}");
    machine.world.clock.advance_secs(5 * 60);
    let (_, calls) = machine.asked(|| machine.process_with(patient()));
    assert_eq!(listings(&calls), 0, "the newer listing of the writer is believed");
    machine.world.clock.advance_secs(21 * 60);
    let (_, calls) = machine.asked(|| machine.process_with(patient()));
    assert_eq!(
        listings(&calls),
        1,
        "longer than others keep what they replaced, a listing is of no use"
    );
}

#[test]
fn a_folder_shared_with_another_repository_gives_each_its_own() {
    let (machine, other) = (Machine::new(13), Machine::new(14));
    let (snapshots, others) = (saved(&machine), saved(&other));
    let shared = || CacheSettings {
        folder: machine.settings().folder,
        ..other.settings()
    };
    for _ in 0..2 {
        check_all(&machine.process(), &snapshots);
        check_all(&other.process_with(shared()), &others);
    }
    let (_, calls) = other.asked(|| check_all(&other.process_with(shared()), &others));
    assert_eq!(reads(&calls, &["p", "q", "x"]), 0, "{calls:?}");
}
