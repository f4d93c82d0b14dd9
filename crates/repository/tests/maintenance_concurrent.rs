//! Writers, a deleter and two maintaining clients on one repository for 30 days of virtual time: whatever they do in
//! between each other's storage calls, no finished snapshot loses a byte.
//!
//! Everything runs on one thread: a client's storage takes time at each call and lets others have a turn, so that a
//! maintenance of hours is interrupted hundreds of times, at places that a seed decides. An ordinary run is one round of 3
//! days; `CARAVEL_INTEROP=full` (`cargo xtask interop --full`) has 3 rounds of 30, `CARAVEL_ROUNDS=n` n of them.
#![allow(clippy::unwrap_used)]

mod simulated;

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use caravel_repository::{maintenance::*, *};
use caravel_storage::{BlobId, BlobMetadata, Storage, StorageError, memory::MemoryStorage};
use futures::FutureExt;
use parking_lot::Mutex;
use simulated::*;

const MINUTE: i64 = 60;
const WRITERS: usize = 3;
/// Files come from so many different ones: what one snapshot drops, another takes up again.
const POOL: u64 = 24;
/// A snapshot or checkpoint is committed within this time (Kopia and we: 45 minutes).
const LONGEST_UPLOAD_SECS: i64 = 45 * MINUTE;

struct Upload {
    writer: Writer,
    began: i64,
    files: BTreeMap<String, (ObjectId, u64)>,
    steps_left: u64,
}

type Files = BTreeMap<String, u64>;

