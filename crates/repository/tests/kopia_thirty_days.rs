//! Our writers, Kopia's writers and the maintenance of both on one repository for 30 days of virtual time, at full safety:
//! whatever they do in between each other's storage calls, no finished snapshot loses a byte.
//!
//! The store is in this process and on one clock with everybody: Kopia (its `testing` build) reaches it over S3 and is told
//! the time by it, ours calls it directly. Every storage call of anybody takes time and gives others a turn, so that a
//! maintenance of hours has snapshots, deletions and other maintenances in the middle of it. Never with `--safety=none`,
//! which loses data by design.
//!
//! `CARAVEL_INTEROP=full` (`cargo xtask interop --full`) for 50 rounds of 30 days, `CARAVEL_ROUNDS=n` for another number (`a-b` for those rounds);
//! CI has one round of 6 days. A round's seed decides who does what; Kopia's own threads decide in which order its calls
//! come, so a failure comes again with its seed often but not always.
#![allow(clippy::unwrap_used)]

mod kopia_clock;
mod simulated;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use caravel_repository::{maintenance::*, *};
use caravel_storage::{
    BlobId, BlobMetadata, Storage, StorageError, memory::MemoryStorage, s3::storage_server::StorageServer,
};
use futures::FutureExt;
use kopia_clock::{PASSWORD, TestingKeys, TimedKopia};
use parking_lot::Mutex;
use simulated::*;

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;
/// Files come from so many different ones, the same for ours and Kopia's: what one drops, another takes up again.
const POOL: u64 = 24;
/// A snapshot or checkpoint is committed within this time (Kopia and we: 45 minutes).
const LONGEST_UPLOAD_SECS: i64 = 45 * MINUTE;
/// An upload that others kept from ending for so long is given up: a real one would have saved checkpoints.
const HOPELESS_SECS: i64 = 150 * MINUTE;
/// Turns within turns, so that time does not stand still in one call for days.
const DEEPEST: u64 = 2;

/// By name: the seed of its bytes.
type Files = BTreeMap<String, u64>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Actor {
    Writer(usize),
    Kopia(usize),
    Deleter,
    Maintainer,
}

struct Upload {
    writer: Writer,
    began: i64,
    files: BTreeMap<String, (ObjectId, u64)>,
    steps_left: u64,
}

struct Crowd {
    environment: Environment,
    clock: Arc<StoppedClock>,
    memory: Arc<MemoryStorage>,
    dice: AtomicU64,
    kopias: Vec<(TimedKopia, tempfile::TempDir)>,
    uploads: Mutex<[Option<Upload>; 2]>,
    finished: Mutex<BTreeMap<ManifestId, Files>>,
    counts: Mutex<BTreeMap<String, u64>>,
    /// Who is in the middle of something.
    acting: Mutex<BTreeSet<Actor>>,
    depth: AtomicU64,
    /// Nobody else has a turn.
    quiet: AtomicBool,
}

