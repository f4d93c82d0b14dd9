//! Bad input of issue 5 at the command line: each trouble has words and advice of its own, and nothing is written.
#![allow(clippy::unwrap_used)]

mod client;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use caravel_repository::{Environment, KeyDerivation as _, SlowKeyDerivation, crypto::envelope::Envelope};
use client::{Client, PASSWORD, files, noise};
use serde_json::{Value, json};

/// A client whose repository holds one snapshot of `tree`.
fn with_snapshot() -> (Client, String) {
    let client = Client::with_repository();
    let tree = client.tree();
    client.snapshot(&tree);
    (client, tree.to_str().unwrap().to_owned())
}

/// Reading and writing commands of every noun are refused with these words and this advice, under this password.
fn refused(client: &Client, password: &str, tree: &str, words: &[&str], advice: &str) {
    let repository = client.path("repository");
    let before = files(&repository);
    let commands: [&[&str]; 9] = [
        &["snapshot", "create", tree],
        &["snapshot", "list"],
        &[
            "snapshot",
            "delete",
            "--all-snapshots-for-source",
            tree,
            "--delete",
        ],
        &["policy", "set", "--global", "--keep-latest=1"],
        &["maintenance", "run", "--full"],
        &["maintenance", "set", "--owner=me"],
        &["repository", "set-parameters", "--max-pack-size-mb=30"],
        &[
            "repository",
            "connect",
            "filesystem",
            "--path",
            repository.to_str().unwrap(),
        ],
        &["index", "recover", "--commit"],
    ];
    for args in commands {
        let (result, printed) = client.with_password(password, args);
        let failure = result.expect_err(&format!("{args:?} was done: {}", printed.text));
        let all = words.iter().all(|word| failure.message().contains(word));
        assert!(all, "{args:?}: {failure}");
        assert!(
            failure.advice().is_some_and(|text| text.contains(advice)),
            "{args:?}: {failure}"
        );
        assert!(!failure.to_string().contains(PASSWORD), "{failure}");
    }
    assert!(
        files(&repository) == before,
        "a refused command wrote into the repository"
    );
}

/// Changes the sealed settings, as a newer program could.
fn change_settings(repository: &Path, change: impl FnOnce(&mut Value)) {
    let file = repository.join("kopia.repository.f");
    let mut outer: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let bytes = |field: &Value| BASE64_STANDARD.decode(field.as_str().unwrap()).unwrap();
    let unique_id = bytes(&outer["uniqueID"]);
    let key = SlowKeyDerivation
        .derive("scrypt-65536-8-1", PASSWORD.as_bytes(), &unique_id)
        .unwrap();
    let envelope = Envelope::new(&key, &unique_id);
    let plain = envelope.open(&bytes(&outer["encryptedBlockFormat"])).unwrap();
    let mut inner: Value = serde_json::from_slice(&plain).unwrap();
    change(&mut inner["format"]);
    let sealed = envelope.seal(&Environment::system(), inner.to_string().as_bytes());
    outer["encryptedBlockFormat"] = BASE64_STANDARD.encode(sealed).into();
    fs::write(&file, outer.to_string()).unwrap();
}

#[test]
fn a_wrong_password() {
    let (client, tree) = with_snapshot();
    refused(
        &client,
        "guess",
        &tree,
        &["password does not open"],
        "export-password",
    );
}

#[test]
fn an_unknown_required_feature() {
    let (client, tree) = with_snapshot();
    change_settings(&client.path("repository"), |format| {
        format["requiredFeatures"] =
            json!([{"feature": "quantum-packs", "ifNotUnderstood": {"warn": false}}]);
    });
    refused(&client, PASSWORD, &tree, &["quantum-packs"], "newer Kopia");
}