struct Crowd {
    world: World,
    memory: Arc<MemoryStorage>,
    dice: AtomicU64,
    busy: AtomicBool,
    uploads: Mutex<Vec<Option<Upload>>>,
    finished: Mutex<BTreeMap<ManifestId, Files>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Crowd {
    fn roll(&self, below: u64) -> u64 {
        let mut x = self.dice.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.dice.store(x, Ordering::Relaxed);
        (x >> 11) % below
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().entry(what).or_default() += 1;
    }

    fn now(&self) -> i64 {
        self.world.environment.clock.now().as_second()
    }

    fn open(&self) -> Repository {
        self.world.open(self.memory.clone()).unwrap()
    }

    /// One turn of one writer or of the deleter; not while somebody else has one.
    fn turn(&self) {
        if self.busy.swap(true, Ordering::Relaxed) {
            return;
        }
        match self.roll(12) {
            0 | 1 => self.delete(),
            _ => self.write(self.roll(WRITERS as u64) as usize),
        }
        self.busy.store(false, Ordering::Relaxed);
    }

    fn delete(&self) {
        let mut finished = self.finished.lock();
        if finished.len() < 6 {
            return;
        }
        let at = self.roll(finished.len() as u64) as usize;
        let id = finished.keys().nth(at).unwrap().clone();
        finished.remove(&id);
        drop(finished);
        self.open().delete_snapshot(&id).now_or_never().unwrap().unwrap();
        self.count("deleted");
    }

    fn write(&self, who: usize) {
        let upload = self.uploads.lock()[who].take();
        let mut upload = upload.unwrap_or_else(|| Upload {
            writer: self.open().write().unwrap(),
            began: self.now(),
            files: BTreeMap::new(),
            steps_left: 1 + self.roll(6),
        });
        let late = self.now() - upload.began > LONGEST_UPLOAD_SECS - 5 * MINUTE;
        if upload.steps_left > 0 && !late {
            let seed = self.roll(POOL);
            let mut object = upload.writer.object();
            object.write(&noise(3000 + seed as usize * 500, seed)).unwrap();
            let (id, _) = object.finish().unwrap();
            upload.files.insert(format!("f{seed}"), (id, seed));
            upload.steps_left -= 1;
            self.uploads.lock()[who] = Some(upload);
            return;
        }
        if upload.files.is_empty() {
            return;
        }
        let entries = upload.files.iter().map(|(name, (id, _))| {
            let mut entry = DirectoryEntry::new(EntryType::File, name.as_bytes(), *id);
            entry.size = 1;
            entry
        });
        let mut entries: Vec<DirectoryEntry> = entries.collect();
        let summary = DirectorySummary::default();
        let root = upload.writer.write_directory(&mut entries, &summary).unwrap();
        let id = put_root(&upload.writer, &format!("writer-{who}"), root, summary).unwrap();
        upload.writer.commit().unwrap();
        let files = upload
            .files
            .into_iter()
            .map(|(name, (_, seed))| (name, seed))
            .collect();
        self.finished.lock().insert(id, files);
        self.count("saved");
    }

    fn maintain(self: &Arc<Self>, mode: Mode) {
        let storage = Arc::new(Interrupted { crowd: self.clone() });
        let repository = match self.world.open(storage) {
            Err(error) if error.kind() == RepositoryErrorKind::TooSlow => return self.count("too slow"),
            opened => opened.unwrap(),
        };
        let options = MaintenanceOptions {
            mode,
            force: true,
            ..MaintenanceOptions::default()
        };
        match repository.run_maintenance(&options) {
            Ok(Outcome::Done(plan)) => {
                self.count(match plan.kind {
                    Kind::Full => "full",
                    Kind::Quick => "quick",
                });
                for step in &plan.steps {
                    match step {
                        Step::CollectSnapshots(gc) if gc.recovered_content_count > 0 => self.count("revived"),
                        Step::DropDeletedContents { .. } => self.count("dropped"),
                        Step::DeletePacks(packs) if packs.deleted_pack_count > 0 => {
                            self.count("packs deleted")
                        }
                        Step::RewriteContents(_) => self.count("moved"),
                        Step::CompactEpochs { .. } => self.count("merged"),
                        Step::DeleteSupersededIndexes { blobs, .. } if *blobs > 0 => {
                            self.count("indexes deleted")
                        }
                        _ => {}
                    }
                }
            }
            Ok(_) => self.count("not due"),
            Err(error) if error.kind() == RepositoryErrorKind::TooSlow => self.count("too slow"),
            Err(error) => panic!("{error}"),
        }
    }

    fn check(&self) {
        let repository = self.open();
        for (id, files) in self.finished.lock().iter() {
            let root = repository.load_snapshot(id).unwrap().manifest.root_entry.unwrap();
            let directory = repository.read_directory(root.object).unwrap();
            assert_eq!(directory.entries.len(), files.len());
            for entry in &directory.entries {
                let seed = files[&entry.name];
                let bytes = repository
                    .open_object(entry.object)
                    .unwrap()
                    .read_to_end(u64::MAX);
                let bytes = bytes.unwrap_or_else(|e| panic!("snapshot {id}, {}: {e}", entry.name));
                assert!(
                    bytes == noise(3000 + seed as usize * 500, seed),
                    "snapshot {id}, {}",
                    entry.name
                );
            }
        }
    }
}

/// A storage at whose calls time passes and others have their turn.
struct Interrupted {
    crowd: Arc<Crowd>,
}

impl Interrupted {
    /// Reading an index of many blobs must end within 20 minutes, so reads are faster than what changes things; and others
    /// have a turn less often there, since each of their turns adds a blob to be read.
    fn pause(&self, seconds: u64, turns_in: u64) {
        let crowd = &self.crowd;
        crowd.world.clock.advance_secs(crowd.roll(seconds) as i64);
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
        self.pause(90, 5);
        done
    }
    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.crowd.memory.put_if_absent(id, data).await
    }
    async fn get(&self, id: &BlobId) -> Result<Bytes, StorageError> {
        self.pause(5, 60);
        self.crowd.memory.get(id).await
    }
    async fn get_range(&self, id: &BlobId, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.pause(5, 60);
        self.crowd.memory.get_range(id, range).await
    }
    async fn metadata(&self, id: &BlobId) -> Result<BlobMetadata, StorageError> {
        self.crowd.memory.metadata(id).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<BlobMetadata>, StorageError> {
        let listed = self.crowd.memory.list(prefix).await;
        self.pause(90, 5);
        listed
    }
    async fn delete(&self, id: &BlobId) -> Result<(), StorageError> {
        let done = self.crowd.memory.delete(id).await;
        self.pause(90, 5);
        done
    }
}

fn round(seed: u64, days: i64) -> BTreeMap<&'static str, u64> {
    let world = World::new(seed);
    let memory = Arc::new(world.memory());
    world.create(memory.clone()).unwrap();
    let crowd = Arc::new(Crowd {
        world,
        memory,
        dice: AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
        busy: AtomicBool::new(false),
        uploads: Mutex::new((0..WRITERS).map(|_| None).collect()),
        finished: Mutex::default(),
        counts: Mutex::default(),
    });
    let began = crowd.now();
    let mut checked = began;
    while crowd.now() - began < days * 86_400 {
        crowd.turn();
        crowd.world.clock.advance_secs(crowd.roll(20) as i64 * MINUTE);
        match crowd.roll(60) {
            // A second client that does not care whose turn it is, as `kopia maintenance run --full --force`.
            0 => crowd.maintain(Mode::Full),
            1..=8 => crowd.maintain(Mode::Auto),
            _ => {}
        }
        if crowd.now() - checked > 3 * 86_400 {
            crowd.check();
            checked = crowd.now();
        }
    }
    crowd.check();
    std::mem::take(&mut *crowd.counts.lock())
}

#[test]
fn thirty_days_of_writers_and_maintenance_lose_nothing() {
    let rounds = std::env::var("CARAVEL_ROUNDS").ok().and_then(|n| n.parse().ok());
    let full = std::env::var("CARAVEL_INTEROP").is_ok_and(|how| how == "full");
    let (rounds, days) = match (rounds, full) {
        (Some(rounds), _) => (rounds, 30),
        (None, true) => (3u64, 30),
        (None, false) => (1, 3),
    };
    let mut total: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in 1..=rounds {
        for (what, count) in round(seed, days) {
            *total.entry(what).or_default() += count;
        }
    }
    println!("{rounds} rounds of {days} days: {total:?}");
    let mut wanted = vec!["saved", "full", "moved"];
    if days == 30 {
        wanted.extend([
            "deleted",
            "revived",
            "dropped",
            "packs deleted",
            "merged",
            "indexes deleted",
        ]);
    }
    for what in wanted {
        assert!(total.contains_key(what), "no round has {what}: {total:?}");
    }
}
