//! Trees and devices there and back, on a repository in memory. The real kopia's word is in `tests/kopia.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use caravel_repository::{
    CacheSettings, CreateOptions, Environment, Notice, OpenOptions, Repository, SnapshotFilter,
    SnapshotSource,
};
use caravel_storage::Storage;
use caravel_storage::memory::MemoryStorage;
use rustix::fs::{FileType, Mode, Timespec, Timestamps};
use tempfile::TempDir;

use crate::filesystem::opened;
use crate::*;

/// A repository in memory and the runtime that its storage needs.
pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
    pub(crate) storage: Arc<dyn Storage>,
    folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let options = CreateOptions {
            username: "default".into(),
            hostname: "default".into(),
        };
        let environment = Environment::system();
        runtime
            .block_on(caravel_repository::create(
                storage.clone(),
                &"secret".into(),
                &options,
                environment,
            ))
            .expect("a new repository");
        Self {
            runtime,
            storage,
            folder: TempDir::new().expect("a folder"),
        }
    }

    pub(crate) fn repository(&self) -> Repository {
        self.open(self.storage.clone(), Environment::system())
    }

    /// The same repository as somebody sees it behind another storage or in another time.
    pub(crate) fn open(&self, storage: Arc<dyn Storage>, environment: Environment) -> Repository {
        let options = OpenOptions {
            username: "default".into(),
            hostname: "default".into(),
        };
        self.runtime
            .block_on(caravel_repository::open(
                storage,
                &"secret".into(),
                options,
                environment,
            ))
            .expect("an open repository")
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).expect("a folder");
        path
    }

    pub(crate) fn upload(&self, path: &Path) -> Result<UploadOutcome, UploadError> {
        upload(
            &self.repository(),
            &request(path),
            &Progress::default(),
            &CancelToken::default(),
        )
    }

    pub(crate) fn restore(&self, snapshot_id: &str, path: &Path) -> Result<RestoreOutcome, RestoreError> {
        Self::restore_from(&self.repository(), snapshot_id, path)
    }

    fn restore_from(
        repository: &Repository,
        snapshot_id: &str,
        path: &Path,
    ) -> Result<RestoreOutcome, RestoreError> {
        let request = RestoreRequest {
            snapshot_id: snapshot_id.to_owned(),
            path: path.to_owned(),
            mode: VolumeMode::Filesystem,
            sparse: false,
            parallel_files: None,
            synced: true,
            rules: RestoreRules::default(),
        };
        restore(
            repository,
            &request,
            &Progress::default(),
            &CancelToken::default(),
        )
    }
}

pub(crate) fn request(path: &Path) -> UploadRequest {
    UploadRequest {
        path: path.to_owned(),
        mode: VolumeMode::Filesystem,
        root_name: "root".to_owned(),
        source: SnapshotSource {
            host: "default".to_owned(),
            user_name: "default".to_owned(),
            path: "snapshot-data-upload-download/kopia/shop/data".to_owned(),
        },
        tags: BTreeMap::from([(
            "snapshot-requester".to_owned(),
            "snapshot-data-upload-download".to_owned(),
        )]),
        description: "Kopia Uploader".to_owned(),
        pins: vec!["velero-pin".to_owned()],
        parallel_files: Some(2),
        checkpoint_interval: DEFAULT_CHECKPOINT_INTERVAL,
        rules: UploadRules::default(),
    }
}

