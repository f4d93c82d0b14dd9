//! Rows 5 and 6 of the compatibility matrix (kopia-format.md 15), both ways, with the real kopia: every hash, cipher,
//! key derivation, format version and error correction; every compressor; splitters.
#![allow(clippy::unwrap_used)]

mod kopia_cli;
mod peers;

use std::path::Path;

use caravel_repository::*;
use kopia_cli::Kopia;
use peers::*;

/// What one repository is made with.
struct Choice {
    options: FormatOptions,
    flags: Vec<String>,
}

fn choice(
    hash: HashAlgorithm,
    encryption: Cipher,
    version: u8,
    ecc: u8,
    pbkdf2: bool,
    splitter: &str,
) -> Choice {
    let key_derivation = if pbkdf2 {
        crypto::password::PBKDF2
    } else {
        crypto::password::SCRYPT
    };
    let flags = [
        format!("--block-hash={}", hash.name()),
        format!("--encryption={}", encryption.name()),
        format!("--format-version={version}"),
        format!("--ecc-overhead-percent={ecc}"),
        format!("--format-block-key-derivation-algorithm={key_derivation}"),
        format!("--object-splitter={splitter}"),
    ];
    let options = FormatOptions {
        version,
        hash,
        encryption,
        splitter: splitter.into(),
        key_derivation: key_derivation.into(),
        ecc_overhead_percent: ecc,
        ..FormatOptions::default()
    };
    Choice {
        options,
        flags: flags.into(),
    }
}

