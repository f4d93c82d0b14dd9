//! Bytes of an index blob, version 2 (kopia-format.md 7.2): a 17-byte header, fixed-size entries sorted by
//! key, a table of packs, a table of formats, the packs' names. All integers big-endian.

use std::{collections::HashMap, ops::Range};

use super::{Entry, PackNames};
use crate::{
    content::id::{ContentId, KEY_LENGTHS},
    error::{RepositoryError, Result},
};

const HEADER: usize = 17;
const PACK_ROW: usize = 5;
const FORMAT_ROW: usize = 6;
const DELETED: u32 = 1 << 31;

pub(super) fn damaged(what: &str) -> RepositoryError {
    RepositoryError::damaged(format!("an index (version 2) is not well formed: {what}"))
}

fn u16_at(b: &[u8], at: usize) -> u32 {
    u32::from(b[at]) << 8 | u32::from(b[at + 1])
}

fn u24_at(b: &[u8], at: usize) -> u32 {
    u16_at(b, at) << 8 | u32::from(b[at + 2])
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u24_at(b, at) << 8 | u32::from(b[at + 3])
}

/// Where the four tables of an index lie, each checked to be inside the bytes.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub key_size: usize,
    pub value_size: usize,
    pub count: usize,
    base: u32,
    packs: Range<usize>,
    formats: Range<usize>,
}

impl Layout {
    pub fn of(bytes: &[u8]) -> Result<Self> {
        if bytes.len() < HEADER {
            return Err(damaged("it is shorter than its header"));
        }
        if bytes[0] != 2 {
            return Err(RepositoryError::unsupported(format!(
                "index version {}",
                bytes[0]
            )));
        }
        let (key_size, value_size) = (bytes[1] as usize, u16_at(bytes, 2) as usize);
        if !KEY_LENGTHS.contains(&key_size) {
            return Err(RepositoryError::unsupported(format!(
                "index keys of {key_size} bytes"
            )));
        }
        if !(16..=256 - key_size).contains(&value_size) {
            return Err(damaged("the size of its values"));
        }
        let (count, pack_count) = (u32_at(bytes, 4) as usize, u32_at(bytes, 8) as usize);
        let (format_count, base) = (bytes[12] as usize, u32_at(bytes, 13));
        let mut at = HEADER;
        let mut table = |size: Option<usize>, what: &str| {
            let end = size.and_then(|size| at.checked_add(size));
            let end = end
                .filter(|end| *end <= bytes.len())
                .ok_or_else(|| damaged(what))?;
            let table = at..end;
            at = end;
            Ok(table)
        };
        table(count.checked_mul(key_size + value_size), "entries are cut off")?;
        Ok(Self {
            key_size,
            value_size,
            count,
            base,
            packs: table(pack_count.checked_mul(PACK_ROW), "the table of packs is cut off")?,
            formats: table(Some(format_count * FORMAT_ROW), "the table of formats is cut off")?,
        })
    }

    /// The numbers of its packs in `packs`.
    pub fn pack_numbers(&self, bytes: &[u8], packs: &mut PackNames) -> Result<Vec<u32>> {
        let name = |row: &[u8]| {
            let (length, at) = (row[0] as usize, u32_at(row, 1) as usize);
            let end = at.checked_add(length)?;
            let name = std::str::from_utf8(bytes.get(at..end)?).ok();
            name.filter(|name| !name.is_empty())
                .map(|name| packs.number(name))
        };
        let rows = bytes[self.packs.clone()].chunks_exact(PACK_ROW);
        rows.map(name)
            .collect::<Option<_>>()
            .ok_or_else(|| damaged("a pack's name"))
    }

    /// Compression and format version of each of its formats.
    pub fn formats(&self, bytes: &[u8]) -> Result<Vec<(u32, u8)>> {
        let rows = bytes[self.formats.clone()].chunks_exact(FORMAT_ROW);
        rows.map(|row| match row[5] {
            0 => Ok((u32_at(row, 0), row[4])),
            key => Err(RepositoryError::unsupported(format!(
                "encryption key number {key}"
            ))),
        })
        .collect()
    }

    /// Key and value of entry `n`, which is less than `count`.
    pub fn row<'b>(&self, bytes: &'b [u8], n: usize) -> (&'b [u8], &'b [u8]) {
        let size = self.key_size + self.value_size;
        let start = HEADER + n * size;
        bytes[start..start + size].split_at(self.key_size)
    }

    /// Entry `n`, which is less than `count`. `None` when it refers to a pack or format that is not there.
    pub fn entry(&self, bytes: &[u8], n: usize, packs: &[u32], formats: &[(u32, u8)]) -> Option<Entry> {
        let (key, value) = self.row(bytes, n);
        let optional = |at: usize| value.get(at).copied().map_or(0, u32::from);
        let location = u32_at(value, 4);
        let pack = u16_at(value, 14) | optional(17) << 16;
        let (compression, format_version) = *formats.get(optional(16) as usize)?;
        Some(Entry {
            id: ContentId::new(Some(key[0]), &key[1..]),
            deleted: location & DELETED != 0,
            format_version,
            compression,
            timestamp: u32_at(value, 0).saturating_add(self.base),
            pack: *packs.get(pack as usize)?,
            pack_offset: location & !DELETED,
            packed_length: u24_at(value, 11) | (optional(18) & 0x0f) << 24,
            original_length: u24_at(value, 8) | (optional(18) >> 4) << 24,
        })
    }
}

