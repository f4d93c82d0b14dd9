//! `velero kopia repository …` beyond creating and connecting: another password, other parameters, another place.
#![allow(clippy::unwrap_used)]

mod client;

use std::fs;

use client::{Client, PASSWORD, files};

#[test]
fn a_changed_password_is_the_only_one_that_opens() {
    let client = Client::with_repository();
    let id = client.snapshot(&client.tree());
    client.ok(&[
        "repository",
        "change-password",
        "--new-password",
        "battery staple",
    ]);
    let old = client.refused(&["snapshot", "list"]);
    assert!(old.message().contains("password does not open"), "{old}");
    let (done, printed) = client.with_password("battery staple", &["ls", &id]);
    done.unwrap();
    assert_eq!(printed.text, "sub\na\nl\n");
    let (empty, _) = client.with_password(
        "battery staple",
        &["repository", "change-password", "--new-password", ""],
    );
    assert!(empty.unwrap_err().message().contains("empty"));
}

#[test]
fn parameters_are_changed_within_kopias_limits() {
    let client = Client::with_repository();
    client.ok(&[
        "repository",
        "set-parameters",
        "--max-pack-size-mb=30",
        "--epoch-min-duration=48h",
        "--epoch-advance-on-count=33",
        "--epoch-advance-on-size-mb=20",
    ]);
    let status = client.ok(&["repository", "status", "--json"]).json();
    let format = &status["contentFormat"];
    assert_eq!(format["maxPackSize"], 30 << 20);
    assert_eq!(
        format["epochParameters"]["MinEpochDuration"],
        48 * 3_600_000_000_000_i64
    );
    assert_eq!(format["epochParameters"]["EpochAdvanceOnCountThreshold"], 33);
    assert_eq!(
        format["epochParameters"]["EpochAdvanceOnTotalSizeBytesThreshold"],
        20 << 20
    );
    let repository = client.path("repository");
    let before = files(&repository);
    for (flag, words) in [
        ("--max-pack-size-mb=5", "10 MiB to 120 MiB"),
        ("--max-pack-size-mb=18446744073709551615", "10 MiB to 120 MiB"),
        ("--epoch-min-duration=1m", "at least 10 minutes"),
        ("--epoch-advance-on-count=2", "10 index blobs"),
        ("--epoch-checkpoint-frequency=0", "checkpoint frequency"),
    ] {
        let refused = client.refused(&["repository", "set-parameters", flag]);
        assert!(refused.message().contains(words), "{flag}: {refused}");
    }
    let nothing = client.refused(&["repository", "set-parameters"]);
    assert_eq!(nothing.code(), 2);
    assert!(files(&repository) == before, "a refused change wrote something");
}

#[test]
fn a_repository_is_copied_and_the_copy_is_kept_up_to_date() {
    let client = Client::with_repository();
    let tree = client.tree();
    let id = client.snapshot(&tree);
    let (original, copy) = (client.path("repository"), client.path("copy"));
    let to = [
        "repository",
        "sync-to",
        "filesystem",
        "--path",
        copy.to_str().unwrap(),
    ];
    let with = |more: &[&str]| client.ok(&[&to[..], more].concat());
    client.refused(&[&to[..], &["--must-exist"]].concat());
    fs::create_dir(&copy).unwrap();
    let plan = with(&["--dry-run"]).talk;
    assert!(plan.contains("blobs") && files(&copy).is_empty(), "{plan}");
    with(&[]);
    let blobs = |folder| -> Vec<_> {
        let all = files(folder).into_iter();
        all.map(|(path, bytes)| (path.strip_prefix(folder).unwrap().to_owned(), bytes))
            .collect()
    };
    assert!(blobs(&original) == blobs(&copy), "the copy is another repository");

    fs::write(tree.join("more"), client::noise(50_000)).unwrap();
    client.snapshot(&tree);
    client.ok(&["snapshot", "delete", &id, "--delete"]);
    client.ok(&["maintenance", "run", "--full", "--safety=none"]);
    client.ok(&["maintenance", "run", "--full", "--safety=none"]);
    with(&["--delete", "--parallel=1"]);
    assert!(
        blobs(&original) == blobs(&copy),
        "the copy was not brought up to date"
    );
    let again = with(&["--delete"]).talk;
    assert!(again.contains("0 blobs (0 B) to copy, 0 to delete"), "{again}");

    client.ok(&[
        "repository",
        "connect",
        "filesystem",
        "--path",
        copy.to_str().unwrap(),
    ]);
    client.ok(&["snapshot", "verify", "--verify-files-percent=100"]);
}

