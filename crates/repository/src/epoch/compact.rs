//! Several index blobs made one (kopia-format.md 7.4, 7.8): entries merged by precedence, tombstones kept.

use bytes::Bytes;
use jiff::Timestamp;

use super::upkeep::Compaction;
use crate::{
    error::{RepositoryError, RepositoryErrorKind, Result},
    index::{self, Entry, PackNames, shards},
    repository::Inner,
};

/// Writes the compaction. What it was decided on (`listed_at`) must be young enough still: later, others may have
/// cleaned up some of the blobs.
///
/// Errors: `TooSlow`, `Damaged` naming the index blob, `Storage`. Blobs of a compaction that is not complete are
/// ignored by every reader.
pub(crate) fn compact(inner: &Inner, compaction: &Compaction, listed_at: Timestamp) -> Result<()> {
    let (entries, packs) = merge(inner, &compaction.blobs)?;
    if entries.is_empty() {
        return Ok(());
    }
    let prefix = match compaction.first == compaction.last {
        true => format!("xs{}_", compaction.first),
        false => format!("xr{}_{}_", compaction.first, compaction.last),
    };
    let plain: Vec<Vec<u8>> = shards(entries)
        .into_iter()
        .map(|shard| index::encode(inner.format.config.index_version(), &shard, &packs))
        .collect::<Result<_>>()?;
    let set = hex::encode(inner.environment.random::<8>());
    let suffix = format!("s{set}-c{}", plain.len());
    let valid_secs = inner.format.config.epoch_parameters.epoch_refresh_frequency / 1_000_000_000;
    if inner.environment.now_secs() - listed_at.as_second() > valid_secs {
        return Err(RepositoryError::new(
            RepositoryErrorKind::TooSlow,
            "merging index blobs took longer than others may leave them; nothing was written, try again",
        ));
    }
    for index in &plain {
        let (name, body) = inner.sealer.seal_blob(&prefix, &suffix, index);
        inner.blobs.put(&name, Bytes::from(body))?;
    }
    Ok(())
}

/// All entries of the blobs, the winning one of each content, in order. Memory: some 64 bytes an entry.
fn merge(inner: &Inner, blobs: &[String]) -> Result<(Vec<Entry>, PackNames)> {
    let (mut entries, mut packs) = (Vec::new(), PackNames::default());
    for name in blobs {
        let body = inner.blobs.get(name)?;
        let plain = inner.sealer.open_blob_in_place(name, body).ok_or_else(|| {
            RepositoryError::damaged(format!(
                "index blob {name} was altered or truncated: it cannot be opened"
            ))
        })?;
        index::decode(&plain, &mut packs, &mut entries)
            .map_err(|e| e.while_doing(format_args!("cannot read index blob {name}")))?;
    }
    index::keep_winners(&mut entries, &packs);
    Ok((entries, packs))
}