/// Everything that must come back, by path: kind, mode, owner, modification time, content or target.
pub(crate) fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut picture = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)
            .expect("a readable folder")
            .map(|entry| entry.expect("an entry"))
        {
            let metadata = entry.path().symlink_metadata().expect("metadata");
            let content = if metadata.is_dir() {
                folders.push(entry.path());
                String::new()
            } else if metadata.is_symlink() {
                format!("{:?}", fs::read_link(entry.path()).expect("a link"))
            } else if metadata.is_file() {
                let bytes = fs::read(entry.path()).expect("a readable file");
                format!("{} bytes, crc {}", bytes.len(), checksum(&bytes))
            } else {
                continue;
            };
            let line = format!(
                "{:o} {}:{} {}.{:09} {content}",
                metadata.mode(),
                metadata.uid(),
                metadata.gid(),
                metadata.mtime(),
                metadata.mtime_nsec()
            );
            picture.insert(
                entry
                    .path()
                    .strip_prefix(root)
                    .expect("below the root")
                    .to_owned(),
                line,
            );
        }
    }
    picture
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Bytes that do not compress or repeat.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The awkward cases of the issue in one tree.
fn awkward(root: &Path) {
    fs::write(root.join("empty"), b"").expect("a file");
    fs::write(root.join("two-mebibytes"), noise(2 << 20, 1)).expect("a file");
    fs::write(root.join("twenty-mebibytes"), noise(20 << 20, 2)).expect("a file");
    fs::write(root.join("ünïcode <&> \"name\"\n"), b"x").expect("a file");
    symlink("nowhere", root.join("dangling")).expect("a link");
    symlink("/etc/hostname", root.join("absolute")).expect("a link");
    fs::create_dir_all(root.join("a/b/c")).expect("folders");
    fs::create_dir(root.join("empty-folder")).expect("a folder");
    fs::write(root.join("a/b/c/deep"), b"deep").expect("a file");
    let setuid = root.join("setuid");
    fs::write(&setuid, b"#!").expect("a file");
    chown(&setuid, Some(1000), Some(2000)).expect("tests run as root");
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).expect("a mode");
    let private = root.join("a/private");
    fs::create_dir(&private).expect("a folder");
    fs::write(private.join("key"), b"key").expect("a file");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o1700)).expect("a mode");
    set_mtime(&root.join("a/b"), 86_400, 123_456_789);
    set_mtime(&root.join("empty"), -1, 500_000_000);
}

fn set_mtime(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let follow = rustix::fs::AtFlags::empty();
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, follow).expect("times are set");
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: owners can only be restored by root");
    }
    root
}

#[test]
fn every_byte_mode_owner_time_and_link_comes_back() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let (source, target) = (world.folder("source"), world.folder("target"));
    awkward(&source);
    let outcome = world.upload(&source).expect("an upload");
    world.restore(&outcome.snapshot_id, &target).expect("a restore");
    assert_eq!(picture(&source), picture(&target));
    assert_eq!(outcome.total_bytes, outcome.incremental_bytes);
    assert!(!outcome.empty);
}

/// Small files go to the workers in batches, which end with their number, a large file and the folder itself.
#[test]
fn a_folder_of_many_small_files_comes_back_whole() {
    let world = World::new();
    let (source, target) = (world.folder("source"), world.folder("target"));
    for number in 0..300_usize {
        let folder = source.join(format!("{:03}-folder", number / 100 * 100 + 50));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("below"), noise(number, 9)).expect("a file");
        let length = if number % 90 == 89 { 2 << 20 } else { number };
        let name = source.join(format!("{number:03}"));
        fs::write(name, noise(length, number as u64)).expect("a file");
    }
    let outcome = world.upload(&source).expect("an upload");
    world.restore(&outcome.snapshot_id, &target).expect("a restore");
    assert_eq!(picture(&source), picture(&target));
}

/// Data at the end, a hole, data behind a hole, nothing but a hole; large files are written past the page cache.
#[test]
fn a_file_is_as_long_as_it_was_whatever_it_ends_with() {
    let world = World::new();
    let (source, target) = (world.folder("source"), world.folder("target"));
    let hole = vec![0; 1 << 20];
    let data = noise(70_000, 4);
    let large = noise(5 << 20, 5);
    let parts: [&[&[u8]]; 6] = [
        &[&data],
        &[&data, &hole],
        &[&data, &hole, &data],
        &[&hole],
        &[&large, &hole],
        &[&large, &hole, &data],
    ];
    for (number, parts) in parts.iter().enumerate() {
        fs::write(source.join(number.to_string()), parts.concat()).expect("a file");
    }
    let outcome = world.upload(&source).expect("an upload");
    world.restore(&outcome.snapshot_id, &target).expect("a restore");
    assert_eq!(picture(&source), picture(&target));
}

