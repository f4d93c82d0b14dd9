//! Is there room? Asked before the first write (guarantee 6).

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use caravel_repository::Repository;
use caravel_repository::snapshot::{DirectoryEntry, EntryKind};

use crate::error::{Result, UploaderError};

/// Fails when the target cannot hold what the snapshot has. A sparse file counts by what it must at least occupy: each
/// of its distinct chunks once, as a hole of any length is one chunk of zeros.
pub(crate) fn check(repository: &Repository, root: &DirectoryEntry, target: &OwnedFd) -> Result<()> {
    let space = rustix::fs::fstatvfs(target).map_err(|error| UploaderError::entry("", "look at the space of", error))?;
    let available = space.f_bavail.saturating_mul(space.f_frsize);
    let logical = root.summary.as_ref().map_or(0, |summary| summary.size);
    if logical <= available {
        return Ok(());
    }
    let needed = least_bytes(repository, root)?;
    if needed <= available { Ok(()) } else { Err(UploaderError::TooSmall { needed, available }) }
}

/// A lower bound of what the tree occupies. Reads the lists of chunks, no data; only done when room is short.
fn least_bytes(repository: &Repository, directory: &DirectoryEntry) -> Result<u64> {
    let failed = |error| UploaderError::repository("adding up what the snapshot needs", error);
    let Some(object) = &directory.object else { return Ok(0) };
    let mut total = 0;
    for entry in repository.read_directory(object).map_err(failed)?.entries {
        match (entry.kind, &entry.object) {
            (EntryKind::Directory, _) => total += least_bytes(repository, &entry)?,
            (EntryKind::File, Some(object)) => {
                let chunks = repository.object_chunks(object).map_err(failed)?;
                let distinct: BTreeSet<_> = chunks.iter().map(|chunk| (&chunk.object, chunk.length)).collect();
                total += distinct.iter().map(|(_, length)| length).sum::<u64>();
            }
            _ => {}
        }
    }
    Ok(total)
}
