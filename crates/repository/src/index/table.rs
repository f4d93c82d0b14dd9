//! One index blob, read where it lies: its bytes stay as they came, entries are taken out one at a time. Millions of
//! contents cost their 34 bytes each and no more, and those may lie in a file (`mapped.rs`).

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use super::{Entry, PackNames, keep_winners, v1, v2};
use crate::{content::ContentId, error::Result};

/// The entries of one index blob, or of several that were merged, sorted and unique.
#[derive(Debug)]
pub(crate) struct Table {
    /// The index blobs whose entries these are.
    pub blobs: BTreeSet<Arc<str>>,
    bytes: Bytes,
    layout: v2::Layout,
    packs: Vec<u32>,
    formats: Vec<(u32, u8)>,
}

impl Table {
    /// From the plaintext of the index blob `name`; `None` when it has no entries. Checks every entry once, so that
    /// taking one out cannot fail.
    pub fn read(name: &str, plain: Bytes, packs: &mut PackNames) -> Result<Option<Self>> {
        let blobs = BTreeSet::from([Arc::from(name)]);
        if plain.first() == Some(&1) {
            let mut entries = Vec::new();
            v1::decode(&plain, packs, &mut entries)?;
            return Self::of(blobs, entries, packs);
        }
        match Self::from_v2(blobs.clone(), plain, packs)? {
            Ok(table) => Ok(Some(table).filter(|table| table.len() > 0)),
            // Nobody writes them so, but they can be read.
            Err(unsorted) => {
                let mut entries = Vec::new();
                v2::decode(&unsorted, packs, &mut entries)?;
                Self::of(blobs, entries, packs)
            }
        }
    }

    /// From entries in any order; `None` when there is none.
    pub fn of(
        blobs: BTreeSet<Arc<str>>,
        mut entries: Vec<Entry>,
        packs: &mut PackNames,
    ) -> Result<Option<Self>> {
        if entries.is_empty() {
            return Ok(None);
        }
        keep_winners(&mut entries, packs);
        let bytes = super::encode(2, &entries, packs)?;
        drop(entries);
        Ok(Self::from_v2(blobs, bytes.into(), packs)?.ok())
    }

    fn from_v2(
        blobs: BTreeSet<Arc<str>>,
        bytes: Bytes,
        names: &mut PackNames,
    ) -> Result<std::result::Result<Self, Bytes>> {
        let layout = v2::Layout::of(&bytes)?;
        let packs = layout.pack_numbers(&bytes, names)?;
        let formats = layout.formats(&bytes)?;
        let table = Self {
            blobs,
            bytes,
            layout,
            packs,
            formats,
        };
        let mut before: &[u8] = &[];
        let mut sorted = true;
        for n in 0..table.len() {
            if table.try_get(n).is_none() {
                return Err(v2::damaged("an entry's pack or format"));
            }
            sorted &= table.key(n) > before;
            before = table.key(n);
        }
        match sorted {
            true => Ok(Ok(table)),
            false => Ok(Err(table.bytes)),
        }
    }

    /// The same with its bytes where `keep` puts them; it must not alter them.
    pub fn kept(self, keep: &dyn Fn(Bytes) -> Bytes) -> Self {
        Self {
            bytes: keep(self.bytes),
            ..self
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.layout.count
    }

    /// The key of entry `n`, which is less than [`Table::len`].
    pub fn key(&self, n: usize) -> &[u8] {
        self.layout.row(&self.bytes, n).0
    }

    fn try_get(&self, n: usize) -> Option<Entry> {
        self.layout.entry(&self.bytes, n, &self.packs, &self.formats)
    }

    /// Entry `n`, which is less than [`Table::len`].
    pub fn get(&self, n: usize) -> Entry {
        self.try_get(n)
            .expect("every entry was taken out once when the table was read")
    }

    /// The first entry whose key is not less than `key`.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle) < key {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// The entry of a content.
    pub fn find(&self, id: &ContentId) -> Option<Entry> {
        let at = self.lower_bound(id.key());
        (at < self.len() && self.key(at) == id.key()).then(|| self.get(at))
    }
}
