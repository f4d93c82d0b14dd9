//! What is left when something is lost (issue 5, part 5): verification names it, the rest stays readable, and indexes
//! and format blobs come back from packs.
#![allow(clippy::unwrap_used)]

mod simulated;

use std::sync::Arc;

use bytes::Bytes;
use caravel_repository::{
    recover::{IndexRecovery, RecoveredIndex},
    verify::{Level, Report},
    *,
};
use caravel_storage::{BlobId, Storage, memory::MemoryStorage};
use futures::FutureExt;
use simulated::*;

fn created(seed: u64, format: &FormatOptions) -> (World, Arc<MemoryStorage>, Repository) {
    let (world, memory) = (World::new(seed), Arc::new(MemoryStorage::new()));
    world.create_with(memory.clone(), format).unwrap();
    let repository = world.open(memory.clone()).unwrap();
    (world, memory, repository)
}

fn version(version: u8) -> FormatOptions {
    FormatOptions {
        version,
        ..FormatOptions::default()
    }
}

fn names(memory: &MemoryStorage, prefix: &str) -> Vec<String> {
    let listed = memory.list(prefix).now_or_never().unwrap().unwrap();
    listed
        .into_iter()
        .map(|blob| blob.id.as_str().to_owned())
        .collect()
}

fn get(memory: &MemoryStorage, name: &str) -> Vec<u8> {
    memory
        .get(&BlobId::from(name))
        .now_or_never()
        .unwrap()
        .unwrap()
        .to_vec()
}

fn put(memory: &MemoryStorage, name: &str, bytes: Vec<u8>) {
    memory
        .put(&BlobId::from(name), Bytes::from(bytes))
        .now_or_never()
        .unwrap()
        .unwrap();
}

fn delete(memory: &MemoryStorage, name: &str) {
    memory
        .delete(&BlobId::from(name))
        .now_or_never()
        .unwrap()
        .unwrap();
}

fn verify(world: &World, memory: &Arc<MemoryStorage>, level: Level) -> Report {
    let repository = world.open(memory.clone()).unwrap();
    repository.verify(level, &mut |_| true).unwrap()
}

fn recover(world: &World, memory: &Arc<MemoryStorage>, recovery: &IndexRecovery) -> RecoveredIndex {
    let options = OpenOptions {
        username: "default".into(),
        hostname: "default".into(),
    };
    let password = "secret".into();
    recover::packs(
        memory.clone(),
        &password,
        options,
        recovery,
        world.environment.clone(),
    )
    .now_or_never()
    .unwrap()
    .unwrap()
}

fn committing() -> IndexRecovery {
    IndexRecovery {
        commit: true,
        ..IndexRecovery::default()
    }
}

#[test]
fn whole_repository_has_no_problems_at_any_level() {
    for format in [version(1), version(2), version(3)] {
        let (world, memory, repository) = created(1, &format);
        save_file(&repository, "a", &noise(5 << 20, 1)).unwrap();
        save_file(&repository, "b", b"").unwrap();
        let all = verify(&world, &memory, Level::AllBytes);
        assert!(all.problems.is_empty(), "{:?}", all.problems);
        assert_eq!((all.snapshots, all.files, all.directories), (2, 2, 2));
        assert_eq!(all.contents, all.contents_read);
        assert!(all.bytes_read > 5 << 20);
        assert_eq!(verify(&world, &memory, Level::Structure).contents_read, 0);
        let some = verify(&world, &memory, Level::Sampled(50.0));
        assert!(some.problems.is_empty() && some.contents_read <= some.contents);
    }
}

#[test]
fn flipped_bit_costs_one_file_and_is_blamed_on_blob_content_and_object() {
    let (world, memory, repository) = created(2, &version(3));
    let good = save_file(&repository, "good", &noise(3 << 20, 1)).unwrap();
    let packs = names(&memory, "p");
    let bad = save_file(&repository, "bad", &noise(3 << 20, 2)).unwrap();
    let pack = names(&memory, "p")
        .into_iter()
        .find(|p| !packs.contains(p))
        .unwrap();
    let mut bytes = get(&memory, &pack);
    bytes[100] ^= 1;
    put(&memory, &pack, bytes);

    assert!(verify(&world, &memory, Level::Structure).problems.is_empty());
    let report = verify(&world, &memory, Level::AllBytes);
    let [of_pack, of_file] = report.problems.as_slice() else {
        panic!("{:?}", report.problems)
    };
    assert_eq!(of_pack.blob.as_deref(), Some(pack.as_str()));
    assert_eq!(of_pack.content, of_file.content);
    assert_eq!(of_file.file, Some((bad.clone(), "/bad".into())));
    let text = of_file.to_string();
    for named in [
        &pack,
        &bad.to_string(),
        &of_file.object.unwrap().to_string(),
        "/bad",
    ] {
        assert!(text.contains(named), "{named} in {text}");
    }
    let repository = world.open(memory).unwrap();
    assert!(read_file(&repository, &good).unwrap() == noise(3 << 20, 1));
    let error = read_file(&repository, &bad).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::Damaged);
    assert!(
        error.to_string().contains(&pack) && error.to_string().contains("object"),
        "{error}"
    );
}