impl Crowd {
    fn roll(&self, below: u64) -> u64 {
        let next = |mut x: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^ (x << 17)
        };
        let before = self
            .dice
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |x| Some(next(x)));
        (next(before.unwrap()) >> 11) % below
    }

    fn count(&self, what: impl Into<String>) {
        *self.counts.lock().entry(what.into()).or_default() += 1;
    }

    fn now(&self) -> i64 {
        self.environment.clock.now().as_second()
    }

    /// Ours: the store with turns of others at its calls.
    fn open(self: &Arc<Self>) -> Result<Repository, RepositoryError> {
        self.open_on(Arc::new(Interrupted {
            crowd: self.clone(),
            slow_secs: 30,
        }))
    }

    fn open_on(&self, storage: Arc<dyn Storage>) -> Result<Repository, RepositoryError> {
        let options = OpenOptions {
            username: "ours".into(),
            hostname: "host".into(),
        };
        let password = secrecy::SecretString::from(PASSWORD);
        open(storage, &password, options, self.environment.clone())
            .now_or_never()
            .unwrap()
    }

    /// One turn of anybody who is not in the middle of something.
    fn turn(self: &Arc<Self>) {
        if self.quiet.load(Ordering::Relaxed) || self.depth.load(Ordering::Relaxed) > DEEPEST {
            return;
        }
        self.act(match self.roll(100) {
            0..=2 => Actor::Maintainer,
            3..=9 => Actor::Kopia(self.roll(2) as usize),
            10..=19 => Actor::Deleter,
            _ => Actor::Writer(self.roll(2) as usize),
        });
    }

    fn act(self: &Arc<Self>, actor: Actor) {
        if !self.acting.lock().insert(actor) {
            return;
        }
        self.depth.fetch_add(1, Ordering::Relaxed);
        match actor {
            Actor::Writer(who) => self.write(who),
            Actor::Kopia(who) => self.kopia(who),
            Actor::Deleter => self.delete(),
            Actor::Maintainer => self.maintain(),
        }
        self.depth.fetch_sub(1, Ordering::Relaxed);
        self.acting.lock().remove(&actor);
    }

    /// What became of something of ours: too slow, because others had the time, is a failure that says so.
    fn done<T>(&self, result: Result<T, RepositoryError>, what: &str) -> Option<T> {
        match result {
            Ok(done) => Some(done),
            Err(error) if error.kind() == RepositoryErrorKind::TooSlow => {
                self.count(format!("{what} too slow"));
                None
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// Takes a finished snapshot away, as long as there are some: from now on nobody expects it.
    fn forget_one(&self) -> Option<ManifestId> {
        let mut finished = self.finished.lock();
        if finished.len() < 6 {
            return None;
        }
        let at = self.roll(finished.len() as u64) as usize;
        let id = finished.keys().nth(at).unwrap().clone();
        finished.remove(&id);
        Some(id)
    }

    fn delete(self: &Arc<Self>) {
        let Some(id) = self.forget_one() else { return };
        let deleted = self
            .open()
            .and_then(|repository| repository.delete_snapshot(&id).now_or_never().unwrap());
        if self.done(deleted, "ours: delete").is_some() {
            self.count("ours: deleted");
        }
    }

    /// A writer whose upload has been open for long; anybody, while there is one.
    fn is_open(&self, secs: i64) -> Option<usize> {
        let now = self.now();
        let uploads = self.uploads.lock();
        let open = |upload: &Option<Upload>| upload.as_ref().is_some_and(|u| now - u.began >= secs);
        uploads.iter().position(open)
    }

    fn write(self: &Arc<Self>, who: usize) {
        let mut upload = self.uploads.lock()[who].take();
        if upload
            .as_ref()
            .is_some_and(|u| self.now() - u.began > HOPELESS_SECS)
        {
            self.count("ours: upload given up");
            upload = None;
        }
        let upload = upload.or_else(|| {
            let writer = self.open().and_then(|repository| repository.write());
            Some(Upload {
                writer: self.done(writer, "ours: open")?,
                began: self.now(),
                files: BTreeMap::new(),
                steps_left: 1 + self.roll(6),
            })
        });
        let Some(mut upload) = upload else { return };
        let late = self.now() - upload.began > LONGEST_UPLOAD_SECS - 10 * MINUTE;
        if upload.steps_left > 0 && !late {
            let seed = self.roll(POOL);
            let mut object = upload.writer.object();
            let written = object
                .write(&noise(length_of(seed), seed))
                .and_then(|()| object.finish());
            if let Some((id, _)) = self.done(written, "ours: write") {
                upload.files.insert(format!("f{seed}"), (id, seed));
                upload.steps_left -= 1;
                self.uploads.lock()[who] = Some(upload);
            }
            return;
        }
        if upload.files.is_empty() {
            return;
        }
        if let Some((id, files)) = self.done(save(upload, who), "ours: commit") {
            self.finished.lock().insert(id, files);
            self.count("ours: saved");
        }
    }

    fn maintain(self: &Arc<Self>) {
        let options = MaintenanceOptions {
            mode: if self.roll(4) == 0 { Mode::Full } else { Mode::Auto },
            force: true,
            ..MaintenanceOptions::default()
        };
        let outcome = self
            .open()
            .and_then(|repository| repository.run_maintenance(&options));
        let Some(Outcome::Done(plan)) = self.done(outcome, "ours: maintenance") else {
            return;
        };
        self.count(match plan.kind {
            Kind::Full => "ours: full",
            Kind::Quick => "ours: quick",
        });
        for step in &plan.steps {
            match step {
                Step::CollectSnapshots(gc) if gc.recovered_content_count > 0 => self.count("ours: revived"),
                Step::DropDeletedContents { .. } => self.count("ours: dropped"),
                Step::DeletePacks(packs) if packs.deleted_pack_count > 0 => self.count("ours: packs deleted"),
                Step::RewriteContents(_) => self.count("ours: moved"),
                _ => {}
            }
        }
    }

    fn kopia(&self, who: usize) {
        let (kopia, tree) = &self.kopias[who];
        let run = |what: &str, args: &[&str]| {
            let output = kopia.try_run(args);
            let stderr = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                self.count(format!("kopia: {what}"));
                return Some(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            assert!(gave_up_on_time(&stderr), "kopia {args:?}: {stderr}");
            self.count(format!("kopia: {what} too slow"));
            None
        };
        match self.roll(10) {
            // Either may, as ours: maintenance has no lock, only an owner.
            0 => drop(run(
                "full",
                &["maintenance", "run", "--full", "--safety=full", "--force"],
            )),
            1 => drop(run("quick", &["maintenance", "run", "--safety=full", "--force"])),
            2 | 3 => {
                if let Some(id) = self.forget_one() {
                    run("deleted", &["snapshot", "delete", id.as_str(), "--delete"]);
                }
            }
            _ => {
                let files = self.change(tree.path());
                let path = tree.path().to_str().unwrap();
                if let Some(json) = run("saved", &["snapshot", "create", path, "--json"]) {
                    let line = json.lines().find(|line| line.starts_with('{')).unwrap();
                    let snapshot: serde_json::Value = serde_json::from_str(line).unwrap();
                    let id = snapshot["id"].as_str().unwrap().parse().unwrap();
                    self.finished.lock().insert(id, files);
                }
            }
        }
    }

    /// Puts other files into a tree of Kopia's.
    fn change(&self, tree: &std::path::Path) -> Files {
        let wanted: BTreeSet<u64> = (0..1 + self.roll(6)).map(|_| self.roll(POOL)).collect();
        for seed in 0..POOL {
            let path = tree.join(format!("f{seed}"));
            match wanted.contains(&seed) {
                true if !path.exists() => fs::write(path, noise(length_of(seed), seed)).unwrap(),
                false if path.exists() => fs::remove_file(path).unwrap(),
                _ => {}
            }
        }
        wanted.iter().map(|seed| (format!("f{seed}"), *seed)).collect()
    }

    /// Ours reads every byte of every snapshot, Kopia verifies all of them and (at the end) every content.
    fn check(&self, contents_too: bool) {
        self.quiet.store(true, Ordering::Relaxed);
        let repository = self.open_on(self.memory.clone()).unwrap();
        for (id, files) in self.finished.lock().iter() {
            let root = repository.load_snapshot(id).unwrap().manifest.root_entry.unwrap();
            let directory = repository.read_directory(root.object).unwrap();
            assert_eq!(directory.entries.len(), files.len(), "snapshot {id}");
            for entry in &directory.entries {
                let seed = files[&entry.name];
                let bytes = repository
                    .open_object(entry.object)
                    .and_then(|o| o.read_to_end(u64::MAX));
                let bytes = bytes.unwrap_or_else(|e| panic!("snapshot {id}, {}: {e}", entry.name));
                assert!(
                    bytes == noise(length_of(seed), seed),
                    "snapshot {id}, {}",
                    entry.name
                );
            }
        }
        let (kopia, _) = &self.kopias[0];
        kopia.run(&["snapshot", "verify", "--verify-files-percent=100"]);
        if contents_too {
            kopia.run(&[
                "content",
                "verify",
                "--full",
                "--include-deleted",
                "--download-percent=100",
            ]);
            for content in repository.live_contents() {
                assert!(repository.content_matches_name(&content).unwrap(), "{content}");
            }
        }
        self.quiet.store(false, Ordering::Relaxed);
    }
}

fn length_of(seed: u64) -> usize {
    3000 + seed as usize * 500
}

/// Kopia's words for an operation that others gave no time.
fn gave_up_on_time(stderr: &str) -> bool {
    [
        "took too long",
        "took longer than",
        "more than two epochs",
        "clock skew",
    ]
    .iter()
    .any(|words| stderr.contains(words))
}

/// One snapshot of what was uploaded.
fn save(upload: Upload, who: usize) -> Result<(ManifestId, Files), RepositoryError> {
    let entries = upload.files.iter().map(|(name, (id, seed))| {
        let mut entry = DirectoryEntry::new(EntryType::File, name.as_bytes(), *id);
        entry.size = length_of(*seed) as u64;
        entry
    });
    let mut entries: Vec<DirectoryEntry> = entries.collect();
    let summary = DirectorySummary {
        files: entries.len() as u64,
        size: entries.iter().map(|entry| entry.size).sum(),
        ..DirectorySummary::default()
    };
    let root = upload.writer.write_directory(&mut entries, &summary)?;
    let id = put_root(&upload.writer, &format!("writer-{who}"), root, summary)?;
    upload.writer.commit()?;
    let files = upload.files.into_iter().map(|(name, (_, seed))| (name, seed));
    Ok((id, files.collect()))
}

/// A storage at whose calls time passes and others have their turn.
struct Interrupted {
    crowd: Arc<Crowd>,
    /// What listing, writing and deleting may take; an index must be read within 20 minutes.
    slow_secs: u64,
}

impl Interrupted {
    /// Others have a turn less often where an index is read, blob after blob: each of their turns adds one.
    fn pause(&self, seconds: u64, turns_in: u64) {
        let crowd = &self.crowd;
        if crowd.quiet.load(Ordering::Relaxed) {
            return;
        }
        crowd.clock.advance_secs(crowd.roll(seconds) as i64);
        if crowd.roll(turns_in) == 0 {
            crowd.turn();
        }
    }
}

impl fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupted")
    }
}

#[async_trait]
impl Storage for Interrupted {
    async fn put(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        let done = self.crowd.memory.put(id, data).await;
        self.pause(self.slow_secs, 20);
        done
    }
    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.crowd.memory.put_if_absent(id, data).await
    }
    async fn get(&self, id: &BlobId) -> Result<Bytes, StorageError> {
        self.pause(4, 250);
        self.crowd.memory.get(id).await
    }
    async fn get_range(&self, id: &BlobId, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.pause(4, 250);
        self.crowd.memory.get_range(id, range).await
    }
    async fn metadata(&self, id: &BlobId) -> Result<BlobMetadata, StorageError> {
        self.crowd.memory.metadata(id).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<BlobMetadata>, StorageError> {
        let listed = self.crowd.memory.list(prefix).await;
        self.pause(self.slow_secs, 20);
        listed
    }
    async fn delete(&self, id: &BlobId) -> Result<(), StorageError> {
        let done = self.crowd.memory.delete(id).await;
        self.pause(self.slow_secs, 20);
        done
    }
}

/// The store that Kopia sees: the crowd's, once there is one.
struct Behind(Mutex<Arc<dyn Storage>>);

impl fmt::Debug for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Behind")
    }
}

