//! Format version 1 and lost indexes with the real kopia: rows 3, 7 and 15 of the compatibility matrix
//! (kopia-format.md 15).
#![allow(clippy::unwrap_used)]

mod kopia_cli;
mod peers;

use std::path::Path;

use caravel_repository::{
    recover::{IndexRecovery, RecoveredIndex},
    verify::Level,
    *,
};
use kopia_cli::{Kopia, PASSWORD};
use peers::*;

fn version_1() -> FormatOptions {
    FormatOptions {
        version: 1,
        ..FormatOptions::default()
    }
}

async fn recovered(path: &Path, delete_damaged: bool) -> RecoveredIndex {
    let recovery = IndexRecovery {
        commit: true,
        delete_damaged,
        ..IndexRecovery::default()
    };
    let options = OpenOptions {
        username: "default".into(),
        hostname: "default".into(),
    };
    let storage = storage(path).await;
    recover::packs(
        storage,
        &PASSWORD.into(),
        options,
        &recovery,
        Environment::system(),
    )
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn index_blobs_that_kopia_compacted_without_epochs_are_followed() {
    let Some(kopia) = Kopia::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = tempfile::tempdir().unwrap();
    kopia.create(folder.path(), &["--format-version=1"]);
    let path = source.path().to_str().unwrap();
    let repository = opened(folder.path()).await;
    for round in 0..3u64 {
        for n in 0..6 {
            std::fs::write(source.path().join("changing"), noise(50_000, round * 10 + n)).unwrap();
            kopia.run(&["snapshot", "create", path]);
            tokio::task::block_in_place(|| save_file(&repository, "ours", &noise(60_000, round * 10 + n)));
        }
        kopia.run(&[
            "snapshot",
            "delete",
            "--all-snapshots-for-source",
            path,
            "--delete",
        ]);
        kopia.run(&["snapshot", "create", path]);
        // At last with its safety margins: then the log of the compaction and its inputs stay for an hour.
        match round {
            2 => kopia.run(&["index", "optimize", "--all", "--dangerous-commands=enabled"]),
            _ => kopia.run(&["maintenance", "run", "--full", "--safety=none"]),
        };
        tokio::task::block_in_place(|| {
            check_contents(&repository, &kopia);
            compare_tree(&repository, source.path());
        });
    }
    let blobs = kopia.run(&["blob", "list"]);
    for letter in ["m", "n"] {
        assert!(
            blobs.lines().any(|line| line.starts_with(letter)),
            "no {letter} blob in {blobs}"
        );
    }
    let report = tokio::task::block_in_place(|| repository.verify(Level::AllBytes, &mut |_| true)).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    kopia.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_indexes_are_rebuilt_by_both_from_packs_of_both() {
    for version in [1, 3] {
        let Some(kopia) = Kopia::find() else { return };
        let folder = tempfile::tempdir().unwrap();
        let source = tree();
        let format = FormatOptions {
            version,
            ..version_1()
        };
        let repository = created(folder.path(), &format).await;
        let data = noise(7 << 20, 2);
        tokio::task::block_in_place(|| save_file(&repository, "ours", &data));
        kopia.connect(folder.path());
        kopia.run(&["snapshot", "create", source.path().to_str().unwrap()]);
        let before = kopia.run(&["content", "list"]);
        let lose = || {
            for letter in ["x", "n"] {
                let _ = std::fs::remove_dir_all(folder.path().join(letter));
            }
        };
        lose();
        let found = recovered(folder.path(), false).await;
        assert!(found.committed && found.failed.is_empty(), "{found:?}");
        assert_eq!(kopia.run(&["content", "list"]), before);
        kopia.verify();
        let repository = opened(folder.path()).await;
        tokio::task::block_in_place(|| compare_tree(&repository, source.path()));
        lose();
        kopia.run(&["index", "recover", "--commit", "--dangerous-commands=enabled"]);
        let repository = opened(folder.path()).await;
        tokio::task::block_in_place(|| {
            check_contents(&repository, &kopia);
            compare_tree(&repository, source.path());
        });
        compare_restored(&kopia, &repository, "ours", &data);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn format_blob_is_brought_back_by_both_from_packs_of_both() {
    let Some(kopia) = Kopia::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let blob = folder.path().join("kopia.repository.f");
    let repository = created(folder.path(), &version_1()).await;
    tokio::task::block_in_place(|| save_file(&repository, "ours", b"abc"));
    let before = std::fs::read(&blob).unwrap();
    std::fs::remove_file(&blob).unwrap();
    let path = folder.path().to_str().unwrap();
    let repair = [
        "repository",
        "repair",
        "filesystem",
        "--dangerous-commands=enabled",
        "--path",
    ];
    kopia.run(&[&repair[..], &[path]].concat());
    assert_eq!(std::fs::read(&blob).unwrap(), before);

    let theirs = tempfile::tempdir().unwrap();
    let blob = theirs.path().join("kopia.repository.f");
    kopia.create(theirs.path(), &["--format-version=1"]);
    let source = tree();
    kopia.run(&["snapshot", "create", source.path().to_str().unwrap()]);
    let before = std::fs::read(&blob).unwrap();
    std::fs::remove_file(&blob).unwrap();
    recover::format_blob(storage(theirs.path()).await, true, &Environment::system())
        .await
        .unwrap();
    assert_eq!(std::fs::read(&blob).unwrap(), before);
    let repository = opened(theirs.path()).await;
    tokio::task::block_in_place(|| compare_tree(&repository, source.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn repository_that_kopia_upgrades_is_refused_until_it_is_done() {
    let Some(kopia) = Kopia::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    kopia.create(folder.path(), &["--format-version=1"]);
    let source = tree();
    kopia.run(&["snapshot", "create", source.path().to_str().unwrap()]);
    let repository = opened(folder.path()).await;
    let upgrade = |verb: &str, more: &[&str]| {
        let mut args = vec!["repository", "upgrade", verb, "--upgrade-owner-id=ann"];
        args.extend(more);
        kopia.run_with(&args, &[("KOPIA_UPGRADE_LOCK_ENABLED", "1")])
    };
    let quick = [
        "--io-drain-timeout=1s",
        "--max-permitted-clock-drift=1s",
        "--status-poll-interval=1s",
        "--allow-unsafe-upgrade",
        "--lock-only",
    ];
    upgrade("begin", &quick);
    let error = try_open(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::Locked, "{error}");
    assert!(error.to_string().contains("ann"), "{error}");
    upgrade("begin", &quick[..4]);
    let upgraded = opened(folder.path()).await;
    let own = upgraded.format_options();
    assert_eq!((own.version, upgraded.index_version()), (3, 2));
    tokio::task::block_in_place(|| {
        compare_tree(&upgraded, source.path());
        check_contents(&upgraded, &kopia);
        save_file(&upgraded, "after", &noise(1 << 20, 8));
        // Whoever had it open before reads what was there, and must not add to the old index.
        compare_tree(&repository, source.path());
    });
    kopia.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn password_and_parameters_that_we_changed_are_kopias_too() {
    let Some(kopia) = Kopia::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let repository = created(folder.path(), &FormatOptions::default()).await;
    tokio::task::block_in_place(|| {
        save_file(&repository, "ours", b"abc");
        let change = ParameterChange {
            max_pack_size: Some(33 << 20),
            epochs: None,
            ..ParameterChange::default()
        };
        repository.set_parameters(&change).unwrap();
    });
    let repository = opened(folder.path()).await;
    tokio::task::block_in_place(|| repository.change_password(&"another".into())).unwrap();
    let path = folder.path().to_str().unwrap();
    let connect = ["repository", "connect", "filesystem", "--path", path];
    assert!(
        !kopia.try_run(&connect).status.success(),
        "the old password must not open it"
    );
    kopia.run_with(&connect, &[("KOPIA_PASSWORD", "another")]);
    let status = kopia.run_with(&["repository", "status"], &[("KOPIA_PASSWORD", "another")]);
    assert!(
        status.contains("34.6 MB") || status.contains("33 MiB"),
        "{status}"
    );
}
