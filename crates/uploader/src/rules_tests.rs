//! What a policy leaves out, overlooks and compresses; what is kept beside what Kopia keeps; what a restore goes on without.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use caravel_repository::policy::{Policy, built_in};
use caravel_storage::BlobId;
use rustix::fs::XattrFlags;

use crate::tests::{World, request};
use crate::*;

pub(crate) fn save(world: &World, path: &Path, rules: UploadRules) -> UploadOutcome {
    let request = UploadRequest {
        rules,
        ..request(path)
    };
    let (progress, cancel) = (Progress::default(), CancelToken::default());
    upload(&world.repository(), &request, &progress, &cancel).expect("an upload")
}

fn by(change: impl FnOnce(&mut Policy)) -> UploadRules {
    let mut policy = built_in();
    change(&mut policy);
    UploadRules {
        policy: Some(Arc::new(policy)),
        ..UploadRules::default()
    }
}

pub(crate) fn restore_by(
    world: &World,
    snapshot_id: &str,
    path: &Path,
    rules: RestoreRules,
) -> Result<RestoreOutcome, RestoreError> {
    let request = RestoreRequest {
        snapshot_id: snapshot_id.to_owned(),
        path: path.to_owned(),
        mode: VolumeMode::Filesystem,
        sparse: false,
        parallel_files: None,
        synced: false,
        rules,
    };
    let (progress, cancel) = (Progress::default(), CancelToken::default());
    restore(&world.repository(), &request, &progress, &cancel)
}

/// Every path below a folder, sorted.
pub(crate) fn paths(folder: &Path) -> Vec<String> {
    fn add(found: &mut Vec<String>, folder: &Path, top: &Path) {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            let below = path
                .strip_prefix(top)
                .expect("below")
                .to_string_lossy()
                .into_owned();
            found.push(below);
            if path.is_dir() && !path.is_symlink() {
                add(found, &path, top);
            }
        }
    }
    let mut found = Vec::new();
    add(&mut found, folder, folder);
    found.sort();
    found
}

fn tree(world: &World) -> std::path::PathBuf {
    let source = world.folder("source");
    fs::create_dir_all(source.join("sub/deep")).expect("folders");
    fs::create_dir_all(source.join("cache")).expect("folders");
    for (name, text) in [
        ("keep.txt", "kept"),
        ("a.log", "left out"),
        ("sub/b.log", "left out"),
        ("sub/keep.log", "taken back"),
        ("sub/only-here", "left out below sub"),
        ("sub/deep/only-here", "not this one"),
        ("only-here", "nor this one"),
        ("sub/.kopiaignore", "# rules\n!keep.log\n/only-here\n"),
        (
            "cache/CACHEDIR.TAG",
            "Signature: 8a477f597d28d172789f06886806bc55\n",
        ),
        ("cache/big", "of no use"),
    ] {
        fs::write(source.join(name), text).expect("a file");
    }
    source
}

#[test]
fn a_policy_leaves_out_what_it_says_and_a_folder_that_says_it_is_a_cache() {
    let world = World::new();
    let source = tree(&world);
    let saved = save(
        &world,
        &source,
        by(|policy| policy.files.ignore = vec!["*.log".into()]),
    );
    let back = world.folder("back");
    world.restore(&saved.snapshot_id, &back).expect("a restore");
    assert_eq!(
        paths(&back),
        [
            "cache",
            "keep.txt",
            "only-here",
            "sub",
            "sub/.kopiaignore",
            "sub/deep",
            "sub/deep/only-here",
            "sub/keep.log",
        ]
    );
    assert_eq!(saved.excluded, 5);
}

#[test]
fn without_a_policy_everything_is_saved() {
    let world = World::new();
    let source = tree(&world);
    let saved = save(&world, &source, UploadRules::default());
    let back = world.folder("back");
    world.restore(&saved.snapshot_id, &back).expect("a restore");
    assert_eq!(paths(&back), paths(&source));
    assert_eq!(saved.excluded, 0);
}

