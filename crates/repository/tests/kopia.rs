//! Our repository under the real kopia, at the level of contents, manifests and blobs. Snapshots of trees are
//! tested in `crates/uploader/tests`.
#![allow(clippy::unwrap_used)]

mod kopia_cli;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use caravel_repository::*;
use caravel_storage::filesystem::FilesystemStorage;
use kopia_cli::{Kopia, PASSWORD};
use secrecy::SecretString;

async fn storage(path: &Path) -> Arc<FilesystemStorage> {
    Arc::new(FilesystemStorage::open(path).await.unwrap())
}

async fn create_and_open(path: &Path) -> Repository {
    let options = CreateOptions {
        username: "default".into(),
        hostname: "default".into(),
    };
    let password = SecretString::from(PASSWORD);
    create(storage(path).await, &password, &options, Environment::system())
        .await
        .unwrap();
    let options = OpenOptions {
        username: "default".into(),
        hostname: "default".into(),
    };
    open(storage(path).await, &password, options, Environment::system())
        .await
        .unwrap()
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    })
    .take(length)
    .collect()
}

/// A snapshot of one directory with one file of `data`.
fn save_file(repository: &Repository, name: &str, data: &[u8]) -> ManifestId {
    let writer = repository.write().unwrap();
    let mut object = writer.object();
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
            tags: BTreeMap::from([("snapshot-uploader".into(), "kopia".into())]),
            pins: vec!["velero-pin".into()],
        })
        .unwrap();
    writer.commit().unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn kopia_verifies_a_repository_that_we_created_and_wrote() {
    let Some(kopia) = Kopia::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let repository = create_and_open(folder.path()).await;
    let data = noise(50 << 20, 7);
    tokio::task::block_in_place(|| save_file(&repository, "big", &data));
    tokio::task::block_in_place(|| save_file(&repository, "empty", b""));

    kopia.connect(folder.path());
    let listed = kopia.run(&["snapshot", "list", "--all", "--show-identical"]);
    assert!(
        listed.contains("/big") && listed.contains("velero-pin"),
        "{listed}"
    );
    kopia.verify();
    assert!(
        kopia
            .run(&["maintenance", "info"])
            .contains("Owner: default@default")
    );
    let status = kopia.run(&["repository", "status"]);
    for expected in [
        "DYNAMIC-4M-BUZHASH",
        "AES256-GCM-HMAC-SHA256",
        "BLAKE2B-256-128",
        "Format version:      3",
    ] {
        assert!(status.contains(expected), "{expected} in {status}");
    }
    assert_eq!(kopia.run(&["session", "list"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn kopia_recovers_the_index_from_our_packs() {
    let Some(kopia) = Kopia::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let repository = create_and_open(folder.path()).await;
    tokio::task::block_in_place(|| save_file(&repository, "big", &noise(30 << 20, 3)));
    std::fs::remove_dir_all(folder.path().join("x")).unwrap();

    kopia.connect(folder.path());
    kopia.run(&["index", "recover", "--commit", "--dangerous-commands=enabled"]);
    assert!(kopia.run(&["snapshot", "list", "--all"]).contains("/big"));
    kopia.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn we_read_what_kopia_compressed_compacted_and_dropped() {
    let Some(kopia) = Kopia::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = tempfile::tempdir().unwrap();
    kopia.create(folder.path(), &[]);
    let set = |name: &str, data: &[u8]| std::fs::write(source.path().join(name), data).unwrap();
    let path = source.path().to_str().unwrap();
    for compressor in ["zstd", "gzip", "deflate-best-speed", "pgzip", "none"] {
        set(
            compressor,
            format!("text under {compressor} ").repeat(50_000).as_bytes(),
        );
        kopia.run(&["policy", "set", path, "--compression", compressor]);
        kopia.run(&["snapshot", "create", path]);
    }
    // Many flushes, snapshots deleted, everything dropped that can be: xs, xr, xw and xe blobs appear.
    kopia.run(&[
        "repository",
        "set-parameters",
        "--epoch-min-duration=10m",
        "--epoch-refresh-frequency=1m",
        "--epoch-cleanup-safety-margin=3m",
        "--epoch-advance-on-count=10",
        "--epoch-checkpoint-frequency=2",
    ]);
    for round in 0..4 {
        for n in 0..11 {
            set("changing", &noise(10_000, round * 100 + n));
            kopia.run(&["snapshot", "create", path]);
        }
        age_index_blobs(folder.path());
        kopia.run(&[
            "snapshot",
            "delete",
            "--all-snapshots-for-source",
            path,
            "--delete",
        ]);
        kopia.run(&["snapshot", "create", path]);
        kopia.run(&["maintenance", "run", "--full", "--safety=none"]);
        kopia.run(&["maintenance", "run", "--full", "--safety=none"]);
    }
    let blobs = kopia.run(&["blob", "list"]);
    for prefix in ["xs", "xr", "xw", "xe"] {
        assert!(
            blobs.lines().any(|line| line.starts_with(prefix)),
            "no {prefix} blob in {blobs}"
        );
    }
    let options = OpenOptions {
        username: "default".into(),
        hostname: "default".into(),
    };
    let repository = open(
        storage(folder.path()).await,
        &PASSWORD.into(),
        options,
        Environment::system(),
    )
    .await
    .unwrap();
    let ours: Vec<String> = repository
        .live_contents()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut theirs: Vec<String> = kopia
        .run(&["content", "list"])
        .lines()
        .map(|l| l.split_whitespace().next().unwrap().to_owned())
        .collect();
    theirs.sort_by_key(|id| (id.len(), id.clone()));
    let mut sorted = ours.clone();
    sorted.sort_by_key(|id| (id.len(), id.clone()));
    assert_eq!(sorted, theirs);
    tokio::task::block_in_place(|| {
        for id in repository.live_contents() {
            assert!(repository.content_matches_name(&id).unwrap(), "{id}");
        }
        save_file(&repository, "after-maintenance", &noise(1 << 20, 99));
    });
    kopia.verify();
}

/// Makes all index blobs a day apart in age, so that epochs advance without waiting.
fn age_index_blobs(root: &Path) {
    let mut files = Vec::new();
    collect(&root.join("x"), &mut files);
    files.sort();
    for (n, file) in files.iter().enumerate() {
        let age = std::time::Duration::from_secs(86_400 * (files.len() - n) as u64);
        let time = std::time::SystemTime::now() - age;
        std::fs::File::open(file).unwrap().set_modified(time).unwrap();
    }
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => collect(&entry.path(), files),
            false => files.push(entry.path()),
        }
    }
}
