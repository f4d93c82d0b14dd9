//! The commands one after another, as a person types them, on a repository in a folder.
#![allow(clippy::unwrap_used)]

mod client;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use client::{Client, files, noise};

#[test]
fn a_tree_goes_into_a_snapshot_and_comes_back() {
    let client = Client::with_repository();
    let tree = client.tree();
    let first = client.snapshot(&tree);
    fs::write(tree.join("a"), "hello again\n").unwrap();
    fs::remove_file(tree.join("sub/b")).unwrap();
    let second = client.snapshot(&tree);

    let listed = client.ok(&["snapshot", "list", "--manifest-id"]).text;
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].ends_with(tree.to_str().unwrap()), "{listed}");
    assert!(
        lines[1].contains("files:2 dirs:2") && lines[1].contains(&first),
        "{listed}"
    );
    assert!(lines[2].contains(&second), "{listed}");

    assert_eq!(client.ok(&["ls", &first]).text, "sub\na\nl\n");
    assert_eq!(client.ok(&["ls", &format!("{first}/sub")]).text, "b\n");
    let long = client.ok(&["ls", "-l", "-r", &first]).text;
    assert!(
        long.lines()
            .next()
            .unwrap()
            .starts_with("drwxr-xr-x       300000 "),
        "{long}"
    );
    assert!(
        long.contains("  sub/b\n") && long.contains("Lrwxrwxrwx            1 "),
        "{long}"
    );
    assert_eq!(
        client.ok(&["show", &format!("{first}/sub/b")]).data,
        noise(300_000)
    );

    let changed = client.ok(&["diff", &first, &second]).text;
    assert!(
        changed.contains("removed file ./sub/b (300000 bytes)\n"),
        "{changed}"
    );
    assert!(changed.contains("(size 6 -> 12)"), "{changed}");
    let figures = client.ok(&["diff", "--stats-only", &first, &second]).json();
    assert_eq!(figures["fileEntries"]["removed"], 1);

    let out = client.path("out");
    client.ok(&["snapshot", "restore", &first, out.to_str().unwrap()]);
    assert_eq!(fs::read(out.join("a")).unwrap(), b"hello\n");
    assert_eq!(fs::read(out.join("sub/b")).unwrap(), noise(300_000));
    assert_eq!(fs::read_link(out.join("l")).unwrap().to_str(), Some("a"));
    let single = client.path("single");
    client.ok(&[
        "snapshot",
        "restore",
        &format!("{first}/sub/b"),
        single.to_str().unwrap(),
    ]);
    assert_eq!(fs::read(&single).unwrap(), noise(300_000));
    let left = fs::read_dir(single.parent().unwrap()).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().contains("restoring")),
        "{left:?}"
    );
}

#[test]
fn what_is_restored_by_the_id_of_an_object_can_be_read_by_who_restored_it() {
    let client = Client::with_repository();
    let tree = client.tree();
    let id = client.snapshot(&tree);
    let object = |path: &str| {
        let listed = client.ok(&["ls", "-l", &id]).text;
        let line = listed
            .lines()
            .find(|line| line.split_whitespace().last() == Some(path));
        let words = line
            .unwrap_or_else(|| panic!("{path} in {listed}"))
            .split_whitespace();
        let is_an_id = |word: &&str| word.trim_start_matches('k').len() == 32;
        words.into_iter().find(is_an_id).expect("an id").to_owned()
    };
    for (path, mode) in [("sub/", 0o755), ("a", 0o644)] {
        let back = client.path("back-by-object").join(path.trim_end_matches('/'));
        fs::create_dir_all(back.parent().unwrap()).unwrap();
        client.ok(&["snapshot", "restore", &object(path), back.to_str().unwrap()]);
        let there = fs::metadata(&back).unwrap();
        assert_eq!(there.mode() & 0o7777, mode, "{path}");
        assert_eq!(there.uid(), fs::metadata("/proc/self").unwrap().uid());
        assert!(there.modified().unwrap().elapsed().unwrap().as_secs() < 3600);
    }
}