#[test]
fn a_policy_limits_sizes_and_compresses_by_endings() {
    let world = World::new();
    let source = world.folder("source");
    let text = "the same line again and again\n".repeat(20_000);
    for name in ["a.txt", "b.bin", "c.txt"] {
        fs::write(source.join(name), format!("{name}{text}")).expect("a file");
    }
    fs::write(source.join("large"), vec![7; 2 << 20]).expect("a file");
    let rules = by(|policy| {
        policy.files.max_file_size = 1 << 20;
        policy.compression.compressor_name = "zstd".into();
        policy.compression.never_compress = vec![".bin".into()];
    });
    let saved = save(&world, &source, rules);
    let repository = world.repository();
    let root = repository
        .load_snapshot(&saved.snapshot_id.parse().expect("an id"))
        .expect("a snapshot")
        .manifest
        .root_entry
        .expect("a root");
    let directory = repository.read_directory(root.object).expect("a directory");
    let stored: Vec<(String, bool)> = directory
        .entries
        .iter()
        .map(|entry| {
            let content = repository.content_info(&entry.object.content);
            (entry.name.clone(), content.expect("known").compression != 0)
        })
        .collect();
    let expected = [("a.txt", true), ("b.bin", false), ("c.txt", true)];
    assert_eq!(
        stored,
        expected.map(|(name, compressed)| (name.to_owned(), compressed))
    );
    assert_eq!(saved.excluded, 1);
}

#[test]
fn an_entry_that_cannot_be_read_is_noted_or_ignored_as_the_policy_says() {
    for (ignored, name) in [(false, "unreadable-noted"), (true, "unreadable-ignored")] {
        let world = World::new();
        let source = world.folder("source");
        fs::create_dir_all(source.join("sub")).expect("a folder");
        fs::write(source.join("sub").join(name), "secret").expect("a file");
        fs::write(source.join("readable"), "text").expect("a file");
        let rules = by(|policy| policy.error_handling.ignore_file_errors = Some(ignored));
        let saved = save(&world, &source, rules);
        assert_eq!(saved.failed.len(), 1, "{:?}", saved.failed);
        assert_eq!(saved.failed[0].path, format!("sub/{name}"));
        assert!(saved.failed[0].error.contains("open"), "{:?}", saved.failed);
        assert_eq!(saved.ignored_errors, u64::from(ignored));
        let id = saved.snapshot_id.parse().expect("an id");
        let manifest = world.repository().load_snapshot(&id).expect("it").manifest;
        let summary = manifest
            .root_entry
            .and_then(|root| root.summary)
            .expect("a summary");
        assert_eq!(summary.num_failed, u64::from(!ignored));
        assert_eq!(summary.num_ignored_errors, u64::from(ignored));
        assert_eq!(summary.errors, saved.failed);
        assert_eq!(manifest.stats.error_count, u64::from(!ignored));
        let back = world.folder("back");
        world.restore(&saved.snapshot_id, &back).expect("a restore");
        assert_eq!(paths(&back), ["readable", "sub"]);
    }
}

#[test]
fn extended_attributes_and_hard_links_are_kept_on_request() {
    let world = World::new();
    let source = world.folder("source");
    fs::create_dir_all(source.join("sub")).expect("a folder");
    fs::write(source.join("a"), "one file").expect("a file");
    fs::hard_link(source.join("a"), source.join("sub/b")).expect("a link");
    fs::hard_link(source.join("a"), source.join("c")).expect("a link");
    let set = |path: &Path| rustix::fs::setxattr(path, "user.note", b"\x00\xffnote", XattrFlags::empty());
    if set(&source.join("a")).is_err() || set(&source.join("sub")).is_err() {
        eprintln!("skipped: the temporary folder has no extended attributes");
        return;
    }
    let get = |path: &Path| {
        let mut value = [0; 64];
        let length = rustix::fs::lgetxattr(path, "user.note", &mut value[..]).ok()?;
        Some(value[..length].to_vec())
    };
    for kept in [true, false] {
        let rules = UploadRules {
            extended_attributes: kept,
            hard_links: kept,
            ..UploadRules::default()
        };
        // The second of each comes from the parent snapshot without being read.
        for _ in 0..2 {
            let saved = save(&world, &source, rules.clone());
            let back = world.folder(&format!("back-{kept}"));
            world.restore(&saved.snapshot_id, &back).expect("a restore");
            let inode = |name: &str| fs::metadata(back.join(name)).expect("a file").ino();
            assert_eq!(inode("a") == inode("c") && inode("a") == inode("sub/b"), kept);
            let expected = kept.then(|| b"\x00\xffnote".to_vec());
            assert_eq!(get(&back.join("sub/b")), expected);
            assert_eq!(get(&back.join("sub")), expected);
            assert_eq!(fs::read(back.join("c")).expect("a file"), b"one file");
            let names = paths(&back);
            assert_eq!(names, ["a", "c", "sub", "sub/b"]);
        }
    }
}

