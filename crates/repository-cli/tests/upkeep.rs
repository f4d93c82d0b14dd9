//! What keeps a repository small and whole: estimates, expiry and pins, maintenance, garbage, the index; and benchmarks.
#![allow(clippy::unwrap_used)]

mod client;

use std::{
    fs::{self, File},
    os::unix::net::UnixListener,
    time::{Duration, SystemTime},
};

use client::{Client, files, noise};

#[test]
fn an_estimate_counts_what_a_snapshot_would_hold() {
    let client = Client::with_repository();
    let tree = client.tree();
    let _socket = UnixListener::bind(tree.join("socket")).unwrap();
    let before = files(&client.path("repository"));
    let said = client
        .ok(&["snapshot", "estimate", tree.to_str().unwrap(), "--show-files"])
        .text;
    assert!(
        said.starts_with("Snapshot includes 2 file(s), total size 300 KB\n"),
        "{said}"
    );
    assert!(
        said.contains("  0 B   ...  1 KB:       1 files, total size 6 B\n - a - 6 B\n"),
        "{said}"
    );
    assert!(
        said.contains("100 KB...  1 MB:       1 files, total size 300 KB\n - sub/b - "),
        "{said}"
    );
    assert!(
        said.contains("excludes no files.\n") && said.contains(" - socket is a socket\n"),
        "{said}"
    );
    assert!(said.contains("Estimated upload time: 0s at 10 Mbit/s"), "{said}");
    assert!(files(&client.path("repository")) == before);
    assert_eq!(
        client
            .refused(&["snapshot", "estimate", "/nowhere/at/all"])
            .code(),
        2
    );
}

#[test]
fn an_estimate_follows_the_policies_of_the_source() {
    let client = Client::with_repository();
    let tree = client.tree();
    let path = tree.to_str().unwrap();
    fs::write(tree.join("a.log"), [7; 1200]).unwrap();
    fs::write(tree.join(".kopiaignore"), "sub\n").unwrap();
    client.ok(&["policy", "set", path, "--add-ignore=*.log"]);
    let estimate = client.ok(&["snapshot", "estimate", path, "--show-files"]).text;
    for line in [
        "Snapshot includes 2 file(s), total size 10 B\n",
        " - a - 6 B\n",
        "Snapshot excludes 1 file(s), total size 1.2 KB\n",
        " - a.log - 1.2 KB\n",
        "Snapshot excludes 1 directories. Examples:\n - sub\n",
    ] {
        assert!(estimate.contains(line), "{line:?} is not in {estimate}");
    }
    // What it says is what a snapshot then has.
    let taken = client.ok(&["snapshot", "create", path, "--json"]).text;
    assert!(
        taken.contains("\"files\": 2") || taken.contains("\"files\":2"),
        "{taken}"
    );
}

#[test]
fn expired_snapshots_go_and_pinned_ones_stay() {
    let client = Client::with_repository();
    let tree = client.tree();
    let source = tree.to_str().unwrap();
    let ids: Vec<String> = (0..3)
        .map(|round| {
            fs::write(tree.join("a"), format!("{round}")).unwrap();
            client.snapshot(&tree)
        })
        .collect();
    client.ok(&[
        "policy",
        "set",
        source,
        "--keep-latest=1",
        "--keep-hourly=0",
        "--keep-daily=0",
    ]);
    client.ok(&[
        "policy",
        "set",
        source,
        "--keep-weekly=0",
        "--keep-monthly=0",
        "--keep-annual=0",
    ]);
    client.ok(&["snapshot", "pin", &ids[0], "--add=audit"]);
    let would = client.ok(&["snapshot", "expire", source]).talk;
    assert!(
        would.contains(&format!("Would delete snapshot {}", ids[1])),
        "{would}"
    );
    assert_eq!(would.lines().count(), 1, "{would}");
    client.ok(&["snapshot", "expire", source, "--delete"]);
    let left = client.ok(&["snapshot", "list", "--json"]).json();
    let left: Vec<&str> = left
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["id"].as_str())
        .collect();
    // A pinned snapshot has a new name, as in Kopia.
    assert!(left.len() == 2 && left.contains(&ids[2].as_str()) && !left.contains(&ids[1].as_str()));
    let pinned = left.iter().find(|id| **id != ids[2]).unwrap();
    client.ok(&["snapshot", "pin", pinned, "--remove=audit"]);
    client.ok(&["snapshot", "expire", "--all", "--delete"]);
    assert_eq!(
        client
            .ok(&["snapshot", "list", "--json"])
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(client.refused(&["snapshot", "pin", &ids[2]]).code(), 2);
    assert!(
        client
            .refused(&["snapshot", "expire", "/elsewhere"])
            .message()
            .contains("no snapshot of")
    );
}