impl Behind {
    fn now(&self) -> Arc<dyn Storage> {
        self.0.lock().clone()
    }
}

#[async_trait]
impl Storage for Behind {
    async fn put(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.now().put(id, data).await
    }
    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.now().put_if_absent(id, data).await
    }
    async fn get(&self, id: &BlobId) -> Result<Bytes, StorageError> {
        self.now().get(id).await
    }
    async fn get_range(&self, id: &BlobId, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.now().get_range(id, range).await
    }
    async fn metadata(&self, id: &BlobId) -> Result<BlobMetadata, StorageError> {
        self.now().metadata(id).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<BlobMetadata>, StorageError> {
        self.now().list(prefix).await
    }
    async fn delete(&self, id: &BlobId) -> Result<(), StorageError> {
        self.now().delete(id).await
    }
}

fn round(program: &std::path::Path, seed: u64, days: i64) -> BTreeMap<String, u64> {
    let world = World::new(seed);
    let environment = Environment {
        key_derivation: Arc::new(TestingKeys),
        ..world.environment.clone()
    };
    let memory = Arc::new(world.memory());
    let behind = Arc::new(Behind(Mutex::new(memory.clone())));
    let clock = world.clock.clone();
    let server = StorageServer::start(behind.clone(), Arc::new(move || clock.now())).unwrap();
    let kopias = ["a", "b"].map(|user| {
        let kopia = TimedKopia::new(program, &server, user);
        (kopia, tempfile::tempdir().unwrap())
    });
    kopias[0].0.repository("create");
    kopias[1].0.repository("connect");
    kopias[0]
        .0
        .run(&["policy", "set", "--global", "--keep-latest=100000"]);
    let crowd = Arc::new(Crowd {
        environment,
        clock: world.clock.clone(),
        memory,
        dice: AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
        kopias: kopias.into(),
        uploads: Mutex::default(),
        finished: Mutex::default(),
        counts: Mutex::default(),
        acting: Mutex::default(),
        depth: AtomicU64::new(0),
        quiet: AtomicBool::new(false),
    });
    *behind.0.lock() = Arc::new(Interrupted {
        crowd: crowd.clone(),
        slow_secs: 30,
    });
    let began = crowd.now();
    let mut checked = began;
    while crowd.now() - began < days * DAY {
        match crowd.is_open(LONGEST_UPLOAD_SECS - 15 * MINUTE) {
            Some(who) => crowd.act(Actor::Writer(who)),
            None => crowd.turn(),
        }
        // Bursts, and hours in which nobody does anything.
        let idle = if crowd.is_open(0).is_some() { 10 } else { 240 };
        crowd.clock.advance_secs(crowd.roll(idle) as i64 * MINUTE);
        if crowd.now() - checked > 5 * DAY {
            crowd.check(false);
            checked = crowd.now();
            let day = (checked - began) / DAY;
            eprintln!("round {seed}, day {day}: {:?}", crowd.counts.lock());
        }
    }
    crowd.check(true);
    // The server's threads hold the crowd, the crowd the store: let go of each other.
    *behind.0.lock() = crowd.memory.clone();
    std::mem::take(&mut *crowd.counts.lock())
}

