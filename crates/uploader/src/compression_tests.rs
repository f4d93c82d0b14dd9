//! Data is compressed where the caller says so: fewer bytes, ordinary contents of Kopia, the same bytes back.

use std::fs;
use std::path::Path;

use caravel_repository::{Compressor, Labels};

use crate::tests::{World, noise, request};
use crate::*;

/// Text that compresses well, and of which no part comes twice.
fn lines(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|n| format!("{n:08}: nothing has happened\n").into_bytes())
        .collect()
}

fn save(world: &World, path: &Path, mode: VolumeMode, compressor: Option<Compressor>) -> UploadOutcome {
    let request = UploadRequest {
        mode,
        rules: UploadRules {
            compressor,
            ..UploadRules::default()
        },
        ..request(path)
    };
    let (progress, cancel) = (Progress::default(), CancelToken::default());
    upload(&world.repository(), &request, &progress, &cancel).expect("an upload")
}

/// Bytes of all packs of file data.
fn stored_bytes(world: &World) -> u64 {
    let packs = world.block_on(world.storage.list("p")).expect("a listing");
    packs.iter().map(|pack| pack.length).sum()
}

/// What compresses the source, by the policy that is saved for Kopia and Velero.
fn named_by_policy(world: &World) -> String {
    let repository = world.repository();
    let labels = Labels::from([("type".to_owned(), "policy".to_owned())]);
    let found = repository.find_manifests(&labels).expect("manifests");
    assert_eq!(found.len(), 1);
    let policy: serde_json::Value = serde_json::from_str(found[0].payload.get()).expect("JSON");
    policy["compression"]["compressorName"]
        .as_str()
        .expect("a name")
        .to_owned()
}

/// The compression of each file's only content, by name.
fn compressions(world: &World, snapshot_id: &str) -> Vec<(String, u32)> {
    let repository = world.repository();
    let snapshot = repository.load_snapshot(&snapshot_id.parse().expect("an id"));
    let root = snapshot.expect("a snapshot").manifest.root_entry.expect("a root");
    let directory = repository.read_directory(root.object).expect("a directory");
    let of_entry = |entry: &caravel_repository::DirectoryEntry| {
        let content = repository.content_info(&entry.object.content);
        (entry.name.clone(), content.expect("known").compression)
    };
    directory.entries.iter().map(of_entry).collect()
}

#[test]
fn compressed_files_take_less_and_come_back_as_they_were() {
    let mut taken = Vec::new();
    for (compressor, name, id) in [
        (None, "none", 0),
        (Some(Compressor::ZSTD_FASTEST), "zstd-fastest", 0x1101),
    ] {
        let world = World::new();
        let (source, back) = (world.folder("source"), world.folder("back"));
        let files = [("noise", noise(100_000, 11)), ("text", lines(30_000))];
        for (name, bytes) in &files {
            fs::write(source.join(name), bytes).expect("a file");
        }
        let saved = save(&world, &source, VolumeMode::Filesystem, compressor);
        // What does not get smaller is stored as it is.
        let expected = [("noise".to_owned(), 0), ("text".to_owned(), id)];
        assert_eq!(compressions(&world, &saved.snapshot_id), expected);
        assert_eq!(named_by_policy(&world), name);
        world.restore(&saved.snapshot_id, &back).expect("a restore");
        for (name, bytes) in &files {
            assert!(
                fs::read(back.join(name)).expect("a file") == *bytes,
                "{name} differs"
            );
        }
        taken.push(stored_bytes(&world));
    }
    assert!(taken[1] * 2 < taken[0], "{taken:?}");
}

#[test]
fn a_compressed_device_takes_less_and_comes_back_as_it_was() {
    let mut taken = Vec::new();
    for compressor in [None, Some(Compressor::ZSTD_FASTEST)] {
        let world = World::new();
        let folder = world.folder("devices");
        let (source, target) = (folder.join("source"), folder.join("target"));
        let content = [lines(200_000), vec![0; 9 << 20], noise(1 << 20, 12)].concat();
        fs::write(&source, &content).expect("a stand-in for a device");
        fs::write(&target, noise(content.len(), 13)).expect("a stand-in for a used device");
        let saved = save(&world, &source, VolumeMode::Block, compressor);
        let back = RestoreRequest {
            snapshot_id: saved.snapshot_id,
            path: target.clone(),
            mode: VolumeMode::Block,
            sparse: true,
            parallel_files: None,
            synced: false,
            rules: RestoreRules::default(),
        };
        let (progress, cancel) = (Progress::default(), CancelToken::default());
        restore(&world.repository(), &back, &progress, &cancel).expect("a restore");
        assert!(
            fs::read(&target).expect("the device") == content,
            "the device differs"
        );
        taken.push(stored_bytes(&world));
    }
    assert!(taken[1] * 2 < taken[0], "{taken:?}");
}