#[test]
fn a_name_that_is_not_utf8_comes_back_byte_for_byte() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let (source, target) = (world.folder("source"), world.folder("target"));
    for name in [&b"caf\xe9"[..], &b"caf\xe8"[..]] {
        fs::write(source.join(std::ffi::OsStr::from_bytes(name)), name).expect("a file");
    }
    let outcome = world.upload(&source).expect("an upload");
    world.restore(&outcome.snapshot_id, &target).expect("a restore");
    assert_eq!(picture(&source), picture(&target));
}

#[test]
fn unchanged_files_are_not_opened_again() {
    let world = World::new();
    let source = world.folder("source");
    for name in ["kept-1", "kept-2", "changed-1"] {
        fs::write(source.join(name), noise(100_000, 3)).expect("a file");
    }
    world.upload(&source).expect("a first upload");
    fs::write(source.join("changed-1"), noise(100_000, 4)).expect("a file");
    let second = world.upload(&source).expect("a second upload");
    assert_eq!(
        (
            opened::count("kept-1"),
            opened::count("kept-2"),
            opened::count("changed-1")
        ),
        (1, 1, 2)
    );
    assert_eq!((second.total_bytes, second.incremental_bytes), (300_000, 100_000));
}

#[test]
fn a_stranger_of_the_same_source_is_no_parent() {
    let world = World::new();
    let source = world.folder("source");
    fs::write(source.join("strange-file"), b"data").expect("a file");
    let strange = UploadRequest {
        tags: BTreeMap::from([(
            "snapshot-requester".to_owned(),
            "pod-volume-backup-restore".to_owned(),
        )]),
        ..request(&source)
    };
    upload(
        &world.repository(),
        &strange,
        &Progress::default(),
        &CancelToken::default(),
    )
    .expect("an upload");
    world.upload(&source).expect("an upload");
    assert_eq!(opened::count("strange-file"), 2);
}

#[test]
fn guarantee_2_an_entry_that_cannot_be_read_fails_the_upload_and_is_named() {
    let world = World::new();
    let source = world.folder("source");
    fs::create_dir(source.join("folder")).expect("a folder");
    fs::write(source.join("folder/unreadable-file"), b"data").expect("a file");
    fs::write(source.join("fine"), b"data").expect("a file");
    let error = world.upload(&source).expect_err("EIO is no success");
    assert!(error.to_string().contains("folder/unreadable-file"), "{error}");
    let snapshots = world
        .repository()
        .find_snapshots(&SnapshotFilter::default())
        .expect("a list");
    assert!(
        snapshots.is_empty(),
        "a complete snapshot was left behind: {snapshots:?}"
    );
}

#[test]
fn what_workers_look_into_early_is_what_the_walk_finds_by_itself() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let source = world.folder("source");
    let in_each =
        |folder: usize, file: usize| source.join(format!("{:02}/{folder:02}/{file:02}", folder / 8));
    for folder in 0..40 {
        fs::create_dir_all(in_each(folder, 0).parent().unwrap()).expect("a folder");
        (0..10)
            .for_each(|file| fs::write(in_each(folder, file), [folder as u8, file as u8]).expect("a file"));
    }
    world.upload(&source).expect("an upload");
    for round in 0..5 {
        // Changed, gone, new, of another kind, and one that was small and is so no more.
        for folder in (round..40).step_by(7) {
            fs::write(in_each(folder, 3), b"changed").expect("a file");
        }
        fs::remove_dir_all(source.join(format!("00/0{round}"))).expect("a folder");
        fs::write(source.join(format!("00/0{round}")), b"a file now").expect("a file");
        let large = source.join(format!("01/{:02}", 8 + round));
        (0..1500).for_each(|file| fs::write(large.join(format!("new {file}")), []).expect("a file"));
        let fifo = source.join(format!("02/{}/fifo", 16 + round));
        rustix::fs::mknodat(rustix::fs::CWD, fifo, FileType::Fifo, Mode::RUSR, 0).expect("a fifo");

        let upload_of = |path: &str| {
            let mut request = request(&source);
            request.parallel_files = Some(4);
            if !path.is_empty() {
                request.source.path = path.to_owned();
            }
            let outcome = upload(
                &world.repository(),
                &request,
                &Progress::default(),
                &CancelToken::default(),
            );
            let outcome = outcome.expect("an upload");
            let id = outcome.snapshot_id.parse().expect("an id");
            let snapshot = world.repository().load_snapshot(&id).expect("a snapshot");
            (snapshot.manifest.root_entry.expect("a root").object, outcome)
        };
        let (with_parent, outcome) = upload_of("");
        let (alone, as_new) = upload_of(&format!("/another/{round}"));
        assert_eq!(with_parent, alone);
        assert_eq!(outcome.left_out, as_new.left_out);
        assert_eq!(outcome.left_out.len(), round + 1);
        assert!(
            outcome.incremental_bytes < as_new.incremental_bytes,
            "nothing was reused"
        );
    }
}

