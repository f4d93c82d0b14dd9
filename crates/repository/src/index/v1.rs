//! Bytes of an index blob, version 1 (kopia-format.md 7.1); only read, since a repository may hold some from
//! before it was upgraded.

use super::{Entry, PackNames};
use crate::{
    content::id::{ContentId, KEY_LENGTH},
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
    let count = u32_at(bytes, 4) as usize;
    if count == 0 {
        return Ok(());
    }
    if bytes[1] as usize != KEY_LENGTH || u16::from_be_bytes([bytes[2], bytes[3]]) as usize != VALUE {
        return Err(RepositoryError::unsupported(format!(
            "index keys of {} bytes",
            bytes[1]
        )));
    }
    let size = count
        .checked_mul(KEY_LENGTH + VALUE)
        .ok_or_else(|| damaged("its count"))?;
    let rows = bytes[HEADER..]
        .get(..size)
        .ok_or_else(|| damaged("entries are cut off"))?;
    for row in rows.chunks_exact(KEY_LENGTH + VALUE) {
        let (key, value) = row.split_at(KEY_LENGTH);
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
            id: ContentId::from_key(key.try_into().expect("split at the key's length")),
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