/// `CARAVEL_ROUNDS`: how many, or from which to which (`16-50` goes on where fifteen rounds ended).
fn wished_rounds() -> Option<std::ops::RangeInclusive<u64>> {
    let wish = std::env::var("CARAVEL_ROUNDS").ok()?;
    let (first, last) = wish.split_once('-').unwrap_or(("1", &wish));
    let number = |n: &str| n.parse().expect("CARAVEL_ROUNDS is a number or two (16-50)");
    Some(number(first)..=number(last))
}

#[test]
fn thirty_days_of_ours_and_kopia_lose_nothing() {
    let Some(program) = kopia_clock::program() else {
        return;
    };
    let full = std::env::var("CARAVEL_INTEROP").is_ok_and(|how| how == "full");
    let (rounds, days) = match (wished_rounds(), full) {
        (Some(rounds), _) => (rounds, 30),
        (None, true) => (1..=50, 30),
        (None, false) => (1..=1, 6),
    };
    let program: PathBuf = program;
    let mut total: BTreeMap<String, u64> = BTreeMap::new();
    let began = std::time::Instant::now();
    for seed in rounds {
        for (what, count) in round(&program, seed, days) {
            *total.entry(what).or_default() += count;
        }
        eprintln!(
            "round {seed}, {days} days, after {:.0} s: {total:?}",
            began.elapsed().as_secs_f64()
        );
    }
    let mut wanted = vec!["ours: saved", "kopia: saved"];
    if days == 30 {
        wanted.extend([
            "ours: deleted",
            "ours: full",
            "ours: dropped",
            "ours: packs deleted",
            "kopia: deleted",
            "kopia: full",
            "kopia: quick",
        ]);
    }
    for what in wanted {
        assert!(total.contains_key(what), "no round has {what}: {total:?}");
    }
}