/// Decodes; see [`super::decode`].
pub fn decode(bytes: &[u8], packs: &mut PackNames, entries: &mut Vec<Entry>) -> Result<()> {
    let layout = Layout::of(bytes)?;
    let numbers = layout.pack_numbers(bytes, packs)?;
    let formats = layout.formats(bytes)?;
    entries.reserve(layout.count);
    for n in 0..layout.count {
        let entry = layout.entry(bytes, n, &numbers, &formats);
        entries.push(entry.ok_or_else(|| damaged("an entry's pack or format"))?);
    }
    Ok(())
}

/// Encodes; see [`super::encode`].
pub fn encode(entries: &[Entry], packs: &PackNames) -> Result<Vec<u8>> {
    let mut tables = Tables::default();
    let numbered: Vec<(u32, u8)> = entries.iter().map(|e| tables.number(e)).collect::<Result<_>>()?;
    let long = entries
        .iter()
        .any(|e| e.packed_length.max(e.original_length) >= 1 << 24);
    let value_size: usize = if long {
        19
    } else if tables.packs.len() > 1 << 16 {
        18
    } else if tables.formats.len() > 1 {
        17
    } else {
        16
    };
    let mut out = header(entries, value_size, &tables);
    for (entry, (pack, format)) in entries.iter().zip(numbered) {
        out.extend_from_slice(entry.id.key());
        out.extend_from_slice(&value(entry, pack, format)[..value_size]);
    }
    append_tables(&mut out, &tables, packs);
    Ok(out)
}

/// Packs and formats in order of first appearance.
#[derive(Default)]
struct Tables {
    packs: Vec<u32>,
    pack_rows: HashMap<u32, u32>,
    formats: Vec<(u32, u8)>,
}

impl Tables {
    fn number(&mut self, entry: &Entry) -> Result<(u32, u8)> {
        let next = self.packs.len() as u32;
        let pack = *self.pack_rows.entry(entry.pack).or_insert_with(|| {
            self.packs.push(entry.pack);
            next
        });
        let wanted = (entry.compression, entry.format_version);
        let format = self.formats.iter().position(|f| *f == wanted).unwrap_or_else(|| {
            self.formats.push(wanted);
            self.formats.len() - 1
        });
        match u8::try_from(format) {
            Ok(format) if format < 255 && pack < 1 << 24 => Ok((pack, format)),
            _ => Err(RepositoryError::invalid(
                "one index cannot name so many packs or formats",
            )),
        }
    }
}

fn header(entries: &[Entry], value_size: usize, tables: &Tables) -> Vec<u8> {
    let mut out = vec![2, entries[0].id.key().len() as u8];
    out.extend_from_slice(&(value_size as u16).to_be_bytes());
    out.extend_from_slice(&(entries.len() as u32).to_be_bytes());
    out.extend_from_slice(&(tables.packs.len() as u32).to_be_bytes());
    out.push(tables.formats.len() as u8);
    out.extend_from_slice(&0u32.to_be_bytes());
    out
}

fn value(entry: &Entry, pack: u32, format: u8) -> [u8; 19] {
    let mut value = [0; 19];
    let location = entry.pack_offset | if entry.deleted { DELETED } else { 0 };
    value[..4].copy_from_slice(&entry.timestamp.to_be_bytes());
    value[4..8].copy_from_slice(&location.to_be_bytes());
    value[8..11].copy_from_slice(&entry.original_length.to_be_bytes()[1..]);
    value[11..14].copy_from_slice(&entry.packed_length.to_be_bytes()[1..]);
    value[14..16].copy_from_slice(&pack.to_be_bytes()[2..]);
    value[16] = format;
    value[17] = (pack >> 16) as u8;
    value[18] = ((entry.original_length >> 24) << 4) as u8 | (entry.packed_length >> 24) as u8;
    value
}

fn append_tables(out: &mut Vec<u8>, tables: &Tables, packs: &PackNames) {
    let mut at = out.len() + tables.packs.len() * PACK_ROW + tables.formats.len() * FORMAT_ROW;
    for number in &tables.packs {
        let length = packs.name(*number).len();
        out.push(u8::try_from(length).expect("pack names are shorter than 256 bytes"));
        out.extend_from_slice(&(at as u32).to_be_bytes());
        at += length;
    }
    for (compression, version) in &tables.formats {
        out.extend_from_slice(&compression.to_be_bytes());
        out.extend_from_slice(&[*version, 0]);
    }
    for number in &tables.packs {
        out.extend_from_slice(packs.name(*number).as_bytes());
    }
}