#[test]
fn maintenance_is_shown_planned_run_and_owned() {
    let client = Client::with_repository();
    let tree = client.tree();
    let first = client.snapshot(&tree);
    fs::write(tree.join("sub/b"), noise(400_000)).unwrap();
    let second = client.snapshot(&tree);
    client.ok(&["snapshot", "delete", &first, "--delete"]);
    let repository = client.path("repository");
    let before = files(&repository);
    let plan = client
        .ok(&["maintenance", "run", "--full", "--safety=none", "--dry-run"])
        .text;
    assert!(
        plan.starts_with("Full maintenance at ") && plan.contains("as deleted"),
        "{plan}"
    );
    assert!(files(&repository) == before, "a dry run wrote something");
    client.ok(&["maintenance", "run", "--full", "--safety=none"]);
    client.ok(&["maintenance", "run", "--full", "--safety=none"]);
    client.ok(&["snapshot", "verify", &second, "--verify-files-percent=100"]);
    let info = client.ok(&["maintenance", "info"]).text;
    assert!(
        info.contains("snapshot-gc:") && info.contains("SUCCESS"),
        "{info}"
    );
    let kopias = "Log Retention:\n  max count:       10000\n  max age of logs: 720h0m0s\n  max total size:  1.1 GB\n\
                  Object Lock Extension: disabled\n";
    assert!(info.contains(kopias), "{info}");
    let set = [
        "maintenance",
        "set",
        "--extend-object-locks=true",
        "--enable-full=false",
    ];
    assert!(
        client
            .ok(&set)
            .talk
            .contains("full maintenance, which is disabled")
    );
    let info = client.ok(&["maintenance", "info"]).text;
    assert!(info.contains("Object Lock Extension: enabled\n"), "{info}");
    client.ok(&[
        "maintenance",
        "set",
        "--extend-object-locks=false",
        "--enable-full=true",
    ]);
    client.ok(&[
        "maintenance",
        "set",
        "--owner=somebody@else",
        "--enable-quick=false",
        "--full-interval=12h",
    ]);
    let info = client.ok(&["maintenance", "info", "--json"]).json();
    assert_eq!(info["owner"], "somebody@else");
    assert_eq!(
        (&info["quick"]["enabled"], &info["full"]["interval"]),
        (&false.into(), &43_200_000_000_000_i64.into())
    );
    let refused = client.refused(&["maintenance", "run", "--full"]);
    assert!(
        refused.message().contains("somebody@else") && refused.advice().unwrap().contains("owner=me"),
        "{refused}"
    );
    client.ok(&["maintenance", "run", "--quick", "--force"]);
    assert_eq!(
        client.refused(&["maintenance", "set", "--owner=nobody"]).code(),
        2
    );
}

#[test]
fn packs_that_nothing_refers_to_are_found_and_deleted_only_when_old() {
    let client = Client::with_repository();
    let id = client.snapshot(&client.tree());
    let repository = client.path("repository");
    let garbage = repository.join("p/012/3456789abcdef0123456789abcdef-s0011223344556677147.f");
    fs::create_dir_all(garbage.parent().unwrap()).unwrap();
    fs::write(&garbage, noise(1234)).unwrap();
    let found = client.ok(&["blob", "gc"]).text;
    assert!(
        found.contains("Found 0 ") && found.contains("Kept 1 (1.2 KB)"),
        "{found}"
    );
    let old = SystemTime::now() - Duration::from_secs(5 * 86_400);
    File::open(&garbage).unwrap().set_modified(old).unwrap();
    let found = client.ok(&["blob", "gc"]);
    assert!(
        found.text.contains("Found 1 unreferenced blobs (1.2 KB)") && found.talk.contains("--delete=yes")
    );
    assert!(
        garbage.exists()
            && client
                .ok(&["blob", "gc", "--delete=yes", "--prefix=q"])
                .text
                .contains("Deleted 0")
    );
    let deleted = client.ok(&["blob", "gc", "--delete=yes"]).text;
    assert!(deleted.contains("Deleted 1 ") && !garbage.exists(), "{deleted}");
    client.ok(&["snapshot", "verify", &id, "--verify-files-percent=100"]);
}

#[test]
fn a_lost_index_is_recovered_and_never_taken_for_garbage() {
    let client = Client::with_repository();
    let id = client.snapshot(&client.tree());
    fs::remove_dir_all(client.path("repository/x")).unwrap();
    let refused = client.refused(&["blob", "gc", "--delete=yes", "--safety=none"]);
    assert!(refused.message().contains("index is empty"), "{refused}");
    let refused = client.refused(&["index", "optimize"]);
    assert!(refused.message().contains("index is empty"), "{refused}");
    let counted = client.ok(&["index", "recover"]).talk;
    assert!(counted.contains("not committed"), "{counted}");
    client.ok(&["index", "recover", "--commit"]);
    client.ok(&["snapshot", "verify", &id, "--verify-files-percent=100"]);
}

