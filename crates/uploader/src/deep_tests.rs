//! Trees that are as deep as one is followed (`LONGEST_PATH`), and deeper ones.

use std::path::Path;

use caravel_repository::LONGEST_PATH;
use caravel_repository::verify::Level;
use rustix::fs::{Mode, OFlags};

use crate::tests::World;
use crate::*;

/// `levels` directories, each in the one before, and a file at the bottom.
fn nested(root: &Path, levels: usize) {
    let mut directory = rustix::fs::open(root, OFlags::DIRECTORY, Mode::empty()).expect("a folder");
    for _ in 0..levels {
        rustix::fs::mkdirat(&directory, "d", Mode::RWXU).expect("a folder");
        directory = rustix::fs::openat(&directory, "d", OFlags::DIRECTORY, Mode::empty()).expect("it");
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let file = rustix::fs::openat(&directory, "file", flags, Mode::RUSR).expect("a file");
    rustix::io::write(&file, b"deep").expect("bytes");
}

/// Of names of one letter.
const MOST_LEVELS: usize = LONGEST_PATH.div_ceil(2);

#[test]
fn a_tree_as_deep_as_any_is_followed_comes_back_and_verifies() {
    let world = World::new();
    let (source, target) = (world.folder("source"), world.folder("target"));
    nested(&source, MOST_LEVELS);
    let outcome = world.upload(&source).expect("an upload");
    world.restore(&outcome.snapshot_id, &target).expect("a restore");
    let again = world.upload(&target).expect("an upload");
    assert_eq!((again.total_bytes, again.incremental_bytes), (4, 0));
    let report = world.repository().verify(Level::AllBytes, &mut |_| true);
    let report = report.expect("a report");
    assert_eq!((report.problems.len(), report.files), (0, 1));
    assert_eq!(report.directories, MOST_LEVELS as u64 + 1);
}

#[test]
fn a_deeper_tree_fails_by_the_name_of_the_directory_and_not_by_its_stack() {
    let world = World::new();
    let source = world.folder("source");
    nested(&source, MOST_LEVELS + 1);
    let error = world.upload(&source).expect_err("it is too deep");
    let UploaderError::Entry { path, operation, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((path.len(), *operation), (2 * MOST_LEVELS + 1, "go down into"));
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
