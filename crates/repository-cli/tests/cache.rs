//! The cache as a person meets it: two connections on one folder, verification that looks past it, clearing, limits.
#![allow(clippy::unwrap_used)]

mod client;

use std::{fs, path::Path};

use client::{Client, PASSWORD, files};

/// Every blob of a kind goes: what is read from now on comes from copies.
fn lose(repository: &Path, letter: char) -> usize {
    let lost = files(repository).into_keys().filter(|path| {
        let below = path.strip_prefix(repository).unwrap();
        below.to_str().unwrap().starts_with(letter)
    });
    lost.map(|path| fs::remove_file(path).unwrap()).count()
}

#[test]
fn what_one_connection_has_read_another_reads_from_the_cache_but_never_a_verification() {
    let client = Client::with_repository();
    let (repository, folder) = (client.path("repository"), client.path("cache"));
    let id = client.snapshot(&client.tree());
    let connect = |config: &Path| {
        let own = [
            "velero",
            "--config-file",
            config.to_str().unwrap(),
            "--password",
            PASSWORD,
        ];
        let (done, _) = client.type_line(
            &own,
            &[
                "repository",
                "connect",
                "filesystem",
                "--path",
                repository.to_str().unwrap(),
                "--cache-directory",
                folder.to_str().unwrap(),
            ],
        );
        done.unwrap();
    };
    let other = client.path("other.config");
    connect(&client.config_file());
    connect(&other);
    let file = format!("{id}/sub/b");
    let whole = client.ok(&["show", &file]).data;
    client.ok(&["snapshot", "verify", "--verify-files-percent=100"]);
    assert!(lose(&repository, 'p') > 0);
    let own = [
        "velero",
        "--config-file",
        other.to_str().unwrap(),
        "--password",
        PASSWORD,
    ];
    let (done, shown) = client.type_line(&own, &["show", &file]);
    done.unwrap();
    assert!(shown.data == whole && whole.len() == 300_000);
    client.refused(&["snapshot", "verify", "--verify-files-percent=100"]);
    client.refused(&["content", "verify"]);
    let info = client.ok(&["cache", "info"]).text;
    for part in ["contents", "metadata", "index-blobs", "blob-list"] {
        assert!(info.contains(&format!("{part}: ")), "{part} in {info}");
    }
    client.ok(&["cache", "clear", "--partial", "indexes"]);
    assert!(!folder.join("index-blobs").exists());
    client.ok(&["cache", "set", "--content-cache-size-mb=0"]);
    assert!(client.ok(&["cache", "info"]).text.contains("contents: 0 files"));
    client.refused(&["show", &file]);
}

#[test]
fn a_repository_in_a_folder_has_a_cache_only_when_somebody_says_so() {
    let client = Client::with_repository();
    let id = client.snapshot(&client.tree());
    client.ok(&["ls", &id]);
    let info = client.ok(&["cache", "info"]);
    assert!(info.talk.contains("keeps no copies"), "{}", info.talk);
    client.ok(&[
        "cache",
        "set",
        "--cache-directory",
        client.path("cache").to_str().unwrap(),
    ]);
    client.ok(&["ls", &id]);
    let info = client.ok(&["cache", "info"]);
    assert!(info.text.contains("metadata: "), "{}", info.text);
    assert!(!info.talk.contains("keeps no copies"), "{}", info.talk);
}

#[test]
fn a_cache_that_takes_no_files_is_said_once_and_fails_nothing() {
    let client = Client::with_repository();
    let id = client.snapshot(&client.tree());
    let folder = client.path("cache");
    fs::write(&folder, "mine").unwrap();
    client.ok(&["cache", "set", "--cache-directory", folder.to_str().unwrap()]);
    let shown = client.ok(&["show", &format!("{id}/sub/b")]);
    assert_eq!(shown.data.len(), 300_000);
    assert_eq!(
        shown.talk.matches("goes on without it").count(),
        1,
        "{}",
        shown.talk
    );
    assert_eq!(fs::read(&folder).unwrap(), b"mine");
    client.ok(&["snapshot", "restore", &id, client.path("back").to_str().unwrap()]);
}