#[test]
fn a_feature_that_may_be_missing_is_warned_of_on_standard_error() {
    let (client, _) = with_snapshot();
    change_settings(&client.path("repository"), |format| {
        format["requiredFeatures"] = json!([{"feature": "quantum-packs",
            "ifNotUnderstood": {"warn": true, "message": "sizes will be off"}}]);
    });
    let said = Command::new(env!("CARGO_BIN_EXE_caravel-repository-cli"))
        .args(["snapshot", "list", "--json", "--config-file"])
        .arg(client.config_file())
        .env("KOPIA_PASSWORD", PASSWORD)
        .output()
        .unwrap();
    let warned = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.success(), "{warned}");
    assert!(
        warned.contains("WARN") && warned.contains("quantum-packs") && warned.contains("sizes will be off"),
        "{warned}"
    );
    let listed: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[test]
fn a_newer_version() {
    let (client, tree) = with_snapshot();
    change_settings(&client.path("repository"), |format| format["version"] = json!(4));
    refused(
        &client,
        PASSWORD,
        &tree,
        &["version 4", "newer version"],
        "newer Kopia",
    );
}

#[test]
fn an_upgrade_lock() {
    let (client, tree) = with_snapshot();
    let minute = 60_000_000_000_u64;
    change_settings(&client.path("repository"), |format| {
        format["upgradeLock"] = json!({"ownerID": "ann", "creationTime": "2026-09-21T00:00:00Z", "message": "to 3",
            "ioDrainTimeout": 15 * minute, "statusPollInterval": minute, "maxPermittedClockDrift": 5 * minute});
    });
    refused(
        &client,
        PASSWORD,
        &tree,
        &["upgraded", "ann"],
        "repository upgrade",
    );
}

#[test]
fn another_programs_files() {
    let client = Client::new();
    let photos = client.path("photos");
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("holiday.jpg"), "a photo").unwrap();
    let before = files(&photos);
    let path = photos.to_str().unwrap();
    let create = client.refused(&["repository", "create", "filesystem", "--path", path]);
    assert!(
        create.message().contains("holiday.jpg") && create.advice().unwrap().contains("empty"),
        "{create}"
    );
    let connect = client.refused(&["repository", "connect", "filesystem", "--path", path]);
    assert!(connect.message().contains("no repository here"), "{connect}");
    fs::write(photos.join("kopia.repository.f"), "<html>not found</html>").unwrap();
    let connect = client.refused(&["repository", "connect", "filesystem", "--path", path]);
    assert!(connect.message().contains("another program's files"), "{connect}");
    let create = client.refused(&["repository", "create", "filesystem", "--path", path]);
    assert!(create.message().contains("exists here already"), "{create}");
    fs::remove_file(photos.join("kopia.repository.f")).unwrap();
    assert!(files(&photos) == before, "a refused command wrote something");
    assert!(!client.config_file().exists());
}