#[test]
fn what_no_snapshot_can_hold_is_named_and_the_rest_is_saved() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let (source, target) = (world.folder("source"), world.folder("target"));
    fs::create_dir(source.join("run")).expect("a folder");
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, source.join("run/pipe"), FileType::Fifo, mode, 0).expect("a fifo");
    fs::write(source.join("data"), b"data").expect("a file");
    let outcome = world.upload(&source).expect("an upload");
    let fifo = LeftOut {
        path: "run/pipe".to_owned(),
        what: "fifo".to_owned(),
    };
    assert_eq!(outcome.left_out, [fifo]);
    world.restore(&outcome.snapshot_id, &target).expect("a restore");
    assert_eq!(picture(&source), picture(&target));
}

#[test]
fn an_empty_volume_says_that_it_is_empty() {
    let world = World::new();
    let outcome = world.upload(&world.folder("source")).expect("an upload");
    assert!(outcome.empty);
    assert_eq!(outcome.total_bytes, 0);
}

#[test]
fn guarantee_6_holes_stay_holes() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let (source, target) = (world.folder("source"), world.folder("target"));
    let mut file = fs::File::create(source.join("sparse")).expect("a file");
    file.write_all(b"begin").expect("bytes");
    file.seek(SeekFrom::Start(40 << 20)).expect("a seek");
    file.write_all(b"middle").expect("bytes");
    file.set_len(100 << 20).expect("a length");
    let outcome = world.upload(&source).expect("an upload");
    world.restore(&outcome.snapshot_id, &target).expect("a restore");
    assert_eq!(picture(&source), picture(&target));
    let occupied = target.join("sparse").metadata().expect("metadata").blocks() * 512;
    assert!(occupied < 1 << 20, "{occupied} bytes are occupied");
}

#[test]
fn guarantee_6_a_device_gets_zeros_where_the_snapshot_has_zeros() {
    let world = World::new();
    let folder = world.folder("devices");
    let (source, target) = (folder.join("source"), folder.join("target"));
    let mut content = noise(9 << 20, 5);
    content[1 << 20..8 << 20].fill(0);
    fs::write(&source, &content).expect("a stand-in for a device");
    fs::write(&target, noise(10 << 20, 6)).expect("a stand-in for a used device");
    let request = UploadRequest {
        mode: VolumeMode::Block,
        ..request(&source)
    };
    let repository = world.repository();
    let outcome = upload(
        &repository,
        &request,
        &Progress::default(),
        &CancelToken::default(),
    )
    .expect("an upload");
    let back = RestoreRequest {
        snapshot_id: outcome.snapshot_id,
        path: target.clone(),
        mode: VolumeMode::Block,
        sparse: true,
        parallel_files: None,
        synced: true,
        rules: RestoreRules::default(),
    };
    restore(&repository, &back, &Progress::default(), &CancelToken::default()).expect("a restore");
    let restored = fs::read(&target).expect("the device");
    assert!(restored[..content.len()] == content, "the device differs");

    let small = folder.join("small");
    let before = noise(1 << 20, 7);
    fs::write(&small, &before).expect("a stand-in for a small device");
    let back = RestoreRequest {
        path: small.clone(),
        ..back
    };
    let error = restore(&repository, &back, &Progress::default(), &CancelToken::default());
    assert!(matches!(error, Err(UploaderError::TooSmall { .. })));
    assert!(
        fs::read(&small).expect("the device") == before,
        "something was written"
    );
}

