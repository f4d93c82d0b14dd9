//! All index blobs together: the winning entry of each content, tombstones under the watermark gone
//! (kopia-format.md 6.5, 7.6). Large blobs are read where they lie; many small ones are merged into larger ones, so that a
//! look-up asks few tables. What is merged lies where its blobs would (`mapped.rs`), and not all is merged at once: a
//! repository whose epochs are not settled yet may have all its millions of contents in small blobs.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use super::{Entry, PackNames, Table, precedence, walk::Walk};
use crate::{content::ContentId, error::Result};

/// A table of fewer entries is small.
const SMALL: usize = 1 << 16;
/// More small tables than this are merged.
const MANY: usize = 8;
/// Entries that are merged at once: some 60 MiB while it is done. At most this and a small table's become one table.
const AT_ONCE: usize = 1 << 19;

/// The committed contents as of one reading of the index blobs.
#[derive(Debug, Default)]
pub struct MergedIndex {
    tables: Vec<Arc<Table>>,
    packs: PackNames,
    /// Unix seconds; tombstones up to it no longer count, their packs may be gone.
    watermark: i64,
    blobs: BTreeSet<String>,
    /// By pack number: where the last content of the pack ends.
    pack_ends: Vec<u32>,
}

impl MergedIndex {
    /// Of `entries` (any order, any duplicates) read from `blobs`.
    ///
    /// Errors: `Invalid` when one index cannot hold them: more than 255 kinds of compression, names of two lengths.
    pub fn new(
        entries: Vec<Entry>,
        mut packs: PackNames,
        watermark: i64,
        blobs: BTreeSet<String>,
    ) -> Result<Self> {
        let names = blobs.iter().map(|name| Arc::from(name.as_str())).collect();
        let table = Table::of(names, entries, &mut packs)?;
        let mut index = Self {
            packs,
            watermark,
            blobs,
            ..Self::default()
        };
        table.into_iter().for_each(|table| index.add(Arc::new(table)));
        Ok(index)
    }

