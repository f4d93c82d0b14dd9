//! Row 2 of the compatibility matrix (kopia-format.md 15): index blobs of every width that we write, as the real kopia reads
//! them. The packs that they name do not exist; neither program asks while it lists.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/kopia_cli/mod.rs"]
mod kopia_cli;

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::Value;

use super::*;
use crate::{ContentInfo, CreateOptions, Environment, OpenOptions, Repository};
use caravel_storage::filesystem::FilesystemStorage;
use kopia_cli::{Kopia, PASSWORD};

async fn created(folder: &std::path::Path) -> Repository {
    let storage = Arc::new(FilesystemStorage::open(folder).await.unwrap());
    let (username, hostname) = ("default".to_owned(), "default".to_owned());
    let options = CreateOptions {
        username: username.clone(),
        hostname: hostname.clone(),
    };
    let password = SecretString::from(PASSWORD);
    crate::create(storage.clone(), &password, &options, Environment::system())
        .await
        .unwrap();
    let options = OpenOptions { username, hostname };
    crate::open(storage, &password, options, Environment::system())
        .await
        .unwrap()
}

/// Entry `n` of many; no two have one name.
fn entry(n: u32, packs: &mut PackNames, pack_count: u32) -> Entry {
    let mut hash = [0; 16];
    hash[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
    hash[4..8].copy_from_slice(&n.to_be_bytes());
    let prefix = [None, Some(b'k'), Some(b'x')][n as usize % 3];
    Entry {
        id: ContentId::new(prefix, &hash),
        deleted: n % 7 == 3,
        format_version: 3,
        compression: 0,
        timestamp: 1_790_000_000 + n,
        pack: packs.number(&format!("p{:032x}-s00112233445566778147", n % pack_count)),
        pack_offset: n * 31,
        packed_length: 1000 + n % 5000,
        original_length: 2000 + n % 5000,
    }
}

/// Seals and stores an index blob, and says how wide its values are.
fn put(repository: &Repository, mut entries: Vec<Entry>, packs: &PackNames) -> u8 {
    keep_winners(&mut entries, packs);
    let plain = encode(2, &entries, packs).unwrap();
    let inner = &repository.inner;
    let (name, sealed) = inner.sealer.seal_blob("xn0_", "s0011223344556677147-c1", &plain);
    inner.blobs.put(&name, sealed.into()).unwrap();
    inner.committed.refresh().unwrap();
    plain[3]
}

/// Everything that Kopia says of a content, under its name.
fn said(listed: &str) -> BTreeMap<String, Value> {
    let all: Vec<Value> = serde_json::from_str(listed).unwrap();
    all.into_iter()
        .map(|one| (one["contentID"].as_str().unwrap().to_owned(), one))
        .collect()
}

fn same(kopia: &Value, own: &ContentInfo) -> bool {
    let number = |name: &str| kopia[name].as_u64().unwrap_or(0) as u32;
    kopia["packFile"] == *own.pack
        && kopia["deleted"] == own.deleted
        && kopia["formatVersion"] == own.format_version
        && number("time") == own.timestamp
        && number("packOffset") == own.pack_offset
        && number("length") == own.packed_length
        && number("originalLength") == own.original_length
        && number("compression") == own.compression
}

fn kopia_says_the_same(kopia: &Kopia, repository: &Repository) {
    let theirs = said(&kopia.run(&["content", "list", "--json", "--deleted"]));
    let ours = repository.contents();
    assert_eq!(theirs.len(), ours.len());
    for own in &ours {
        let kopia = &theirs[&own.id.to_string()];
        assert!(same(kopia, own), "kopia: {kopia}\nours: {own:?}");
    }
    let inspected = kopia.run(&["index", "inspect", "--all"]);
    assert!(inspected.lines().count() >= ours.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn kopia_reads_index_values_of_16_17_and_19_bytes_and_with_every_compressor() {
    let Some(kopia) = Kopia::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let repository = created(folder.path()).await;
    tokio::task::block_in_place(|| {
        let mut packs = PackNames::default();
        let plain: Vec<Entry> = (0..300).map(|n| entry(n, &mut packs, 9)).collect();
        assert_eq!(put(&repository, plain, &packs), 16);
        let compressors = crate::Compressor::ALL;
        let mixed = (1000..1300).map(|n| Entry {
            compression: compressors[n as usize % compressors.len()].id(),
            format_version: 1 + n as u8 % 3,
            ..entry(n, &mut packs, 9)
        });
        let mixed: Vec<Entry> = mixed.collect();
        assert_eq!(put(&repository, mixed, &packs), 17);
        let long = (2000..2100).map(|n| Entry {
            packed_length: (1 << 24) + n,
            original_length: (1 << 27) + n,
            ..entry(n, &mut packs, 9)
        });
        let long: Vec<Entry> = long.collect();
        assert_eq!(put(&repository, long, &packs), 19);
        kopia.connect(folder.path());
        kopia_says_the_same(&kopia, &repository);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn kopia_reads_an_index_of_more_than_65536_packs() {
    const PACKS: u32 = (1 << 16) + 500;
    let Some(kopia) = Kopia::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let repository = created(folder.path()).await;
    tokio::task::block_in_place(|| {
        let mut packs = PackNames::default();
        let many: Vec<Entry> = (0..PACKS).map(|n| entry(n, &mut packs, PACKS)).collect();
        assert_eq!(put(&repository, many, &packs), 18);
        kopia.connect(folder.path());
        kopia_says_the_same(&kopia, &repository);
    });
}
