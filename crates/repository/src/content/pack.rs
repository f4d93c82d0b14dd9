//! Bytes of a pack (kopia-format.md 6.3).
//!
//! ```text
//! [format replica │] preamble 32 random │ segment … segment │ padding 1…4096 random │ sealed local index │ postamble
//! ```
//! Readers find segments through index blobs; local index and postamble serve `index recover` (`recover/`), the
//! replica of the format blob in packs of format version 1 serves `repository repair`.

use std::sync::Arc;

use crate::{
    blob::{names::PackKind, pack_memory::PackMemory},
    crypto::Sealer,
    environment::Environment,
    error::Result,
    index::{self, Entry, PackNames},
};

const PREAMBLE: usize = 32;
const PADDING_UNIT: usize = 4096;
/// After the entries of a local index, so that its name is not guessable from them.
const LOCAL_INDEX_SUFFIX: usize = 32;

/// A pack that still takes segments.
pub struct PackBuilder {
    pub name: String,
    pub kind: PackKind,
    data: PackMemory,
    /// Of the memory of a full one, in bytes.
    full: usize,
    entries: Vec<Entry>,
    names: PackNames,
    index_version: u8,
}

/// How packs of one repository begin and end.
#[derive(Clone, Debug)]
pub struct PackFormat {
    /// Of the local index.
    pub index_version: u8,
    /// In front of everything, in repositories of format version 1; else empty.
    pub replica: Arc<[u8]>,
    /// How many bytes a full pack may have: its memory.
    pub full: usize,
}

impl PackBuilder {
    /// Starts with the replica, where there is one, and the preamble.
    pub fn new(
        name: String,
        kind: PackKind,
        format: &PackFormat,
        environment: &Environment,
        mut data: PackMemory,
    ) -> Self {
        data.extend_from_slice(&format.replica);
        data.extend_from_slice(&environment.random::<PREAMBLE>());
        Self {
            name,
            kind,
            data,
            full: format.full,
            entries: Vec::new(),
            names: PackNames::default(),
            index_version: format.index_version,
        }
    }

    /// Where the next segment will start.
    pub fn offset(&self) -> u32 {
        u32::try_from(self.data.len()).expect("packs are sent at some 20 MiB")
    }

    /// Bytes so far.
    pub fn length(&self) -> usize {
        self.data.len()
    }

    /// Appends a segment of about `length` bytes, which `write` adds to the bytes so far; `entry` is told where it lies
    /// and how long it is.
    pub fn append(&mut self, entry: &mut Entry, length: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.data.make_room(length, self.full);
        entry.pack_offset = self.offset();
        write(&mut self.data);
        entry.packed_length = self.offset() - entry.pack_offset;
        let pack = self.names.number(&self.name);
        self.entries.push(Entry { pack, ..*entry });
    }

    /// Notes an entry without bytes here: the tombstone of a content in another pack.
    pub fn note(&mut self, entry: Entry, pack: &str) {
        let pack = self.names.number(pack);
        self.entries.push(Entry { pack, ..entry });
    }

    /// Adds padding, local index and postamble; the result is ready to be stored under the pack's name.
    pub fn finish(mut self, sealer: &Sealer, environment: &Environment) -> Result<PackMemory> {
        let padding = PADDING_UNIT - self.data.len() % PADDING_UNIT;
        let start = self.data.len();
        self.data.resize(start + padding, 0);
        environment.randomness.fill(&mut self.data[start..]);

        self.entries.sort_unstable_by_key(|entry| entry.id);
        self.entries.dedup_by_key(|entry| entry.id);
        let mut index = index::encode(self.index_version, &self.entries, &self.names)?;
        index.extend_from_slice(&environment.random::<LOCAL_INDEX_SUFFIX>());
        let iv = sealer.hash(&index);
        let offset = self.data.len();
        sealer.seal_into(&iv, &index, &mut self.data);
        let length = self.data.len() - offset;
        self.data
            .extend_from_slice(&postamble(&iv, offset as u64, length as u64));
        Ok(self.data)
    }
}

/// How to find the local index from the end of a pack.
pub(crate) fn postamble(iv: &[u8], offset: u64, length: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, 1);
    put_varint(&mut out, iv.len() as u64);
    out.extend_from_slice(iv);
    put_varint(&mut out, offset);
    put_varint(&mut out, length);
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out.push(u8::try_from(out.len()).expect("a postamble is shorter than 256 bytes"));
    out
}

/// What a postamble says; not authenticated, so it is only a hint of where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Postamble {
    /// The whole hash of the local index.
    pub iv: Vec<u8>,
    /// From the start of the pack, in bytes.
    pub offset: u64,
    pub length: u64,
}

impl Postamble {
    /// From the last bytes of a pack; `None` when they are not the end of one.
    pub fn find(tail: &[u8]) -> Option<Self> {
        let (length, rest) = tail.split_last()?;
        let start = rest.len().checked_sub(usize::from(*length))?;
        let (mut payload, sum) = rest[start..].split_last_chunk::<4>()?;
        if crc32fast::hash(payload).to_be_bytes() != *sum || take_varint(&mut payload)? != 1 {
            return None;
        }
        let iv_length = usize::try_from(take_varint(&mut payload)?).ok()?;
        let (iv, mut payload) = payload.split_at_checked(iv_length)?;
        Some(Self {
            iv: iv.to_vec(),
            offset: take_varint(&mut payload)?,
            length: take_varint(&mut payload)?,
        })
    }
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn postamble_is_the_one_of_the_reference() {
        let iv: [u8; 16] = std::array::from_fn(|i| i as u8);
        let expected = "0110000102030405060708090a0b0c0d0e0f8020af01fad66c5b1a";
        assert_eq!(hex::encode(postamble(&iv, 4096, 175)), expected);
        let found = Postamble::find(&[&[1, 2, 3][..], &postamble(&iv, 4096, 175)].concat()).unwrap();
        assert_eq!((found.iv, found.offset, found.length), (iv.to_vec(), 4096, 175));
    }

    proptest! {
        #[test]
        fn random_tails_are_no_postambles_and_never_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..100), sum in any::<bool>()
        ) {
            if sum && !bytes.is_empty() {
                let payload = bytes.clone();
                bytes.extend_from_slice(&crc32fast::hash(&payload).to_be_bytes());
                bytes.push(bytes.len() as u8);
            }
            let _ = Postamble::find(&bytes);
        }
    }
}
