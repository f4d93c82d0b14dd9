//! A repository in memory on the calling thread: a clock that stands still until moved, seeded randomness, a key
//! derivation that costs nothing. Runs of one seed are alike.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use caravel_repository::*;
use caravel_storage::{Storage, memory::MemoryStorage};
use futures::FutureExt;
use jiff::Timestamp;
use secrecy::SecretString;

pub struct StoppedClock(AtomicI64);

impl StoppedClock {
    pub fn set_to(&self, other: &Self) {
        self.0.store(other.0.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub fn advance_secs(&self, secs: i64) {
        self.0.fetch_add(secs * 1000, Ordering::Relaxed);
    }
}

impl Clock for StoppedClock {
    /// A millisecond later each time, so that manifests have an order.
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.fetch_add(1, Ordering::Relaxed)).unwrap()
    }
}

struct Seeded(AtomicU64);

impl Randomness for Seeded {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            let mut x = self.0.load(Ordering::Relaxed);
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            self.0.store(x, Ordering::Relaxed);
            *byte = (x >> 24) as u8;
        }
    }
}

struct FreeKeys;

impl KeyDerivation for FreeKeys {
    fn derive(
        &self,
        _: &str,
        password: &[u8],
        salt: &[u8],
    ) -> Result<zeroize::Zeroizing<[u8; 32]>, RepositoryError> {
        Ok(caravel_repository::crypto::hkdf_sha256(password, salt, b"test"))
    }
}

#[derive(Clone)]
pub struct World {
    pub clock: Arc<StoppedClock>,
    pub environment: Environment,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let clock = Arc::new(StoppedClock(AtomicI64::new(1_790_000_000_000)));
        let environment = Environment {
            clock: clock.clone(),
            randomness: Arc::new(Seeded(AtomicU64::new(seed | 1))),
            cpu_threads: 0,
            blocking: None,
            key_derivation: Arc::new(FreeKeys),
            index_folder: None,
            cache: None,
        };
        Self { clock, environment }
    }

    /// A store whose timestamps come from this world's clock.
    pub fn memory(&self) -> MemoryStorage {
        let clock = self.clock.clone();
        MemoryStorage::with_clock(Arc::new(move || clock.now()))
    }

    pub fn create(&self, storage: Arc<dyn Storage>) -> Result<CreatedRepository, RepositoryError> {
        self.create_with(storage, &FormatOptions::default())
    }

    pub fn create_with(
        &self,
        storage: Arc<dyn Storage>,
        format: &FormatOptions,
    ) -> Result<CreatedRepository, RepositoryError> {
        let options = CreateOptions {
            username: "default".into(),
            hostname: "default".into(),
        };
        let password = SecretString::from("secret");
        create_with(storage, &password, &options, format, self.environment.clone())
            .now_or_never()
            .unwrap()
    }

    pub fn open(&self, storage: Arc<dyn Storage>) -> Result<Repository, RepositoryError> {
        self.open_with(storage, "secret")
    }

    pub fn open_with(
        &self,
        storage: Arc<dyn Storage>,
        password: &str,
    ) -> Result<Repository, RepositoryError> {
        let options = OpenOptions {
            username: "default".into(),
            hostname: "default".into(),
        };
        open(
            storage,
            &SecretString::from(password),
            options,
            self.environment.clone(),
        )
        .now_or_never()
        .unwrap()
    }
}

pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    })
    .take(length)
    .collect()
}

/// A snapshot of one directory with one file, saved by `writer`.
pub fn put_file(writer: &Writer, name: &str, data: &[u8]) -> Result<ManifestId, RepositoryError> {
    let mut object = writer.object();
    for piece in data.chunks(1 << 20) {
        object.write(piece)?;
    }
    let (id, size) = object.finish()?;
    let mut file = DirectoryEntry::new(EntryType::File, name.as_bytes(), id);
    file.size = size;
    let summary = DirectorySummary {
        size,
        files: 1,
        dirs: 1,
        ..Default::default()
    };
    let root = writer.write_directory(&mut [file], &summary)?;
    put_root(writer, name, root, summary)
}

/// A snapshot of the directory `root`, of the source `/name`.
pub fn put_root(
    writer: &Writer,
    name: &str,
    root: ObjectId,
    summary: DirectorySummary,
) -> Result<ManifestId, RepositoryError> {
    let mut root = DirectoryEntry::new(EntryType::Directory, b"root", root);
    root.summary = Some(summary);
    let now = writer.repository().environment().clock.now();
    writer.put_snapshot(&SnapshotManifest {
        id: String::new(),
        source: SnapshotSource {
            host: "h".into(),
            user_name: "u".into(),
            path: format!("/{name}"),
        },
        description: String::new(),
        start_time: now,
        end_time: now,
        stats: SnapshotStats::default(),
        incomplete: String::new(),
        root_entry: Some(root),
        tags: BTreeMap::new(),
        pins: Vec::new(),
    })
}

pub fn save_file(repository: &Repository, name: &str, data: &[u8]) -> Result<ManifestId, RepositoryError> {
    let writer = repository.write()?;
    let id = put_file(&writer, name, data)?;
    writer.commit()?;
    Ok(id)
}

/// The one file of a snapshot that [`put_file`] saved.
pub fn read_file(repository: &Repository, id: &ManifestId) -> Result<Vec<u8>, RepositoryError> {
    let root = repository.load_snapshot(id)?.manifest.root_entry.unwrap();
    let file = repository.read_directory(root.object)?.entries.remove(0);
    repository.open_object(file.object)?.read_to_end(u64::MAX)
}

/// Every snapshot's file is readable, and every content hashes to its name.
pub fn check_whole(repository: &Repository) -> usize {
    let snapshots = repository.find_snapshots(&SnapshotFilter::default()).unwrap();
    for snapshot in &snapshots {
        read_file(repository, &snapshot.id).unwrap();
    }
    for content in repository.live_contents() {
        assert!(repository.content_matches_name(&content).unwrap(), "{content}");
    }
    snapshots.len()
}
