//! The judge is the real kopia: it verifies and restores what we upload, and we restore what it uploads.

#[path = "../../repository/tests/kopia_cli/mod.rs"]
mod kopia_cli;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use caravel_repository::{
    Clock, CreateOptions, Environment, OpenOptions, Repository, SnapshotFilter, SnapshotSource,
};
use caravel_storage::faulty::{Fault, FaultyStorage, Rule};
use caravel_storage::filesystem::FilesystemStorage;
use caravel_storage::{Operation, Storage, StorageErrorKind};
use caravel_uploader::{CancelToken, Progress, RestoreRequest, UploadOutcome, UploadRequest, VolumeMode};
use kopia_cli::{Kopia, PASSWORD};

fn tree(root: &Path) {
    fs::create_dir_all(root.join("a/<&> ünï")).expect("folders");
    fs::create_dir(root.join("nothing here")).expect("a folder");
    fs::write(root.join("empty"), b"").expect("a file");
    fs::write(root.join("two"), noise(2 << 20, 1)).expect("a file");
    fs::write(root.join("twenty"), noise(20 << 20, 2)).expect("a file");
    fs::write(root.join("a/<&> ünï/small"), b"small").expect("a file");
    fs::write(root.join("a/program"), b"#!").expect("a file");
    fs::set_permissions(root.join("a/program"), fs::Permissions::from_mode(0o4755)).expect("a mode");
    fs::File::create(root.join("sparse"))
        .and_then(|file| file.set_len(64 << 20))
        .expect("a file");
    symlink("/nowhere", root.join("link")).expect("a link");
    for n in 0..300 {
        fs::write(root.join(format!("a/file-{n:03}")), noise(1000 + n, n as u64 + 3)).expect("a file");
    }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

/// What both must agree on. Folder times apart: kopia restores another one (kopia-format.md 10.8).
fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut picture = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry"))
        {
            let metadata = entry.path().symlink_metadata().expect("metadata");
            let mode = metadata.mode();
            let line = if metadata.is_dir() {
                folders.push(entry.path());
                format!("{mode:o}")
            } else if metadata.is_symlink() {
                format!("{:?}", fs::read_link(entry.path()).expect("a link"))
            } else {
                let content = fs::read(entry.path()).expect("a file");
                let sum = content.iter().fold(7_u64, |sum, byte| {
                    sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
                });
                format!(
                    "{mode:o} {}.{} {} {sum}",
                    metadata.mtime(),
                    metadata.mtime_nsec(),
                    content.len()
                )
            };
            picture.insert(entry.path().strip_prefix(root).expect("below").to_owned(), line);
        }
    }
    picture
}

fn request(path: &Path) -> UploadRequest {
    UploadRequest {
        path: path.to_owned(),
        mode: VolumeMode::Filesystem,
        root_name: "volume".to_owned(),
        source: SnapshotSource {
            host: "default".to_owned(),
            user_name: "default".to_owned(),
            path: "snapshot-data-upload-download/kopia/shop/data".to_owned(),
        },
        tags: BTreeMap::from([
            (
                "snapshot-requester".to_owned(),
                "snapshot-data-upload-download".to_owned(),
            ),
            ("snapshot-uploader".to_owned(), "kopia".to_owned()),
        ]),
        description: "Kopia Uploader".to_owned(),
        pins: vec!["velero-pin".to_owned()],
        parallel_files: None,
        checkpoint_interval: caravel_uploader::DEFAULT_CHECKPOINT_INTERVAL,
        rules: caravel_uploader::UploadRules::default(),
    }
}

async fn open(path: &Path, create: bool) -> Repository {
    let storage: Arc<dyn Storage> = Arc::new(FilesystemStorage::open(path).await.expect("a folder"));
    if create {
        let options = CreateOptions {
            username: "default".into(),
            hostname: "default".into(),
        };
        caravel_repository::create(storage.clone(), &PASSWORD.into(), &options, Environment::system())
            .await
            .expect("a new repository");
    }
    let options = OpenOptions {
        username: "default".into(),
        hostname: "default".into(),
    };
    caravel_repository::open(storage, &PASSWORD.into(), options, Environment::system())
        .await
        .expect("it opens")
}

async fn upload(repository: &Repository, path: &Path) -> UploadOutcome {
    let (repository, request) = (repository.clone(), request(path));
    tokio::task::spawn_blocking(move || {
        caravel_uploader::upload(
            &repository,
            &request,
            &Progress::default(),
            &CancelToken::default(),
        )
    })
    .await
    .expect("no panic")
    .expect("an upload")
}

async fn restore(repository: &Repository, snapshot_id: &str, path: &Path) {
    let request = RestoreRequest {
        snapshot_id: snapshot_id.to_owned(),
        path: path.to_owned(),
        mode: VolumeMode::Filesystem,
        sparse: false,
        parallel_files: None,
        synced: true,
        rules: caravel_uploader::RestoreRules::default(),
    };
    let repository = repository.clone();
    tokio::task::spawn_blocking(move || {
        caravel_uploader::restore(
            &repository,
            &request,
            &Progress::default(),
            &CancelToken::default(),
        )
    })
    .await
    .expect("no panic")
    .expect("a restore");
}