#[test]
fn snapshots_are_deleted_only_when_it_is_confirmed() {
    let client = Client::with_repository();
    let tree = client.tree();
    let id = client.snapshot(&tree);
    let talk = client.ok(&["snapshot", "delete", &id]).talk;
    assert!(talk.contains("pass --delete"), "{talk}");
    assert_eq!(
        client
            .ok(&["snapshot", "list", "--json"])
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    client.ok(&["snapshot", "delete", &id, "--delete"]);
    assert_eq!(
        client
            .ok(&["snapshot", "list", "--json"])
            .json()
            .as_array()
            .unwrap()
            .len(),
        0
    );
    let again = client.refused(&["snapshot", "delete", &id, "--delete"]);
    assert!(again.message().contains(&id), "{again}");
    let manifest = client.ok(&["manifest", "list", "--json"]).json();
    let policy = manifest[0]["id"].as_str().unwrap();
    assert_eq!(client.refused(&["manifest", "rm", policy]).code(), 2);
    client.ok(&["manifest", "rm", policy, "--dangerous-commands=enabled"]);
    assert!(
        client
            .refused(&["manifest", "show", policy])
            .message()
            .contains(policy)
    );
}

#[test]
fn what_a_repository_consists_of_adds_up() {
    let client = Client::with_repository();
    client.snapshot(&client.tree());
    let contents = client.ok(&["content", "list", "--json"]).json();
    let contents = contents.as_array().unwrap();
    let count = contents.len();
    let names = client.ok(&["content", "list"]).text;
    assert_eq!(names.lines().count(), count);
    let prefixed = client.ok(&["content", "list", "--prefixed"]).text.lines().count();
    let plain = client
        .ok(&["content", "list", "--non-prefixed"])
        .text
        .lines()
        .count();
    assert_eq!((prefixed + plain, plain), (count, 3));
    let entries = client.ok(&["index", "inspect", "--active"]).text;
    assert_eq!(entries.lines().count(), count);
    let stats = client.ok(&["content", "stats", "--raw"]).text;
    assert!(stats.starts_with(&format!("Count: {count}\n")), "{stats}");

    let blobs = client.ok(&["blob", "list", "--json"]).json();
    for content in contents {
        let pack = content["packFile"].as_str().unwrap();
        assert!(
            blobs.as_array().unwrap().iter().any(|blob| blob["id"] == pack),
            "{pack}"
        );
    }
    let index = client.ok(&["index", "list", "--json"]).json();
    let index = index[0]["id"].as_str().unwrap();
    let stored = client.ok(&["blob", "show", index]).data;
    let opened = client.ok(&["blob", "show", "--decrypt", index]).data;
    assert!(opened[0] == 2 && opened.len() + 28 == stored.len());
    let manifest = names.lines().find(|name| name.starts_with('m')).unwrap();
    let shown = client.ok(&["content", "show", "-z", "-j", manifest]).text;
    assert!(shown.contains("\"entries\": ["), "{shown}");
    assert!(
        client
            .ok(&["index", "epoch", "list"])
            .text
            .starts_with("Current Epoch: 0\n0 ")
    );
    let talk = client.ok(&["content", "verify", "--full"]).talk;
    assert!(talk.contains(&format!("\"readContents\":{count},")), "{talk}");
}

#[test]
fn damage_is_named_with_file_and_content_and_fails_the_command() {
    let client = Client::with_repository();
    let id = client.snapshot(&client.tree());
    client.ok(&["snapshot", "verify", "--verify-files-percent=100"]);
    let packs = client.ok(&["blob", "list", "--prefix", "p", "--json"]).json();
    let name = packs[0]["id"].as_str().unwrap();
    let file = client
        .path("repository")
        .join(&name[..1])
        .join(&name[1..4])
        .join(format!("{}.f", &name[4..]));
    let whole = fs::read(&file).unwrap();

    let mut flipped = whole.clone();
    flipped[100_000] ^= 1;
    fs::write(&file, &flipped).unwrap();
    // The structure is whole: only reading shows it.
    client.ok(&["snapshot", "verify"]);
    let (failure, printed) = client.with_password(
        client::PASSWORD,
        &["snapshot", "verify", "--verify-files-percent=100"],
    );
    assert!(
        failure.is_err() && printed.talk.contains(&format!("{id}/sub/b: damaged: ")),
        "{}",
        printed.talk
    );
    let (failure, printed) = client.with_password(client::PASSWORD, &["content", "verify", "--full"]);
    assert!(
        failure.is_err() && printed.talk.contains("\"corruptedPacks\":1"),
        "{}",
        printed.talk
    );
    // What is not in the damaged segment still comes out.
    assert_eq!(client.ok(&["show", &format!("{id}/a")]).text, "hello\n");

    fs::write(&file, &whole[..200_000]).unwrap();
    let (failure, printed) = client.with_password(client::PASSWORD, &["content", "verify"]);
    assert!(
        failure.is_err() && printed.talk.contains("\"truncatedPacks\":1"),
        "{}",
        printed.talk
    );
    fs::remove_file(&file).unwrap();
    let (failure, printed) = client.with_password(client::PASSWORD, &["snapshot", "verify", &id]);
    assert!(
        failure.is_err() && printed.talk.contains(name),
        "{}",
        printed.talk
    );
}

#[test]
fn the_connection_is_private_and_holds_no_password() {
    let client = Client::with_repository();
    let file = client.config_file();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("\"type\": \"filesystem\"") && !text.contains(client::PASSWORD),
        "{text}"
    );
    let status = client.ok(&["repository", "status"]).text;
    assert!(
        status.contains("Format version:      3\n") && status.contains("Max pack length:     21 MB\n"),
        "{status}"
    );
    let json = client.ok(&["repository", "status", "--json"]).text;
    for secret in ["secret", "masterKey", client::PASSWORD] {
        assert!(!json.contains(secret) && !status.contains(secret), "{json}");
    }
    client.ok(&["repository", "disconnect"]);
    assert!(!file.exists());
    let refusal = client.refused(&["snapshot", "list"]);
    assert!(
        refusal.message().contains("no repository is connected"),
        "{refusal}"
    );
}

