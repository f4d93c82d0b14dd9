//! The index that every pack carries of itself (kopia-format.md 6.3): found from the end of the pack by an
//! unauthenticated postamble, opened by its own hash.

use bytes::Bytes;
use caravel_storage::BlobMetadata;

use crate::{
    blob::Blobs,
    content::pack::Postamble,
    crypto::Sealer,
    error::{RepositoryError, Result},
};

/// Nearly every local index lies in so much of a pack's end.
const TAIL: u64 = 8192;

/// Reads the local index of each pack, and gives its plaintext, or why there is none.
pub(super) fn read_all(
    blobs: &Blobs,
    sealer: &Sealer,
    packs: &[BlobMetadata],
    mut found: impl FnMut(&str, Result<Vec<u8>>),
) {
    // Tails are small; a few thousand at a time bound the memory.
    for packs in packs.chunks(1024) {
        let tails: Vec<_> = packs
            .iter()
            .map(|pack| (pack.id.as_str(), pack.length.saturating_sub(TAIL)..pack.length))
            .collect();
        for (pack, tail) in packs.iter().zip(blobs.get_ranges(&tails)) {
            let plain = tail.and_then(|tail| read(blobs, sealer, pack, &tail));
            found(pack.id.as_str(), plain);
        }
    }
}

fn read(blobs: &Blobs, sealer: &Sealer, pack: &BlobMetadata, tail: &Bytes) -> Result<Vec<u8>> {
    let name = pack.id.as_str();
    let damaged =
        |what: &str| RepositoryError::damaged(format!("pack {name} has no index of its own: {what}"));
    let postamble =
        Postamble::find(tail).ok_or_else(|| damaged("its end is missing or altered, it may be truncated"))?;
    let end = postamble.offset.checked_add(postamble.length);
    let range = match end {
        Some(end) if end <= pack.length => postamble.offset..end,
        _ => return Err(damaged("its end points outside the pack")),
    };
    let tail_start = pack.length - tail.len() as u64;
    let sealed = match range.start.checked_sub(tail_start) {
        Some(start) => tail.slice(start as usize..(range.end - tail_start) as usize),
        None => blobs.get_range(name, range)?,
    };
    sealer
        .open(&postamble.iv, &sealed)
        .ok_or_else(|| damaged("it was altered: its authentication failed"))
}