#[test]
fn a_copy_goes_nowhere_but_to_its_own_repository() {
    let client = Client::with_repository();
    client.snapshot(&client.tree());
    let other = Client::with_repository();
    other.snapshot(&other.tree());
    let (theirs, photos) = (other.path("repository"), client.path("photos"));
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("holiday.f"), "a photo").unwrap();
    for (folder, words) in [(&theirs, "another repository"), (&photos, "of no repository")] {
        let before = files(folder);
        let to = [
            "repository",
            "sync-to",
            "filesystem",
            "--path",
            folder.to_str().unwrap(),
            "--delete",
        ];
        let refused = client.refused(&to);
        assert!(
            refused.message().contains(words) && refused.advice().is_some(),
            "{refused}"
        );
        assert!(files(folder) == before, "{folder:?} was changed");
    }
}

#[test]
fn where_there_is_no_object_lock_a_retention_is_refused_and_nothing_written() {
    let client = Client::new();
    let folder = client.path("empty");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.to_str().unwrap();
    let create = ["repository", "create", "filesystem", "--path", path];
    for (flags, words) in [
        (
            &["--retention-mode=COMPLIANCE", "--retention-period=48h"][..],
            "S3",
        ),
        (&["--retention-mode=COMPLIANCE"], "belong together"),
        (&["--retention-mode=LOCKED", "--retention-period=48h"], "LOCKED"),
        (
            &["--retention-mode=GOVERNANCE", "--retention-period=1h"],
            "a day or more",
        ),
    ] {
        let refused = client.refused(&[&create[..], flags].concat());
        assert!(refused.message().contains(words), "{flags:?}: {refused}");
        assert!(files(&folder).is_empty(), "{flags:?} wrote something");
    }
}

#[test]
fn a_folder_can_hold_a_repository_and_nothing_of_the_check_is_left() {
    let client = Client::with_repository();
    let repository = client.path("repository");
    let before: Vec<_> = files(&repository).into_keys().collect();
    let check = [
        "repository",
        "validate-provider",
        "--concurrency-test-duration=1s",
    ];
    let talk = client.ok(&check).talk;
    assert!(
        talk.contains("All good.") && talk.contains("times read"),
        "{talk}"
    );
    assert!(before == files(&repository).into_keys().collect::<Vec<_>>());
    client.ok(&[
        "repository",
        "connect",
        "filesystem",
        "--path",
        repository.to_str().unwrap(),
        "--readonly",
    ]);
    assert!(client.refused(&check).message().contains("read-only"));
}

#[test]
fn the_caches_settings_are_the_connections_own() {
    let client = Client::with_repository();
    let folder = client.path("cache");
    let usual = client.ok(&["cache", "info", "--path"]).text;
    assert!(usual.contains("velero/kopia/"), "{usual}");
    client.ok(&[
        "cache",
        "set",
        "--cache-directory",
        folder.to_str().unwrap(),
        "--content-cache-size-mb=7",
        "--max-list-cache-duration=5s",
    ]);
    assert_eq!(
        client.ok(&["cache", "info", "--path"]).text.trim(),
        folder.to_str().unwrap()
    );
    assert_eq!(client.refused(&["cache", "set"]).code(), 2);
    fs::create_dir_all(folder.join("contents/p01")).unwrap();
    fs::write(folder.join("contents/p01/a"), [0; 2000]).unwrap();
    fs::create_dir_all(folder.join("metadata")).unwrap();
    fs::write(folder.join("mine"), "not of the cache").unwrap();
    let info = client.ok(&["cache", "info"]).text;
    assert!(info.contains("contents: 1 files 2 KB (limit: 7 MB)"), "{info}");
    client.ok(&["cache", "clear", "--partial", "metadata"]);
    assert!(folder.join("contents/p01/a").exists() && !folder.join("metadata").exists());
    client.ok(&["cache", "clear"]);
    assert!(!folder.join("contents").exists() && folder.join("mine").exists());
    assert!(
        client
            .ok(&["ls", &client.snapshot(&client.tree())])
            .text
            .starts_with("sub\n")
    );
    assert!(!client.ok(&["repository", "status"]).text.contains(PASSWORD));
}