#[test]
fn an_index_is_merged_as_far_as_its_epochs_allow() {
    let client = Client::with_repository();
    let tree = client.tree();
    client.ok(&[
        "repository",
        "set-parameters",
        "--epoch-min-duration=1h",
        "--epoch-advance-on-count=10",
    ]);
    let mut last = String::new();
    for round in 0..4 {
        for number in 0..11 {
            fs::write(tree.join("a"), format!("{round} {number}")).unwrap();
            last = client.snapshot(&tree);
        }
        // Ages of a day apart, so that the epoch is over without waiting.
        let index = client.ok(&["index", "list", "--superseded", "--json"]).json();
        let index = index.as_array().unwrap();
        for (position, blob) in index.iter().enumerate() {
            let name = blob["id"].as_str().unwrap();
            let folder = client.path("repository").join(&name[..1]).join(&name[1..4]);
            let age = Duration::from_secs(86_400 * (index.len() - position) as u64);
            let file = File::open(folder.join(format!("{}.f", &name[4..]))).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        client.ok(&["index", "optimize", "--dry-run"]);
        client.ok(&["index", "optimize"]);
    }
    let epochs = client.ok(&["index", "epoch", "list"]).text;
    assert!(
        !epochs.starts_with("Current Epoch: 0\n") && epochs.contains("single-epoch"),
        "{epochs}"
    );
    client.ok(&["snapshot", "verify", &last, "--verify-files-percent=100"]);
    client.ok(&["content", "verify", "--full"]);
}

#[test]
fn policies_are_set_shown_listed_and_removed() {
    let client = Client::with_repository();
    let tree = client.tree();
    let source = tree.to_str().unwrap();
    client.ok(&[
        "policy",
        "set",
        "--global",
        "--compression=zstd",
        "--keep-latest=5",
    ]);
    client.ok(&["policy", "set", source, "--keep-latest=2", "--add-ignore=*.tmp"]);
    let shown = client.ok(&["policy", "show", source]).text;
    assert!(
        shown.contains("Latest snapshots:") && shown.contains("(defined for this target)"),
        "{shown}"
    );
    let shown = client.ok(&["policy", "show", source, "--json"]).json();
    assert_eq!(
        (
            &shown["retention"]["keepLatest"],
            &shown["compression"]["compressorName"]
        ),
        (&2.into(), &"zstd".into())
    );
    assert!(
        client
            .ok(&["policy", "list"])
            .text
            .contains(&format!(":{source}\n"))
    );
    client.ok(&["policy", "set", source, "--keep-latest=inherit"]);
    assert_eq!(
        client.ok(&["policy", "show", source, "--json"]).json()["retention"]["keepLatest"],
        5
    );
    client.ok(&["policy", "delete", source]);
    assert!(!client.ok(&["policy", "list"]).text.contains(source));
    assert!(
        client
            .refused(&["policy", "delete", source])
            .message()
            .contains("no policy")
    );
    assert_eq!(client.refused(&["policy", "set", source]).code(), 2);
}

#[test]
fn benchmarks_measure_every_algorithm_without_a_repository() {
    let client = Client::new();
    let hashes = client
        .ok(&[
            "benchmark",
            "hashing",
            "--block-size=64KB",
            "--repeat=2",
            "--print-options",
        ])
        .text;
    assert!(
        hashes.lines().count() == 15 && hashes.contains("--block-hash=BLAKE2B-256-128"),
        "{hashes}"
    );
    let ciphers = client
        .ok(&[
            "benchmark",
            "encryption",
            "--block-size=64KB",
            "--repeat=2",
            "--parallel=2",
        ])
        .text;
    assert!(
        ciphers.contains("CHACHA20-POLY1305-HMAC-SHA256") && ciphers.contains("Fastest option"),
        "{ciphers}"
    );
    let cuts = client
        .ok(&[
            "benchmark",
            "splitter",
            "--data-size=1MB",
            "--block-count=2",
            "--print-options",
        ])
        .text;
    assert!(
        cuts.contains("FIXED-128K ") && cuts.contains("count:16 min:131072"),
        "{cuts}"
    );
    let file = client.path("text");
    fs::write(&file, "many words, many times\n".repeat(2000)).unwrap();
    let file = file.to_str().unwrap();
    let sizes = client
        .ok(&[
            "benchmark",
            "compression",
            "--data-file",
            file,
            "--repeat=2",
            "--by-size",
        ])
        .text;
    assert!(
        sizes.contains("Decompression") && sizes.contains("zstd-fastest") && !sizes.contains("lz4"),
        "{sizes}"
    );
    let one = client
        .ok(&[
            "benchmark",
            "compression",
            "--data-file",
            file,
            "--repeat=1",
            "--algorithms=s2-d",
            "--operations=compress",
        ])
        .text;
    assert!(one.lines().count() == 3 && one.contains("s2-default"), "{one}");
    assert_eq!(
        client
            .refused(&["benchmark", "compression", "--data-file", "/dev/null"])
            .code(),
        2
    );
}
