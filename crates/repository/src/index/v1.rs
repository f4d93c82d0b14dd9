//! Bytes of an index blob, version 1 (kopia-format.md 7.1): repositories of format version 1 have them, and those
//! that were upgraded may still hold some.

use std::collections::HashMap;

use super::{Entry, PackNames};
use crate::{
    content::id::{ContentId, KEY_LENGTHS},
    crypto::OVERHEAD,
    error::{RepositoryError, Result},
};

const HEADER: usize = 8;
const VALUE: usize = 20;

fn damaged(what: &str) -> RepositoryError {
    RepositoryError::damaged(format!("an index (version 1) is not well formed: {what}"))
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(b[at..at + 4].try_into().expect("four bytes"))
}

/// Decodes; see [`super::decode`].
pub fn decode(bytes: &[u8], packs: &mut PackNames, entries: &mut Vec<Entry>) -> Result<()> {
    if bytes.len() < HEADER {
        return Err(damaged("it is shorter than its header"));
    }
    let (key_size, count) = (bytes[1] as usize, u32_at(bytes, 4) as usize);
    if count == 0 {
        return Ok(());
    }
    if !KEY_LENGTHS.contains(&key_size) || u16::from_be_bytes([bytes[2], bytes[3]]) as usize != VALUE {
        return Err(RepositoryError::unsupported(format!(
            "index keys of {key_size} bytes"
        )));
    }
    let size = count
        .checked_mul(key_size + VALUE)
        .ok_or_else(|| damaged("its count"))?;
    let rows = bytes[HEADER..]
        .get(..size)
        .ok_or_else(|| damaged("entries are cut off"))?;
    for row in rows.chunks_exact(key_size + VALUE) {
        let (key, value) = row.split_at(key_size);
        let at = u32_at(value, 8) as usize;
        let name = at
            .checked_add(value[7] as usize)
            .and_then(|end| bytes.get(at..end));
        let name = name
            .and_then(|name| std::str::from_utf8(name).ok())
            .filter(|name| !name.is_empty());
        let packed_length = u32_at(value, 16);
        let seconds = u64::from(u32_at(value, 0)) << 16 | u64::from(value[4]) << 8 | u64::from(value[5]);
        entries.push(Entry {
            id: ContentId::from_key(key)?,
            deleted: value[12] & 0x80 != 0,
            format_version: value[6],
            compression: 0,
            timestamp: u32::try_from(seconds).unwrap_or(u32::MAX),
            pack: packs.number(name.ok_or_else(|| damaged("a pack's name"))?),
            pack_offset: u32_at(value, 12) & 0x7fff_ffff,
            packed_length,
            original_length: packed_length
                .checked_sub(OVERHEAD as u32)
                .ok_or_else(|| damaged("a length"))?,
        });
    }
    Ok(())
}

/// Encodes; see [`super::encode`]. Errors: `Invalid` for compressed contents, which this version cannot name.
pub fn encode(entries: &[Entry], packs: &PackNames) -> Result<Vec<u8>> {
    let key_size = entries[0].id.key().len();
    let names_at = HEADER + entries.len() * (key_size + VALUE);
    let (mut offsets, mut names) = (HashMap::new(), Vec::new());
    let mut out = vec![1, key_size as u8];
    out.extend_from_slice(&(VALUE as u16).to_be_bytes());
    out.extend_from_slice(&(entries.len() as u32).to_be_bytes());
    for entry in entries {
        if entry.compression != 0 {
            return Err(RepositoryError::invalid(format!(
                "content {} is compressed, which an index of version 1 cannot say",
                entry.id
            )));
        }
        let name = packs.name(entry.pack);
        let at = *offsets.entry(entry.pack).or_insert_with(|| {
            names.extend_from_slice(name.as_bytes());
            names_at + names.len() - name.len()
        });
        out.extend_from_slice(entry.id.key());
        out.extend_from_slice(&u64::from(entry.timestamp).to_be_bytes()[2..]);
        out.push(entry.format_version);
        out.push(
            u8::try_from(name.len()).map_err(|_| RepositoryError::invalid("a pack's name is too long"))?,
        );
        out.extend_from_slice(&(at as u32).to_be_bytes());
        let deleted = if entry.deleted { 1 << 31 } else { 0 };
        out.extend_from_slice(&(entry.pack_offset | deleted).to_be_bytes());
        out.extend_from_slice(&entry.packed_length.to_be_bytes());
    }
    out.extend_from_slice(&names);
    Ok(out)
}