#[test]
fn a_damaged_pack_costs_its_files_and_the_restore_lists_them() {
    let world = World::new();
    let source = world.folder("source");
    fs::create_dir_all(source.join("second")).expect("a folder");
    fs::write(source.join("first"), vec![1; 300_000]).expect("a file");
    let first = save(&world, &source, UploadRules::default());
    // Another upload, another pack.
    fs::write(source.join("second/file"), vec![2; 300_000]).expect("a file");
    let saved = save(&world, &source, UploadRules::default());
    let id = first.snapshot_id.parse().expect("an id");
    let repository = world.repository();
    let root = repository
        .load_snapshot(&id)
        .expect("it")
        .manifest
        .root_entry
        .expect("a root");
    let mut entries = repository.read_directory(root.object).expect("it").entries;
    let file = entries.pop().expect("files come after directories");
    let content = repository.content_info(&file.object.content).expect("known");
    let pack = BlobId::from(&*content.pack);
    let mut bytes = world.block_on(world.storage.get(&pack)).expect("a pack").to_vec();
    bytes[content.pack_offset as usize + 20] ^= 1;
    world
        .block_on(world.storage.put(&pack, bytes.into()))
        .expect("a put");

    let strict = restore_by(
        &world,
        &saved.snapshot_id,
        &world.folder("strict"),
        RestoreRules::default(),
    );
    let error = strict.expect_err("a damaged file").to_string();
    assert!(
        error.contains("first") && error.contains(&*content.pack),
        "{error}"
    );
    let back = world.folder("back");
    let rules = RestoreRules {
        ignore_errors: true,
        ..RestoreRules::default()
    };
    let outcome = restore_by(&world, &saved.snapshot_id, &back, rules).expect("the rest");
    let failed: Vec<&str> = outcome.failed.iter().map(|failed| failed.path.as_str()).collect();
    assert_eq!(failed, ["first"]);
    assert!(
        outcome.failed[0].error.contains(&*content.pack),
        "{:?}",
        outcome.failed
    );
    assert_eq!(paths(&back), ["second", "second/file"]);
    assert_eq!(
        fs::read(back.join("second/file")).expect("a file"),
        vec![2; 300_000]
    );
}

#[test]
fn of_small_folders_those_that_cannot_be_opened_are_noted_and_the_others_saved() {
    let world = World::new();
    let source = world.folder("source");
    let names = (0..30).map(|number| match number % 4 {
        0 => format!("readable {number}"),
        _ => format!("unreadable later {number}"),
    });
    for name in names {
        fs::create_dir(source.join(&name)).expect("a folder");
        fs::write(source.join(&name).join("file"), b"data").expect("a file");
    }
    let save = || {
        let request = UploadRequest {
            rules: by(|_| {}),
            parallel_files: Some(4),
            ..request(&source)
        };
        let (progress, cancel) = (Progress::default(), CancelToken::default());
        upload(&world.repository(), &request, &progress, &cancel).expect("an upload")
    };
    // It says that all are small, so workers look into them the next time.
    assert_eq!(save().failed, []);
    let saved = save();
    let folders: Vec<&str> = saved.failed.iter().map(|failed| failed.path.as_str()).collect();
    assert_eq!(folders.len(), 22);
    assert!(
        folders.iter().all(|path| path.starts_with("unreadable later")),
        "{folders:?}"
    );
    assert_eq!(saved.total_bytes, 8 * 4);
}