#[test]
fn each_trouble_has_words_of_its_own_and_writes_nothing() {
    let client = Client::with_repository();
    let tree = client.tree();
    let repository = client.path("repository");
    let (path, tree) = (repository.to_str().unwrap(), tree.to_str().unwrap());
    let before = files(&repository);

    let wrong = client
        .with_password("wrong", &["snapshot", "create", tree])
        .0
        .unwrap_err();
    assert!(wrong.message().contains("password does not open"), "{wrong}");
    assert!(wrong.advice().unwrap().contains("export-password"), "{wrong}");
    let twice = client.refused(&["repository", "create", "filesystem", "--path", path]);
    assert!(twice.advice().unwrap().contains("connect"), "{twice}");
    let empty = client.path("empty");
    fs::create_dir(&empty).unwrap();
    let nothing = client.refused(&[
        "repository",
        "connect",
        "filesystem",
        "--path",
        empty.to_str().unwrap(),
    ]);
    assert!(
        nothing.advice().unwrap().contains("kopia.repository"),
        "{nothing}"
    );
    let config = client.config_file();
    let own = ["velero", "--config-file", config.to_str().unwrap()];
    let silent = client.type_line(&own, &["snapshot", "list"]).0.unwrap_err();
    assert!(
        silent.code() == 2 && silent.message().contains("no terminal"),
        "{silent}"
    );
    let unknown = client.refused(&["ls", "0123456789abcdef0123456789abcdef"]);
    assert!(
        unknown.message().contains("neither a snapshot nor an object"),
        "{unknown}"
    );
    client.ok(&[
        "repository",
        "connect",
        "filesystem",
        "--path",
        path,
        "--readonly",
    ]);
    let readonly = client.refused(&["snapshot", "create", tree]);
    assert!(readonly.message().contains("read-only"), "{readonly}");

    assert!(
        files(&repository) == before,
        "a refused command wrote into the repository"
    );
}

#[test]
fn a_tree_as_deep_as_any_is_verified_listed_compared_and_estimated() {
    use rustix::fs::{Mode, OFlags};

    let client = Client::with_repository();
    let (tree, empty) = (client.path("deep"), client.path("empty"));
    for folder in [&tree, &empty] {
        std::fs::create_dir(folder).unwrap();
    }
    let levels = caravel_repository::DEEPEST;
    let mut directory = rustix::fs::open(&tree, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..levels {
        rustix::fs::mkdirat(&directory, "d", Mode::RWXU).unwrap();
        directory = rustix::fs::openat(&directory, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let (deep, nothing) = (client.snapshot(&tree), client.snapshot(&empty));
    client.ok(&["snapshot", "verify"]);
    let stats = client.ok(&["diff", "--stats-only", &nothing, &deep]).json();
    assert_eq!(stats["directoryEntries"]["added"], levels);
    let near_the_end = format!("{deep}{}", "/d".repeat(levels - 50));
    let listed = client.ok(&["ls", "--recursive", &near_the_end]).text;
    assert_eq!(listed.lines().count(), 50);
    let estimate = client.ok(&["snapshot", "estimate", tree.to_str().unwrap()]);
    assert!(!estimate.talk.contains("go down into"), "{}", estimate.talk);
}
