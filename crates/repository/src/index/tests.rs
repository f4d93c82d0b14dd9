//! The worked example of kopia-format.md B.3, the rule of 6.5, and hostile bytes.

use std::collections::BTreeSet;

use super::{merged::MergedIndex, *};
use proptest::prelude::*;

fn entry(id: &str, pack: u32) -> Entry {
    Entry {
        id: id.parse().unwrap(),
        deleted: false,
        format_version: 3,
        compression: 0,
        timestamp: 1_700_000_000,
        pack,
        pack_offset: 32,
        packed_length: 128,
        original_length: 100,
    }
}

fn worked_example() -> (Vec<Entry>, PackNames) {
    let mut packs = PackNames::default();
    let p = packs.number(&format!("p{}-s0123456789abcdef13f", "ab".repeat(16)));
    let q = packs.number(&format!("q{}-s0123456789abcdef13f", "cd".repeat(16)));
    let second = Entry {
        deleted: true,
        timestamp: 1_700_000_001,
        pack_offset: 0x1234,
        original_length: 5000,
        packed_length: 700,
        compression: 0x1101,
        ..entry("kffeeddccbbaa99887766554433221100", q)
    };
    (vec![entry("00112233445566778899aabbccddeeff", p), second], packs)
}

#[test]
fn version_2_is_written_as_in_the_worked_example() {
    let (entries, packs) = worked_example();
    let bytes = v2::encode(&entries, &packs).unwrap();
    assert_eq!(bytes.len(), 215);
    let head = "0211001100000002000000020200000000\
                0000112233445566778899aabbccddeeff\
                6553f10000000020000064000080000000\
                6bffeeddccbbaa99887766554433221100\
                6553f101800012340013880002bc000101\
                360000006b36000000a1\
                000000000300000011010300\
                70";
    assert_eq!(hex::encode(&bytes[..head.len() / 2]), head);
    let (mut back, mut names) = (Vec::new(), PackNames::default());
    decode(&bytes, &mut names, &mut back).unwrap();
    assert_eq!(back, entries);
    assert_eq!(names.name(1), packs.name(1));
}

#[test]
fn every_entry_size_round_trips() {
    let (mut entries, packs) = worked_example();
    entries[1].original_length = (1 << 28) - 1;
    entries[1].packed_length = 1 << 24;
    let bytes = v2::encode(&entries, &packs).unwrap();
    assert_eq!(bytes[3], 19);
    let mut back = Vec::new();
    decode(&bytes, &mut PackNames::default(), &mut back).unwrap();
    assert_eq!(back, entries);

    let bytes = v2::encode(&entries[..1], &packs).unwrap();
    assert_eq!(bytes[3], 16);

    let mut packs = PackNames::default();
    let many: Vec<Entry> = (0..66_000u32)
        .map(|n| entry(&format!("{n:032x}"), packs.number(&format!("p{n}"))))
        .collect();
    let bytes = v2::encode(&many, &packs).unwrap();
    assert_eq!(bytes[3], 18);
    let mut back = Vec::new();
    decode(&bytes, &mut PackNames::default(), &mut back).unwrap();
    assert_eq!(back, many);
}

#[test]
fn newer_wins_then_live_then_greater_pack_and_the_watermark_hides_tombstones() {
    let mut packs = PackNames::default();
    let (a, b) = (packs.number("pa"), packs.number("pb"));
    let id = "00112233445566778899aabbccddeeff";
    let live = entry(id, a);
    let dead = Entry {
        deleted: true,
        pack: b,
        ..live
    };
    let merge = |entries: &[Entry], watermark| {
        let merged = MergedIndex::new(entries.to_vec(), packs.clone(), watermark, BTreeSet::new());
        merged.unwrap().find(&live.id)
    };
    assert_eq!(merge(&[dead, live], 0), Some(live));
    assert_eq!(merge(&[live, Entry { pack: b, ..live }], 0).unwrap().pack, b);
    let dead_later = Entry {
        timestamp: live.timestamp + 1,
        ..dead
    };
    assert_eq!(merge(&[live, dead_later], 0), Some(dead_later));
    assert_eq!(merge(&[live, dead_later], i64::from(dead_later.timestamp)), None);
    assert_eq!(merge(&[live], i64::MAX), Some(live));
}

#[test]
fn many_small_blobs_become_few_tables_that_lie_where_large_ones_do_and_say_the_same() {
    const TABLES: u32 = 15;
    const EACH: u32 = 45_000;
    let mut packs = PackNames::default();
    let pack = packs.number("p0");
    let id_of = |n: u32| format!("{n:032x}");
    let everywhere = "f".repeat(32);
    let blob = |table: u32| {
        let own = (0..EACH).map(|n| entry(&id_of(table * EACH + n), pack));
        // Merged in different groups: the newest counts all the same.
        let common = Entry {
            timestamp: 1_700_000_000 + (table * 7) % TABLES,
            ..entry(&everywhere, pack)
        };
        let entries: Vec<Entry> = own.chain([common]).collect();
        let plain = encode(2, &entries, &packs).unwrap();
        Ok((format!("xn0_{table:032x}"), bytes::Bytes::from(plain)))
    };
    let wanted: BTreeSet<String> = (0..TABLES).map(|table| format!("xn0_{table:032x}")).collect();
    let kept = std::cell::RefCell::new(Vec::new());
    let keep = |bytes: bytes::Bytes| {
        kept.borrow_mut().push(bytes.len());
        bytes
    };
    let next = |from: &MergedIndex| from.next(wanted.clone(), (0..TABLES).map(&blob), 0, &keep);
    let index = next(&MergedIndex::default()).unwrap();
    assert!(
        (1..TABLES as usize / 2).contains(&kept.borrow().len()),
        "not all at once, and not each by itself: {kept:?}"
    );
    assert_eq!(index.all().count(), (TABLES * EACH + 1) as usize);
    for n in (0..TABLES * EACH).step_by(9_973) {
        let id = id_of(n).parse().unwrap();
        assert_eq!(index.find(&id).unwrap().id, id);
    }
    let newest = index.find(&everywhere.parse().unwrap()).unwrap();
    assert_eq!(newest.timestamp, 1_700_000_000 + TABLES - 1);
    assert!(index.missing(&wanted).is_empty());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes, &mut PackNames::default(), &mut Vec::new());
    }

    #[test]
    fn altered_indexes_never_panic(at in 0usize..215, to in any::<u8>(), cut in 0usize..216) {
        let (entries, packs) = worked_example();
        let mut bytes = v2::encode(&entries, &packs).unwrap();
        bytes[at] = to;
        bytes.truncate(cut);
        let _ = decode(&bytes, &mut PackNames::default(), &mut Vec::new());
        if !bytes.is_empty() { bytes[0] = 1; }
        let _ = decode(&bytes, &mut PackNames::default(), &mut Vec::new());
    }
}