#[test]
fn a_clock_that_lags_behind_the_storage() {
    let (client, tree) = with_snapshot();
    let repository = client.path("repository");
    let later = SystemTime::now() + Duration::from_secs(3600);
    File::open(repository.join("kopia.blobcfg.f"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    let before = files(&repository);
    for args in [
        vec!["snapshot", "create", &tree],
        vec!["policy", "set", "--global", "--keep-latest=1"],
        vec!["maintenance", "run", "--full"],
        vec!["blob", "gc", "--delete=yes"],
    ] {
        let failure = client.refused(&args);
        assert!(failure.message().contains("set the clock"), "{args:?}: {failure}");
        assert!(failure.advice().unwrap().contains("timedatectl"), "{failure}");
    }
    assert!(files(&repository) == before, "a refused command wrote something");
    // What only reads goes on.
    client.ok(&["snapshot", "verify"]);
}

/// A file system in memory, unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    /// None where this user may not mount or has no program for it (never in CI, which is root on Debian).
    fn of(folder: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir_all(&folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&folder)
            .output();
        let refused = match mounted {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = refused {
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "cannot mount in CI: {why}");
            eprintln!("skipped, cannot mount: {why}");
            return None;
        }
        Some(Self(folder))
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0)
            .status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn on_disk(options: &str) -> Option<(Client, Disk)> {
    let client = Client::new();
    let disk = Disk::of(client.path("repository"), options)?;
    let path = disk.0.to_str().unwrap();
    client.ok(&["repository", "create", "filesystem", "--path", path]);
    Some((client, disk))
}

#[test]
fn a_store_that_takes_no_writes() {
    let Some((client, disk)) = on_disk("size=20m") else {
        return;
    };
    let tree = client.tree();
    let id = client.snapshot(&tree);
    disk.remount("ro");
    let before = files(&disk.0);
    for args in [
        vec!["snapshot", "create", tree.to_str().unwrap()],
        vec!["snapshot", "delete", &id, "--delete"],
        vec!["policy", "set", "--global", "--keep-latest=1"],
        vec!["maintenance", "run", "--full"],
        vec!["repository", "change-password", "--new-password=x"],
    ] {
        let failure = client.refused(&args);
        assert!(
            failure.message().contains("make the storage writable"),
            "{args:?}: {failure}"
        );
        assert!(
            failure.advice().unwrap().contains("repository status"),
            "{failure}"
        );
    }
    assert!(files(&disk.0) == before);
    // It can still be read and restored from.
    client.ok(&["snapshot", "verify", "--verify-files-percent=100"]);
}

#[test]
fn a_store_without_room() {
    let Some((client, disk)) = on_disk("size=4m") else {
        return;
    };
    let tree = client.tree();
    let id = client.snapshot(&tree);
    fs::write(tree.join("too large"), noise(12 << 20)).unwrap();
    let visible = |disk: &Disk| -> BTreeMap<PathBuf, Vec<u8>> {
        // Packs that were written before the room was gone are named by nothing: garbage for maintenance.
        let mut all = files(&disk.0);
        all.retain(|path, _| path.starts_with(disk.0.join("x")) || path.parent() == Some(&disk.0));
        all
    };
    let before = visible(&disk);
    let failure = client.refused(&["snapshot", "create", tree.to_str().unwrap()]);
    assert!(failure.message().contains("make room"), "{failure}");
    assert!(failure.advice().unwrap().contains("df -h"), "{failure}");
    assert!(visible(&disk) == before, "something was committed");
    assert!(
        files(&disk.0)
            .keys()
            .all(|path| !path.to_string_lossy().contains(".tmp.")),
        "half a blob is left"
    );
    client.ok(&["snapshot", "verify", &id, "--verify-files-percent=100"]);
    disk.remount("size=40m");
    let whole = client.snapshot(&tree);
    client.ok(&["snapshot", "verify", &whole, "--verify-files-percent=100"]);
}

#[test]
fn a_cache_without_room_or_that_takes_no_writes_is_said_once_and_fails_nothing() {
    let client = Client::with_repository();
    // 300,000 bytes of data do not fit, directories do.
    let Some(disk) = Disk::of(client.path("cache"), "size=200k") else {
        return;
    };
    let id = client.snapshot(&client.tree());
    client.ok(&["cache", "set", "--cache-directory", disk.0.to_str().unwrap()]);
    let show = |what: &str| {
        let shown = client.ok(&["show", &format!("{id}/sub/b")]);
        assert!(shown.data == noise(300_000), "{what}");
        assert_eq!(
            shown.talk.matches("goes on without it").count(),
            1,
            "{what}: {}",
            shown.talk
        );
        assert!(
            files(&disk.0)
                .keys()
                .all(|path| !path.to_string_lossy().contains(".tmp.")),
            "half a copy is left, {what}"
        );
    };
    show("no room");
    show("no room, and copies of directories");
    disk.remount("ro");
    show("read-only");
    disk.remount("rw,size=20m");
    let shown = client.ok(&["show", &format!("{id}/sub/b")]);
    assert!(shown.data == noise(300_000));
    assert!(!shown.talk.contains("goes on without it"), "{}", shown.talk);
    assert!(
        files(&disk.0)
            .keys()
            .any(|path| path.starts_with(disk.0.join("contents")))
    );
}