/// Every hash with each cipher; versions, error correction, key derivations and splitters take turns.
fn choices() -> Vec<Choice> {
    let splitters = splitter::names();
    let mut all = Vec::new();
    for (n, hash) in HashAlgorithm::ALL.into_iter().enumerate() {
        for (m, cipher) in Cipher::ALL.into_iter().enumerate() {
            let turn = 2 * n + m;
            let version = [1, 3, 2][turn % 3];
            let ecc = if version == 1 {
                0
            } else {
                [0, 2, 5, 0, 1][turn % 5]
            };
            let splitter = &splitters[turn % splitters.len()];
            all.push(choice(hash, cipher, version, ecc, turn % 4 == 1, splitter));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn we_read_and_extend_what_kopia_wrote_with_every_format() {
    let source = tree();
    for Choice { options, flags } in choices() {
        let Some(kopia) = Kopia::find() else { return };
        let folder = tempfile::tempdir().unwrap();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        kopia.create(folder.path(), &flags);
        kopia.run(&["snapshot", "create", source.path().to_str().unwrap()]);

        let repository = opened(folder.path()).await;
        let own = repository.format_options();
        assert_eq!(
            (own.version, own.hash, own.encryption),
            (options.version, options.hash, options.encryption)
        );
        assert_eq!(own.ecc_overhead_percent, options.ecc_overhead_percent);
        tokio::task::block_in_place(|| {
            compare_tree(&repository, source.path());
            check_contents(&repository, &kopia);
            save_file(&repository, "ours", &noise(3 << 20, 5));
        });
        kopia.verify();
        tokio::task::block_in_place(|| check_contents(&repository, &kopia));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kopia_reads_and_extends_what_we_wrote_with_every_format() {
    let source = tree();
    for Choice { options, .. } in choices() {
        let Some(kopia) = Kopia::find() else { return };
        let folder = tempfile::tempdir().unwrap();
        let repository = created(folder.path(), &options).await;
        let data = noise(9 << 20, 11);
        tokio::task::block_in_place(|| {
            save_file(&repository, "long", &data);
            save_file(&repository, "empty", b"");
        });
        kopia.connect(folder.path());
        let status = kopia.run(&["repository", "status"]);
        for expected in [
            options.hash.name().to_owned(),
            options.encryption.name().to_owned(),
            options.splitter.clone(),
            format!("Format version:      {}", options.version),
        ] {
            assert!(status.contains(&expected), "{expected} in {status}");
        }
        kopia.verify();
        compare_restored(&kopia, &repository, "long", &data);
        kopia.run(&["snapshot", "create", source.path().to_str().unwrap()]);
        tokio::task::block_in_place(|| {
            compare_tree(&repository, source.path());
            check_contents(&repository, &kopia);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compressor_is_read_both_ways_in_both_layers() {
    for version in ["3", "1"] {
        let Some(kopia) = Kopia::find() else { return };
        let folder = tempfile::tempdir().unwrap();
        kopia.create(folder.path(), &["--format-version", version]);
        let source = tempfile::tempdir().unwrap();
        let path = source.path().to_str().unwrap();
        for compressor in Compressor::ALL {
            let text = format!("text under {} {}\n", compressor.name(), noise(3, 7)[0]).repeat(90_000);
            std::fs::write(source.path().join(compressor.name()), text).unwrap();
            kopia.run(&["policy", "set", path, "--compression", compressor.name()]);
            kopia.run(&["snapshot", "create", path]);
        }
        let repository = opened(folder.path()).await;
        tokio::task::block_in_place(|| {
            compare_tree(&repository, source.path());
            check_contents(&repository, &kopia);
        });
        for compressor in Compressor::ALL.into_iter().filter(|c| c.name() != "lz4") {
            let mut data = format!("ours under {}\n", compressor.name())
                .repeat(300_000)
                .into_bytes();
            data.extend(noise(400_000, 3));
            tokio::task::block_in_place(|| {
                save_file_with(&repository, compressor.name(), &data, Some(compressor))
            });
            compare_restored(&kopia, &repository, compressor.name(), &data);
        }
        let packed = packed_bytes(folder.path());
        assert!(packed < 30 << 20, "nothing was compressed: {packed} bytes");
        kopia.verify();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn splitters_cut_where_kopia_cuts() {
    let source = tempfile::tempdir().unwrap();
    let data = noise(20 << 20, 17);
    std::fs::write(source.path().join("data"), &data).unwrap();
    for splitter in splitter::names() {
        let Some(kopia) = Kopia::find() else { return };
        let folder = tempfile::tempdir().unwrap();
        kopia.create(folder.path(), &["--object-splitter", &splitter]);
        kopia.run(&["snapshot", "create", source.path().to_str().unwrap()]);
        let before = data_packs(folder.path());
        let repository = opened(folder.path()).await;
        tokio::task::block_in_place(|| save_file(&repository, "again", &data));
        assert_eq!(
            data_packs(folder.path()),
            before,
            "{splitter}: no data is written twice"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn error_correction_repairs_for_kopia_and_for_us() {
    let Some(kopia) = Kopia::find() else { return };
    let source = tree();
    for (n, ecc) in [1, 2, 3, 5, 10, 100].into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let options = FormatOptions {
            ecc_overhead_percent: ecc,
            ..FormatOptions::default()
        };
        let data = noise(3 << 20, ecc.into());
        let repository = created(folder.path(), &options).await;
        tokio::task::block_in_place(|| save_file(&repository, "ours", &data));
        let kopia = if n == 0 { &kopia } else { &Kopia::find().unwrap() };
        kopia.connect(folder.path());
        kopia.run(&["snapshot", "create", source.path().to_str().unwrap()]);
        scratch(folder.path());
        let repository = opened(folder.path()).await;
        tokio::task::block_in_place(|| {
            compare_tree(&repository, source.path());
            for id in repository.live_contents() {
                assert!(repository.content_matches_name(&id).unwrap(), "{id} at {ecc} %");
            }
        });
        compare_restored(kopia, &repository, "ours", &data);
    }
}

/// Alters one byte in the middle of every pack's first large segment.
fn scratch(root: &Path) {
    for pack in files(&root.join("p")) {
        let mut bytes = std::fs::read(&pack).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 0xff;
        std::fs::write(pack, bytes).unwrap();
    }
}
