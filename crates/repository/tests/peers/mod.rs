//! What the tests beside the real kopia share: repositories in folders, trees, comparisons.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use caravel_repository::*;
use caravel_storage::filesystem::FilesystemStorage;
use secrecy::SecretString;

use crate::kopia_cli::{Kopia, PASSWORD};

pub async fn storage(path: &Path) -> Arc<FilesystemStorage> {
    Arc::new(FilesystemStorage::open(path).await.unwrap())
}

fn who() -> OpenOptions {
    OpenOptions {
        username: "default".into(),
        hostname: "default".into(),
    }
}

pub async fn try_open(path: &Path) -> Result<Repository, RepositoryError> {
    let password = SecretString::from(PASSWORD);
    open(storage(path).await, &password, who(), Environment::system()).await
}

pub async fn opened(path: &Path) -> Repository {
    try_open(path).await.unwrap()
}

pub async fn created(path: &Path, format: &FormatOptions) -> Repository {
    let options = CreateOptions {
        username: "default".into(),
        hostname: "default".into(),
    };
    let password = SecretString::from(PASSWORD);
    let storage = storage(path).await;
    create_with(storage, &password, &options, format, Environment::system())
        .await
        .unwrap();
    opened(path).await
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

/// A small tree: empty, short, compressible and long files, one folder deep.
pub fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let set = |name: &str, data: &[u8]| std::fs::write(root.path().join(name), data).unwrap();
    set("empty", b"");
    set("short", b"abc");
    set("text", "one line of many\n".repeat(20_000).as_bytes());
    std::fs::create_dir(root.path().join("folder")).unwrap();
    set("folder/long", &noise(5 << 20, 23));
    root
}

/// A snapshot of one directory with one file of `data`.
pub fn save_file(repository: &Repository, name: &str, data: &[u8]) -> ManifestId {
    save_file_with(repository, name, data, None)
}

pub fn save_file_with(
    repository: &Repository,
    name: &str,
    data: &[u8],
    compressor: Option<Compressor>,
) -> ManifestId {
    let writer = repository.write().unwrap();
    let mut object = writer.object_with(ObjectOptions {
        compressor,
        splitter: None,
    });
    data.chunks(1 << 20)
        .for_each(|piece| object.write(piece).unwrap());
    let (id, size) = object.finish().unwrap();
    let mut file = DirectoryEntry::new(EntryType::File, name.as_bytes(), id);
    file.size = size;
    file.mode = FileMode::from_unix(0o644);
    let summary = DirectorySummary {
        size,
        files: 1,
        dirs: 1,
        ..Default::default()
    };
    let root = writer.write_directory(&mut [file], &summary).unwrap();
    let mut root = DirectoryEntry::new(EntryType::Directory, b"root", root);
    root.mode = FileMode::from_unix(0o755);
    root.summary = Some(summary);
    let now = repository.environment().clock.now();
    let id = writer
        .put_snapshot(&SnapshotManifest {
            id: String::new(),
            source: SnapshotSource {
                host: "default".into(),
                user_name: "default".into(),
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
        .unwrap();
    writer.commit().unwrap();
    id
}

/// The newest snapshot of `source` holds exactly its files.
pub fn compare_tree(repository: &Repository, source: &Path) {
    let snapshots = repository.find_snapshots(&SnapshotFilter::default()).unwrap();
    let of_source = |s: &&Snapshot| s.manifest.source.path == source.to_str().unwrap();
    let newest = snapshots.iter().rfind(of_source).unwrap();
    let root = newest.manifest.root_entry.clone().unwrap();
    compare_folder(repository, root.object, source);
}

fn compare_folder(repository: &Repository, folder: ObjectId, source: &Path) {
    let entries = repository.read_directory(folder).unwrap().entries;
    assert_eq!(entries.len(), std::fs::read_dir(source).unwrap().count());
    for entry in entries {
        let path = source.join(&entry.name);
        match entry.kind {
            EntryType::Directory => compare_folder(repository, entry.object, &path),
            _ => {
                let reader = repository.open_object(entry.object).unwrap();
                let read = reader.read_to_end(u64::MAX).unwrap();
                assert!(read == std::fs::read(&path).unwrap(), "{}", path.display());
            }
        }
    }
}

/// We see the contents that kopia sees, and each hashes to its name.
pub fn check_contents(repository: &Repository, kopia: &Kopia) {
    futures::executor::block_on(async { repository.refresh().await.unwrap() });
    let ours: BTreeSet<String> = repository
        .live_contents()
        .iter()
        .map(ToString::to_string)
        .collect();
    let listed = kopia.run(&["content", "list"]);
    let theirs: BTreeSet<String> = listed
        .lines()
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert_eq!(ours, theirs);
    for id in repository.live_contents() {
        assert!(repository.content_matches_name(&id).unwrap(), "{id}");
    }
}

/// Kopia restores the one file of the newest snapshot that [`save_file`] made of `name`.
pub fn compare_restored(kopia: &Kopia, repository: &Repository, name: &str, data: &[u8]) {
    let snapshots =
        tokio::task::block_in_place(|| repository.find_snapshots(&SnapshotFilter::default())).unwrap();
    let path = format!("/{name}");
    let newest = snapshots
        .iter()
        .rfind(|s| s.manifest.source.path == path)
        .unwrap();
    let target = tempfile::tempdir().unwrap();
    kopia.run(&[
        "snapshot",
        "restore",
        newest.id.as_str(),
        target.path().to_str().unwrap(),
    ]);
    assert!(std::fs::read(target.path().join(name)).unwrap() == data, "{name}");
}

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

/// The packs of file data.
pub fn data_packs(root: &Path) -> Vec<PathBuf> {
    files(&root.join("p"))
}

/// Bytes of all packs.
pub fn packed_bytes(root: &Path) -> u64 {
    let packs = [files(&root.join("p")), files(&root.join("q"))].concat();
    packs.iter().map(|pack| pack.metadata().unwrap().len()).sum()
}
