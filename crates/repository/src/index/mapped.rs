//! Index blobs outside of the heap: a file without a name, mapped. Looking for a content touches a few pages of it; the
//! others are the kernel's to take back (Kopia maps the files of its index cache, `repo/content/committed_content_index_disk_cache.go`
//! v0.22.3, to the same end). The only unsafe code of the crate; its safe twin is the heap, which every reader falls back to.
#![allow(unsafe_code)]

use std::{fs::DirBuilder, io, io::Write as _, os::unix::fs::DirBuilderExt as _, path::Path};

use bytes::Bytes;
use memmap2::Mmap;

/// Shorter ones stay on the heap: a few hundred repositories' worth of them would be no burden.
pub const WORTH_BYTES: usize = 1 << 20;

/// The same bytes in a file in `folder`, which is made if need be. The file has no name and goes with the last of its
/// bytes' holders, however the process ends.
///
/// Errors: of the folder, and of its file system having no room.
pub fn keep(folder: &Path, plain: &[u8]) -> io::Result<Bytes> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(plain)?;
    // SAFETY: mapped bytes must not change and the file must not become shorter. It has no name, so that nobody else can
    // open it (who may look into our open files may write into our memory, too), it is mapped for reading only, and this
    // descriptor, the only one that could write, is closed here. All of it is written, so no page lacks room later on.
    let map = unsafe { Mmap::map(&file) }?;
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{self, Entry, PackNames, Table};

    fn entries(count: u32, packs: &mut PackNames) -> Vec<Entry> {
        let pack = packs.number("p00112233445566778899aabbccddeeff-s0123456789abcdef13f");
        let entry = |n: u32| Entry {
            id: format!("{:032x}", u128::from(n) << 64 | 7).parse().unwrap(),
            deleted: n.is_multiple_of(7),
            format_version: 3,
            compression: 0,
            timestamp: 1_700_000_000 + n,
            pack,
            pack_offset: 32 + n * 100,
            packed_length: 100,
            original_length: 72,
        };
        (0..count).map(entry).collect()
    }

    #[test]
    fn an_index_that_is_mapped_says_what_one_on_the_heap_says() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("made");
        let mut packs = PackNames::default();
        let entries = entries(30_000, &mut packs);
        let plain = index::encode(2, &entries, &packs).unwrap();
        let mapped = keep(&folder, &plain).unwrap();
        assert_eq!(folder.read_dir().unwrap().count(), 0, "the file has no name");
        assert!(mapped == plain);
        let table = |bytes: Bytes| Table::read("xn0_a", bytes, &mut PackNames::default());
        let [mapped, heap] = [mapped, Bytes::from(plain)].map(|bytes| table(bytes).unwrap().unwrap());
        assert_eq!(mapped.len(), heap.len());
        assert_eq!(mapped.blobs, heap.blobs);
        for (n, entry) in entries.iter().enumerate() {
            assert_eq!((mapped.get(n), heap.get(n)), (*entry, *entry));
        }
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error_and_no_panic() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(keep(&file.path().join("below"), b"plain").is_err());
    }
}