#[tokio::test(flavor = "multi_thread")]
async fn kopia_verifies_and_restores_what_we_upload() {
    let Some(kopia) = Kopia::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let [repository_path, source, target] =
        ["repository", "source", "target"].map(|name| folder.path().join(name));
    for path in [&repository_path, &source] {
        fs::create_dir_all(path).expect("a folder");
    }
    tree(&source);
    let outcome = upload(&open(&repository_path, true).await, &source).await;
    kopia.connect(&repository_path);
    kopia.verify();
    let listed = kopia.run(&["snapshot", "list", "--all"]);
    assert!(
        listed.contains("snapshot-data-upload-download/kopia/shop/data"),
        "{listed}"
    );
    kopia.run(&[
        "snapshot",
        "restore",
        &outcome.snapshot_id,
        target.to_str().expect("UTF-8"),
    ]);
    assert_eq!(picture(&source), picture(&target));
}

#[tokio::test(flavor = "multi_thread")]
async fn we_restore_what_kopia_uploads() {
    let Some(kopia) = Kopia::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let [repository_path, source, target] =
        ["repository", "source", "target"].map(|name| folder.path().join(name));
    for path in [&repository_path, &source, &target] {
        fs::create_dir_all(path).expect("a folder");
    }
    tree(&source);
    kopia.create(&repository_path, &[]);
    kopia.run(&["snapshot", "create", source.to_str().expect("UTF-8")]);
    let repository = open(&repository_path, false).await;
    let snapshots = repository
        .snapshots(&SnapshotFilter::default())
        .await
        .expect("a list");
    assert_eq!(snapshots.len(), 1);
    restore(&repository, snapshots[0].id.as_str(), &target).await;
    assert_eq!(picture(&source), picture(&target));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_upload_of_the_same_data_adds_no_file_data() {
    let Some(kopia) = Kopia::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let [repository_path, source] = ["repository", "source"].map(|name| folder.path().join(name));
    for path in [&repository_path, &source] {
        fs::create_dir_all(path).expect("a folder");
    }
    tree(&source);
    kopia.create(&repository_path, &[]);
    kopia.run(&["snapshot", "create", source.to_str().expect("UTF-8")]);
    let repository = open(&repository_path, false).await;
    let before = file_data(&repository).await;
    upload(&repository, &source).await;
    assert_eq!(
        file_data(&repository).await,
        before,
        "the same bytes were cut or named otherwise than kopia does"
    );
    kopia.verify();
}

/// A clock on which an hour passes when so many bytes are done.
struct Late(Progress, u64);

impl Clock for Late {
    fn now(&self) -> jiff::Timestamp {
        let hours = i64::from(self.0.bytes_done() >= self.1);
        jiff::Timestamp::from_second(1_700_000_000 + hours * 3600).expect("in range")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kopia_lists_the_checkpoint_of_a_killed_upload_as_incomplete_and_verifies_it() {
    let Some(kopia) = Kopia::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let [repository_path, source] = ["repository", "source"].map(|name| folder.path().join(name));
    for path in [&repository_path, &source] {
        fs::create_dir_all(path).expect("a folder");
    }
    tree(&source);
    open(&repository_path, true).await;
    let storage = FilesystemStorage::open(&repository_path).await.expect("a folder");
    // From its second commit on nothing that the upload does counts.
    let killed = Rule::always(Fault::Fail(StorageErrorKind::Unavailable)).on(Operation::Put);
    let storage: Arc<dyn Storage> =
        Arc::new(FaultyStorage::new(Arc::new(storage)).with(killed.named("xn").after(1)));
    let progress = Progress::default();
    let environment = Environment {
        clock: Arc::new(Late(progress.clone(), 12 << 20)),
        ..Environment::system()
    };
    let options = OpenOptions {
        username: "default".into(),
        hostname: "default".into(),
    };
    let repository = caravel_repository::open(storage, &PASSWORD.into(), options, environment)
        .await
        .expect("it opens");
    let request = request(&source);
    let upload = move || caravel_uploader::upload(&repository, &request, &progress, &CancelToken::default());
    let killed = tokio::task::spawn_blocking(upload).await.expect("no panic");
    killed.expect_err("it was killed");

    kopia.connect(&repository_path);
    let listed = kopia.run(&["snapshot", "list", "--all", "--incomplete"]);
    assert!(listed.contains("incomplete"), "{listed}");
    kopia.verify();
    let listed = kopia.run(&["snapshot", "list", "--all"]);
    assert!(!listed.contains("incomplete"), "{listed}");
}

/// Bytes in packs of file data.
async fn file_data(repository: &Repository) -> u64 {
    repository
        .storage()
        .list("p")
        .await
        .expect("a list")
        .iter()
        .map(|blob| blob.length)
        .sum()
}