#[test]
fn restoring_over_an_old_tree_never_writes_through_its_links() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let (source, target) = (world.folder("source"), world.folder("target"));
    let outside = world.folder("outside");
    fs::write(outside.join("victim"), b"untouched").expect("a file");
    fs::create_dir(source.join("folder")).expect("a folder");
    fs::write(source.join("folder/victim"), b"new").expect("a file");
    fs::write(source.join("file"), b"new").expect("a file");
    symlink(&outside, target.join("folder")).expect("a link to a folder outside");
    symlink(outside.join("victim"), target.join("file")).expect("a link to a file outside");
    let outcome = world.upload(&source).expect("an upload");
    world.restore(&outcome.snapshot_id, &target).expect("a restore");
    assert_eq!(fs::read(outside.join("victim")).expect("the file"), b"untouched");
    assert_eq!(picture(&source), picture(&target));
}

#[test]
fn a_canceled_upload_says_so_and_leaves_no_snapshot() {
    let world = World::new();
    let source = world.folder("source");
    fs::write(source.join("data"), b"data").expect("a file");
    let (repository, cancel) = (world.repository(), CancelToken::default());
    cancel.cancel();
    let error = upload(&repository, &request(&source), &Progress::default(), &cancel);
    assert!(matches!(error, Err(UploaderError::Canceled)));
    assert!(
        repository
            .find_snapshots(&SnapshotFilter::default())
            .expect("a list")
            .is_empty()
    );
}

#[test]
fn progress_ends_where_the_total_is() {
    let world = World::new();
    let source = world.folder("source");
    fs::write(source.join("data"), noise(3 << 20, 8)).expect("a file");
    let progress = Progress::default();
    upload(
        &world.repository(),
        &request(&source),
        &progress,
        &CancelToken::default(),
    )
    .expect("an upload");
    assert_eq!(
        (progress.bytes_done(), progress.total_bytes()),
        (3 << 20, 3 << 20)
    );
}

/// What a data mover does with a cache volume (`crates/data-mover/src/cache.rs`), also with one that takes no writes.
#[test]
fn a_restore_with_a_cache_leaves_copies_in_it_and_one_whose_cache_is_broken_goes_on_without() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let source = world.folder("source");
    fs::write(source.join("data"), noise(3 << 20, 9)).expect("a file");
    let snapshot = world.upload(&source).expect("an upload").snapshot_id;
    let (working, broken) = (world.folder("cache"), world.folder("broken").join("cache"));
    fs::write(&broken, b"no folder").expect("a file");
    for (cache, sentences, target) in [(&working, 0, "target"), (&broken, 1, "other target")] {
        let said = Arc::new(std::sync::Mutex::new(Vec::new()));
        let listener = said.clone();
        let settings = CacheSettings {
            notice: Notice::new(move |text| listener.lock().expect("the list").push(text.to_owned())),
            ..CacheSettings::in_folder(cache)
        };
        let environment = Environment {
            cache: Some(settings),
            ..Environment::system()
        };
        let target = world.folder(target);
        let repository = world.open(world.storage.clone(), environment);
        World::restore_from(&repository, &snapshot, &target).expect("a restore");
        assert_eq!(picture(&source), picture(&target));
        let said = said.lock().expect("the list");
        assert_eq!(said.len(), sentences, "{said:?}");
    }
    let kept = picture(&working.join("contents"));
    assert!(kept.values().any(|file| file.contains("bytes")), "{kept:?}");
}