    /// Which of `wanted` this index has not read, so that they must be fetched for [`MergedIndex::next`].
    pub fn missing<'w>(&self, wanted: &'w BTreeSet<String>) -> Vec<&'w str> {
        let kept: BTreeSet<&str> = self
            .kept(wanted)
            .flat_map(|table| table.blobs.iter().map(|name| &**name))
            .collect();
        let has =
            |name: &&str| kept.contains(name) || (self.blobs.contains(*name) && self.is_empty_blob(name));
        wanted
            .iter()
            .map(String::as_str)
            .filter(|name| !has(name))
            .collect()
    }

    /// Whether a blob that was read had no entries.
    fn is_empty_blob(&self, name: &str) -> bool {
        !self.tables.iter().any(|table| table.blobs.contains(name))
    }

    fn kept<'s>(&'s self, wanted: &'s BTreeSet<String>) -> impl Iterator<Item = &'s Arc<Table>> {
        let all_wanted = |table: &&Arc<Table>| table.blobs.iter().all(|name| wanted.contains(&**name));
        self.tables.iter().filter(all_wanted)
    }

    /// The index of exactly the blobs `wanted`: what this one has of them, and `fetched` plaintexts of the others. What is
    /// made of several of them is put where `keep` says; it must give back the same bytes.
    ///
    /// Errors: as of decoding an index blob, naming it.
    pub fn next(
        &self,
        wanted: BTreeSet<String>,
        fetched: impl IntoIterator<Item = Result<(String, Bytes)>>,
        watermark: i64,
        keep: &dyn Fn(Bytes) -> Bytes,
    ) -> Result<Self> {
        let mut index = Self {
            tables: self.kept(&wanted).cloned().collect(),
            packs: self.packs.clone(),
            watermark,
            // Of packs that are not referred to any more, too; nobody asks for those.
            pack_ends: self.pack_ends.clone(),
            ..Self::default()
        };
        for blob in fetched {
            let (name, plain) = blob?;
            // Of version 1, which is not read where it lies.
            let is_made_anew = plain.first() == Some(&1);
            let table = Table::read(&name, plain, &mut index.packs)
                .map_err(|e| e.while_doing(format_args!("cannot read index blob {name}")))?;
            let Some(table) = table else {
                continue;
            };
            index.add(Arc::new(match is_made_anew {
                true => table.kept(keep),
                false => table,
            }));
        }
        index.merge_small_tables(keep)?;
        index.blobs = wanted;
        Ok(index)
    }

    fn add(&mut self, table: Arc<Table>) {
        self.pack_ends.resize(self.packs.len(), 0);
        for entry in (0..table.len()).map(|n| table.get(n)) {
            let end: &mut u32 = &mut self.pack_ends[entry.pack as usize];
            *end = (*end).max(entry.pack_offset.saturating_add(entry.packed_length));
        }
        self.tables.push(table);
    }

    fn merge_small_tables(&mut self, keep: &dyn Fn(Bytes) -> Bytes) -> Result<()> {
        let is_small = |table: &Arc<Table>| table.len() < SMALL;
        if self.tables.iter().filter(|table| is_small(table)).count() <= MANY {
            return Ok(());
        }
        let (small, large): (Vec<_>, Vec<_>) = self.tables.drain(..).partition(is_small);
        self.tables = large;
        let (mut group, mut entries) = (Vec::new(), 0);
        for table in small {
            entries += table.len();
            group.push(table);
            if entries >= AT_ONCE {
                self.merge(std::mem::take(&mut group), keep)?;
                entries = 0;
            }
        }
        self.merge(group, keep)
    }

    /// Puts one table in the place of several.
    fn merge(&mut self, group: Vec<Arc<Table>>, keep: &dyn Fn(Bytes) -> Bytes) -> Result<()> {
        if group.len() < 2 {
            self.tables.extend(group);
            return Ok(());
        }
        let blobs = group
            .iter()
            .flat_map(|table| table.blobs.iter().cloned())
            .collect();
        let entries = Walk::new(&group, &self.packs, &[]).collect();
        drop(group);
        if let Some(table) = Table::of(blobs, entries, &mut self.packs)? {
            self.tables.push(Arc::new(table.kept(keep)));
        }
        Ok(())
    }

    /// The names of the index blobs this was made from.
    pub fn blobs(&self) -> &BTreeSet<String> {
        &self.blobs
    }

    fn counts(&self, entry: &Entry) -> bool {
        !(entry.deleted && i64::from(entry.timestamp) <= self.watermark)
    }

    /// The entry of a content, tombstones above the watermark included.
    pub fn find(&self, id: &ContentId) -> Option<Entry> {
        self.tables
            .iter()
            .filter_map(|table| table.find(id))
            .reduce(|a, b| match precedence(&b, &a, &self.packs).is_gt() {
                true => b,
                false => a,
            })
            .filter(|entry| self.counts(entry))
    }

    /// The name of the pack that holds an entry of this index.
    pub fn pack_name(&self, entry: &Entry) -> &Arc<str> {
        self.packs.name(entry.pack)
    }

    /// The packs that entries of this index refer to by number; some may hold nothing that counts.
    pub fn packs(&self) -> &PackNames {
        &self.packs
    }

    /// Where the last known content of the entry's pack ends, in bytes.
    pub fn pack_end(&self, entry: &Entry) -> u64 {
        self.pack_ends[entry.pack as usize].into()
    }

    /// Tombstones up to this second do not count (0: none).
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// Every entry that counts, in order of names: live ones and tombstones above the watermark.
    pub fn all(&self) -> impl Iterator<Item = Entry> {
        Walk::new(&self.tables, &self.packs, &[]).filter(|entry| self.counts(entry))
    }

    /// Live entries, in order.
    pub fn live(&self) -> impl Iterator<Item = Entry> {
        self.all().filter(|entry| !entry.deleted)
    }

    /// Live entries whose id has this prefix letter.
    pub fn live_with_prefix(&self, prefix: u8) -> impl Iterator<Item = Entry> {
        Walk::new(&self.tables, &self.packs, &[prefix])
            .take_while(move |entry| entry.id.key()[0] == prefix)
            .filter(|entry| !entry.deleted)
    }
}
