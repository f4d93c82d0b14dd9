//! What a restore does with what is there already: replaces it, leaves it, takes it for done, or says that it is in the way.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};

use crate::rules_tests::{paths, restore_by, save};
use crate::tests::World;
use crate::*;

#[test]
fn what_is_there_is_replaced_left_or_a_failure_as_asked() {
    let world = World::new();
    let source = world.folder("source");
    fs::write(source.join("file"), "new").expect("a file");
    symlink("new-target", source.join("link")).expect("a link");
    fs::create_dir(source.join("sub")).expect("a folder");
    fs::write(source.join("sub/file"), "new").expect("a file");
    let saved = save(&world, &source, UploadRules::default());
    let all = RestoreRules::default();
    let cases = [
        (all, Ok("new")),
        (
            RestoreRules {
                skip_existing: true,
                ..all
            },
            Ok("old"),
        ),
        (
            RestoreRules {
                overwrite_files: false,
                ..all
            },
            Err("file"),
        ),
        (
            RestoreRules {
                overwrite_symlinks: false,
                ..all
            },
            Err("link"),
        ),
    ];
    for (n, (rules, expected)) in cases.into_iter().enumerate() {
        let back = world.folder(&format!("back-{n}"));
        fs::write(back.join("file"), "old").expect("a file");
        symlink("old-target", back.join("link")).expect("a link");
        fs::create_dir(back.join("sub")).expect("a folder");
        fs::write(back.join("sub/file"), "old").expect("a file");
        let done = restore_by(&world, &saved.snapshot_id, &back, rules);
        match expected {
            Ok(text) => {
                done.expect("a restore");
                for file in ["file", "sub/file"] {
                    assert_eq!(fs::read_to_string(back.join(file)).expect("a file"), text);
                }
                let target = fs::read_link(back.join("link")).expect("a link");
                assert_eq!(target.to_string_lossy(), format!("{text}-target"));
            }
            Err(name) => assert!(done.expect_err("a failure").to_string().contains(name)),
        }
    }
}

/// What is there stays and is named; beside it, in a folder that the restore makes, everything is written.
#[test]
fn a_file_below_a_folder_that_is_there_is_not_replaced_unless_asked() {
    let world = World::new();
    let source = world.folder("source");
    fs::create_dir_all(source.join("old/new")).expect("folders");
    fs::write(source.join("old/file"), "new").expect("a file");
    fs::write(source.join("old/new/file"), "new").expect("a file");
    let saved = save(&world, &source, UploadRules::default());
    let rules = RestoreRules {
        overwrite_files: false,
        ignore_errors: true,
        ..RestoreRules::default()
    };
    let back = world.folder("back");
    fs::create_dir(back.join("old")).expect("a folder");
    fs::write(back.join("old/file"), "old").expect("a file");
    let done = restore_by(&world, &saved.snapshot_id, &back, rules).expect("the others go on");
    let failed: Vec<_> = done.failed.iter().map(|failed| failed.path.as_str()).collect();
    assert_eq!(failed, ["old/file"]);
    assert_eq!(fs::read_to_string(back.join("old/file")).expect("a file"), "old");
    assert_eq!(
        fs::read_to_string(back.join("old/new/file")).expect("a file"),
        "new"
    );
}

#[test]
fn a_directory_that_holds_something_is_left_alone_when_asked() {
    let world = World::new();
    let source = world.folder("source");
    fs::create_dir_all(source.join("sub")).expect("a folder");
    fs::write(source.join("sub/file"), "new").expect("a file");
    let saved = save(&world, &source, UploadRules::default());
    let rules = RestoreRules {
        overwrite_directories: false,
        ..RestoreRules::default()
    };
    let back = world.folder("back");
    restore_by(&world, &saved.snapshot_id, &back, rules).expect("an empty one is taken");
    let error = restore_by(&world, &saved.snapshot_id, &back, rules).expect_err("it holds something");
    assert!(error.to_string().contains("restore into `.`"), "{error}");
    let goes_on = RestoreRules {
        resume: true,
        ..rules
    };
    restore_by(&world, &saved.snapshot_id, &back, goes_on).expect("what a killed restore left is filled");
}

#[test]
fn a_restore_goes_on_where_another_was_killed_and_clears_what_it_left() {
    let world = World::new();
    let source = world.folder("source");
    for n in 0..20 {
        fs::write(source.join(format!("file-{n}")), format!("text {n}")).expect("a file");
    }
    let saved = save(&world, &source, UploadRules::default());
    let back = world.folder("back");
    world.restore(&saved.snapshot_id, &back).expect("a restore");
    let inode = |n: i32| {
        fs::metadata(back.join(format!("file-{n}")))
            .expect("a file")
            .ino()
    };
    // As it is when a restore dies: some are missing, one was changed since, one is unfinished.
    let left = format!(".restoring.{:032x}.7", 5);
    fs::write(back.join(&left), "half a").expect("a file");
    fs::remove_file(back.join("file-3")).expect("a file");
    fs::write(back.join("file-4"), "other text").expect("a file");
    let before = inode(5);
    let rules = RestoreRules {
        resume: true,
        ..RestoreRules::default()
    };
    restore_by(&world, &saved.snapshot_id, &back, rules).expect("a restore");
    assert_eq!(inode(5), before, "it was done already");
    assert_eq!(paths(&back), paths(&source));
    for n in 0..20 {
        let text = fs::read_to_string(back.join(format!("file-{n}"))).expect("a file");
        assert_eq!(text, format!("text {n}"));
    }
}

