//! Trees that are as deep as one is followed (`LONGEST_PATH`), and deeper ones.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use caravel_repository::verify::Level;
use caravel_repository::{
    DEEPEST, DirectoryEntry, DirectorySummary, EntryType, FileMode, LONGEST_PATH, SnapshotManifest,
};
use rustix::fs::{Mode, OFlags};

use crate::tests::{World, request};
use crate::*;

/// Directories of these names, each in the one before, and a file at the bottom.
fn nested<'a>(root: &Path, names: impl IntoIterator<Item = &'a [u8]>) {
    let mut directory = rustix::fs::open(root, OFlags::DIRECTORY, Mode::empty()).expect("a folder");
    for name in names {
        let name = OsStr::from_bytes(name);
        rustix::fs::mkdirat(&directory, name, Mode::RWXU).expect("a folder");
        directory = rustix::fs::openat(&directory, name, OFlags::DIRECTORY, Mode::empty()).expect("it");
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let file = rustix::fs::openat(&directory, "file", flags, Mode::RUSR).expect("a file");
    rustix::io::write(&file, b"deep").expect("bytes");
}

fn one_letter(levels: usize) -> impl Iterator<Item = &'static [u8]> {
    std::iter::repeat_n(&b"d"[..], levels)
}

fn comes_back_and_verifies<'a>(names: impl IntoIterator<Item = &'a [u8]>, levels: u64) {
    let world = World::new();
    let (source, target) = (world.folder("source"), world.folder("target"));
    nested(&source, names);
    let outcome = world.upload(&source).expect("an upload");
    world.restore(&outcome.snapshot_id, &target).expect("a restore");
    let again = world.upload(&target).expect("an upload");
    assert_eq!((again.total_bytes, again.incremental_bytes), (4, 0));
    let report = world.repository().verify(Level::AllBytes, &mut |_| true);
    let report = report.expect("a report");
    assert!(report.problems.is_empty(), "{:?}", report.problems.first());
    assert_eq!((report.files, report.directories), (1, levels + 1));
}

#[test]
fn a_tree_with_the_longest_path_of_all_comes_back_and_verifies() {
    let names = [&b"dd"[..]].into_iter().chain(one_letter(DEEPEST - 1));
    assert_eq!(LONGEST_PATH, 2 + 2 * (DEEPEST - 1));
    comes_back_and_verifies(names, DEEPEST as u64);
}

#[test]
fn a_deep_tree_of_names_that_are_not_utf8_comes_back_and_verifies() {
    // Three bytes that begin a letter and do not end it: one sign to be shown, three where each byte is shown.
    let name = [0xf0, 0x9f, 0x98].repeat(84);
    comes_back_and_verifies(std::iter::repeat_n(&name[..], 64), 64);
}

#[test]
fn a_deeper_tree_fails_by_the_name_of_the_directory_and_not_by_its_stack() {
    let world = World::new();
    let source = world.folder("source");
    nested(&source, one_letter(DEEPEST + 1));
    let error = world.upload(&source).expect_err("it is too deep");
    let UploaderError::Entry { path, operation, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((path.len(), *operation), (LONGEST_PATH + 1, "go down into"));
    assert!(error.to_string().ends_with("File name too long (os error 36)"));
    let mut failed = Vec::new();
    estimate(&source, &UploadRules::default(), &mut |found| {
        if let Estimated::Failed(error) = found {
            failed.push(error.to_string());
        }
    })
    .expect("an estimate");
    assert_eq!(failed, [error.to_string()]);
}

/// A snapshot as no backup makes it.
fn snapshot_of(world: &World, levels: usize) -> String {
    let repository = world.repository();
    let writer = repository.write().expect("a writer");
    let (mut entries, summary) = (Vec::new(), DirectorySummary::default());
    for _ in 0..=levels {
        let object = writer
            .write_directory(&mut entries, &summary)
            .expect("a directory");
        let mut entry = DirectoryEntry::new(EntryType::Directory, b"d", object);
        entry.mode = FileMode::from_unix(0o40755);
        entries = vec![entry];
    }
    let request = request(Path::new("/made"));
    let now = repository.environment().clock.now();
    let manifest = SnapshotManifest {
        id: String::new(),
        source: request.source,
        description: String::new(),
        start_time: now,
        end_time: now,
        stats: Default::default(),
        incomplete: String::new(),
        root_entry: entries.pop(),
        tags: request.tags,
        pins: Vec::new(),
    };
    let id = writer.put_snapshot(&manifest).expect("a snapshot");
    writer.commit().expect("a commit");
    id.to_string()
}

#[test]
fn a_snapshot_that_is_deeper_than_any_backup_makes_it_is_refused_by_whoever_reads_it() {
    let world = World::new();
    let id = snapshot_of(&world, DEEPEST + 1);
    let error = world.restore(&id, &world.folder("target")).expect_err("too deep");
    assert!(error.to_string().ends_with("File name too long (os error 36)"));
    let report = world.repository().verify(Level::Structure, &mut |_| true);
    let problems = report.expect("a report").problems;
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().ends_with("nested too deeply"));
}
