//! Shapes of kopia-format.md 10.3 and B.5.

use super::*;
use proptest::prelude::*;

fn entry(kind: EntryType, name: &[u8]) -> DirectoryEntry {
    DirectoryEntry::new(kind, name, "00112233445566778899aabbccddeeff".parse().unwrap())
}

fn bytes(entries: &mut [DirectoryEntry], summary: &DirectorySummary) -> Vec<u8> {
    let mut out = Vec::new();
    encode(entries, summary, |piece| {
        out.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    out
}

#[test]
fn empty_directory_has_null_entries() {
    let summary = DirectorySummary {
        dirs: 1,
        ..Default::default()
    };
    let json = bytes(&mut [], &summary);
    assert_eq!(
        std::str::from_utf8(&json).unwrap(),
        "{\"stream\":\"kopia:directory\",\"entries\":null,\"summary\":{\"size\":0,\"files\":0,\"symlinks\":0,\
         \"dirs\":1,\"maxTime\":\"1970-01-01T00:00:00Z\",\"numFailed\":0}}\n"
    );
    assert_eq!(decode(&json).unwrap().entries, []);
}

#[test]
fn directories_come_first_fields_are_in_kopias_order_and_zeros_are_left_out() {
    let mut file = entry(EntryType::File, b"a<b>.txt");
    file.mode = FileMode::from_unix(0o644);
    file.size = 12;
    file.mtime = "2026-11-20T21:25:34.2946Z".parse().unwrap();
    file.uid = 7;
    let json = bytes(
        &mut [file, entry(EntryType::Directory, b"z")],
        &DirectorySummary::default(),
    );
    let text = std::str::from_utf8(&json).unwrap();
    let expected = "[{\"name\":\"z\",\"type\":\"d\",\"obj\":\"00112233445566778899aabbccddeeff\"},\
                    {\"name\":\"a\\u003cb\\u003e.txt\",\"type\":\"f\",\"mode\":\"0644\",\"size\":12,\
                    \"mtime\":\"2026-11-20T21:25:34.2946Z\",\"uid\":7,\"obj\":\"00112233445566778899aabbccddeeff\"}]";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn names_that_are_not_utf8_come_back_exactly() {
    let odd = entry(EntryType::File, b"a\xff\xfe\xc3b");
    assert_eq!(odd.name, "a\u{fffd}\u{fffd}\u{fffd}b");
    let json = bytes(&mut [odd], &DirectorySummary::default());
    let back = decode(&json).unwrap();
    assert_eq!(back.entries[0].file_name(), b"a\xff\xfe\xc3b");
}

#[test]
fn raw_name_that_contradicts_the_name_is_ignored() {
    let mut odd = entry(EntryType::File, b"a\xff");
    odd.raw_name = Some(BASE64_STANDARD.encode(b"../evil"));
    assert_eq!(odd.file_name(), "a\u{fffd}".as_bytes());
}

#[test]
fn unknown_types_and_streams_are_damage() {
    let json = bytes(&mut [entry(EntryType::File, b"a")], &DirectorySummary::default());
    let text = String::from_utf8(json).unwrap();
    assert!(decode(text.replace("\"type\":\"f\"", "\"type\":\"b\"").as_bytes()).is_err());
    assert!(decode(text.replace("kopia:directory", "kopia:indirect").as_bytes()).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn any_name_round_trips(name in proptest::collection::vec(any::<u8>(), 1..40)) {
        let mut entries = [entry(EntryType::File, &name)];
        let json = bytes(&mut entries, &DirectorySummary::default());
        prop_assert_eq!(decode(&json).unwrap().entries[0].file_name(), name);
    }
}