#[test]
fn truncated_pack_costs_only_what_was_behind_the_cut() {
    let (world, memory, repository) = created(3, &version(3));
    let writer = repository.write().unwrap();
    let ids: Vec<ManifestId> = (0..10u64)
        .map(|n| put_file(&writer, &format!("f{n}"), &noise(100_000, n)).unwrap())
        .collect();
    writer.commit().unwrap();
    let pack = names(&memory, "p").remove(0);
    let mut bytes = get(&memory, &pack);
    bytes.truncate(450_000);
    put(&memory, &pack, bytes);

    let report = verify(&world, &memory, Level::Structure);
    let lost: Vec<String> = report
        .problems
        .iter()
        .filter_map(|problem| problem.file.clone())
        .map(|(_, path)| path)
        .collect();
    assert_eq!(lost.len(), 6, "{lost:?}");
    let repository = world.open(memory).unwrap();
    let readable = ids.iter().filter(|id| read_file(&repository, id).is_ok()).count();
    assert_eq!(readable, 4);
}

#[test]
fn missing_pack_is_named_and_a_check_can_be_ended() {
    let (world, memory, repository) = created(4, &version(3));
    save_file(&repository, "a", &noise(1 << 20, 1)).unwrap();
    let pack = names(&memory, "p").remove(0);
    delete(&memory, &pack);
    let report = verify(&world, &memory, Level::AllBytes);
    assert!(
        report
            .problems
            .iter()
            .all(|p| p.blob.as_deref() == Some(pack.as_str()))
    );
    assert_eq!(report.problems.len(), 2);
    let repository = world.open(memory).unwrap();
    let ended = repository.verify(Level::AllBytes, &mut |_| false).unwrap();
    assert_eq!(ended.snapshots, 0);
}

#[test]
fn index_is_rebuilt_from_packs_in_every_format_version() {
    for format in [version(1), version(2), version(3)] {
        let (world, memory, repository) = created(5, &format);
        for n in 0..3 {
            save_file(&repository, &format!("f{n}"), &noise(2 << 20, n)).unwrap();
        }
        let before = world.open(memory.clone()).unwrap().live_contents();
        let indexes = [names(&memory, "x"), names(&memory, "n")].concat();
        indexes.iter().for_each(|name| delete(&memory, name));
        assert!(world.open(memory.clone()).unwrap().live_contents().is_empty());

        let dry = recover(&world, &memory, &IndexRecovery::default());
        assert!(!dry.committed && dry.contents == before.len() && dry.failed.is_empty());
        assert!(names(&memory, "xn").is_empty() && names(&memory, "n").is_empty());
        assert!(recover(&world, &memory, &committing()).committed);
        let repository = world.open(memory).unwrap();
        assert_eq!(repository.live_contents(), before);
        assert_eq!(check_whole(&repository), 3);
    }
}

#[test]
fn damaged_index_blob_is_named_and_replaced_from_packs() {
    let (world, memory, repository) = created(6, &version(3));
    save_file(&repository, "a", &noise(2 << 20, 1)).unwrap();
    let index = names(&memory, "xn").pop().unwrap();
    put(&memory, &index, vec![7; 200]);
    let error = world.open(memory.clone()).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::Damaged);
    assert!(error.to_string().contains(&index), "{error}");

    let recovery = IndexRecovery {
        delete_damaged: true,
        ..committing()
    };
    let found = recover(&world, &memory, &recovery);
    assert_eq!(found.damaged.len(), 1);
    assert_eq!(found.damaged[0].0, index);
    assert_eq!(check_whole(&world.open(memory).unwrap()), 1);
}

#[test]
fn truncated_pack_says_nothing_and_the_others_are_recovered() {
    let (world, memory, repository) = created(7, &version(3));
    let good = save_file(&repository, "good", &noise(1 << 20, 1)).unwrap();
    let packs = names(&memory, "p");
    save_file(&repository, "bad", &noise(1 << 20, 2)).unwrap();
    let pack = names(&memory, "p")
        .into_iter()
        .find(|p| !packs.contains(p))
        .unwrap();
    let mut bytes = get(&memory, &pack);
    bytes.truncate(900_000);
    put(&memory, &pack, bytes);
    names(&memory, "xn").iter().for_each(|name| delete(&memory, name));
    let found = recover(&world, &memory, &committing());
    assert_eq!(found.failed.len(), 1);
    assert!(
        found.failed[0].1.to_string().contains(&pack),
        "{}",
        found.failed[0].1
    );
    let repository = world.open(memory).unwrap();
    assert!(read_file(&repository, &good).unwrap() == noise(1 << 20, 1));
}

#[test]
fn lost_format_blob_comes_back_from_packs_of_version_1_only() {
    let repair = |world: &World, memory: &Arc<MemoryStorage>, commit| {
        recover::format_blob(memory.clone(), commit, &world.environment)
            .now_or_never()
            .unwrap()
    };
    let (world, memory, repository) = created(8, &version(1));
    save_file(&repository, "a", &noise(1 << 20, 1)).unwrap();
    let error = repair(&world, &memory, true).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::AlreadyInitialized);
    let before = get(&memory, "kopia.repository");
    delete(&memory, "kopia.repository");
    repair(&world, &memory, false).unwrap();
    assert!(names(&memory, "kopia.repository").is_empty(), "only looked");
    repair(&world, &memory, true).unwrap();
    assert_eq!(get(&memory, "kopia.repository"), before);
    put(&memory, "kopia.repository", b"half a blo".to_vec());
    repair(&world, &memory, true).unwrap();
    assert_eq!(check_whole(&world.open(memory).unwrap()), 1);

    let (world, memory, repository) = created(9, &version(3));
    save_file(&repository, "a", &noise(1 << 20, 1)).unwrap();
    delete(&memory, "kopia.repository");
    let error = repair(&world, &memory, true).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::NotFound);
}