/// A folder, and a file, a link to a folder, and nothing where it goes.
#[test]
fn a_file_or_link_where_a_directory_belongs_is_removed_only_where_it_may_be_replaced() {
    let world = World::new();
    let source = world.folder("source");
    fs::create_dir(source.join("data")).expect("a folder");
    fs::write(source.join("data/file"), "new").expect("a file");
    let saved = save(&world, &source, UploadRules::default());
    let elsewhere = world.folder("elsewhere");
    let all = RestoreRules::default();
    let skip = RestoreRules {
        skip_existing: true,
        ..all
    };
    let no_files = RestoreRules {
        overwrite_files: false,
        ..all
    };
    let no_links = RestoreRules {
        overwrite_symlinks: false,
        ..all
    };
    let cases = [
        (all, true, true),
        (skip, false, false),
        (no_files, false, true),
        (no_links, true, false),
    ];
    for (n, (rules, file_goes, link_goes)) in cases.into_iter().enumerate() {
        for (is_link, goes) in [(false, file_goes), (true, link_goes)] {
            let back = world.folder(&format!("back-{n}-{is_link}"));
            match is_link {
                true => symlink(&elsewhere, back.join("data")).expect("a link"),
                false => fs::write(back.join("data"), "old").expect("a file"),
            }
            let done = restore_by(&world, &saved.snapshot_id, &back, rules);
            assert_eq!(done.is_ok(), goes, "{rules:?}, link: {is_link}");
            match done {
                Ok(_) => assert_eq!(fs::read(back.join("data/file")).expect("a file"), b"new"),
                Err(error) => {
                    assert!(error.to_string().contains("in place of `data`"), "{error}");
                    assert_eq!(back.join("data").is_symlink(), is_link);
                }
            }
        }
    }
    assert_eq!(paths(&elsewhere), [""; 0]);
}

#[test]
fn other_names_of_a_file_never_become_names_of_what_stays_in_its_place() {
    let world = World::new();
    let source = world.folder("source");
    fs::write(source.join("a"), "one file").expect("a file");
    for name in ["b", "c"] {
        fs::hard_link(source.join("a"), source.join(name)).expect("a link");
    }
    let rules = UploadRules {
        hard_links: true,
        ..UploadRules::default()
    };
    let saved = save(&world, &source, rules);
    let left = RestoreRules {
        skip_existing: true,
        ..RestoreRules::default()
    };
    let refused = RestoreRules {
        overwrite_files: false,
        ignore_errors: true,
        ..RestoreRules::default()
    };
    for (name, rules, failed) in [("left", left, vec![]), ("refused", refused, vec!["a"])] {
        let back = world.folder(name);
        fs::write(back.join("a"), "somebody's").expect("a file");
        let done = restore_by(&world, &saved.snapshot_id, &back, rules).expect("a restore");
        let named: Vec<_> = done.failed.iter().map(|failed| failed.path.as_str()).collect();
        assert_eq!(named, failed);
        assert_eq!(fs::read(back.join("a")).expect("a file"), b"somebody's");
        assert_eq!(fs::read(back.join("b")).expect("a file"), b"one file");
        let inode = |file: &str| fs::metadata(back.join(file)).expect("a file").ino();
        assert_eq!(inode("b"), inode("c"));
        assert_eq!(paths(&back), ["a", "b", "c"]);
    }
}

#[test]
fn names_of_one_file_that_are_there_already_are_made_again_or_left() {
    let world = World::new();
    let source = world.folder("source");
    fs::write(source.join("a"), "one file").expect("a file");
    fs::hard_link(source.join("a"), source.join("b")).expect("a link");
    let rules = UploadRules {
        hard_links: true,
        ..UploadRules::default()
    };
    let saved = save(&world, &source, rules);
    let resumed = RestoreRules {
        resume: true,
        ..RestoreRules::default()
    };
    let back = world.folder("back");
    for (rules, changes) in [
        (RestoreRules::default(), "nothing"),
        (RestoreRules::default(), "nothing"),
        (resumed, "nothing"),
        (resumed, "two files"),
    ] {
        if changes == "two files" {
            let modified = fs::metadata(back.join("a"))
                .and_then(|it| it.modified())
                .expect("a time");
            fs::remove_file(back.join("b")).expect("a file");
            fs::copy(back.join("a"), back.join("b")).expect("a file");
            let file = File::options().write(true).open(back.join("b")).expect("a file");
            file.set_modified(modified).expect("its time");
        }
        let done = restore_by(&world, &saved.snapshot_id, &back, rules).expect("a restore");
        assert_eq!(done.total_bytes, 16);
        let inode = |file: &str| fs::metadata(back.join(file)).expect("a file").ino();
        assert_eq!(inode("a"), inode("b"));
        assert_eq!(paths(&back), ["a", "b"]);
    }
}

/// After a power failure a file may have its name, length and times, and a hole where its data belongs.
#[test]
fn a_file_with_a_hole_is_not_taken_for_done() {
    let world = World::new();
    let source = world.folder("source");
    let bytes = vec![7; 300_000];
    fs::write(source.join("file"), &bytes).expect("a file");
    let saved = save(&world, &source, UploadRules::default());
    let back = world.folder("back");
    world.restore(&saved.snapshot_id, &back).expect("a restore");
    let modified = fs::metadata(back.join("file"))
        .and_then(|it| it.modified())
        .expect("a time");
    let file = File::options()
        .write(true)
        .open(back.join("file"))
        .expect("a file");
    file.set_len(100_000).expect("shorter");
    file.set_len(300_000).expect("longer, with a hole");
    file.set_modified(modified).expect("its time");
    drop(file);
    let rules = RestoreRules {
        resume: true,
        ..RestoreRules::default()
    };
    restore_by(&world, &saved.snapshot_id, &back, rules).expect("a restore");
    assert_eq!(fs::read(back.join("file")).expect("a file"), bytes);
}
