//! Is there room? Asked before the first write (guarantee 6).

use std::os::fd::OwnedFd;

use caravel_repository::{DEEPEST, DirectoryEntry, EntryType, ObjectId, Repository};

use crate::error::{Result, UploaderError};
use crate::progress::CancelToken;

/// Fails when the target cannot hold what the snapshot has. A sparse file counts by what it occupied where it came
/// from, since its holes are restored as holes.
pub(crate) fn check(
    repository: &Repository,
    root: &DirectoryEntry,
    target: &OwnedFd,
    cancel: &CancelToken,
) -> Result<()> {
    let space = rustix::fs::fstatvfs(target)
        .map_err(|error| UploaderError::entry("", "look at the space of", error))?;
    let available = space.f_bavail.saturating_mul(space.f_frsize);
    let logical = root.summary.as_ref().map_or(0, |summary| summary.size);
    if logical <= available {
        return Ok(());
    }
    let needed = occupied(repository, root.object, cancel)?;
    if needed <= available {
        Ok(())
    } else {
        Err(UploaderError::TooSmall { needed, available })
    }
}

/// Reads directories, no data; only done when room is short.
fn occupied(repository: &Repository, root: ObjectId, cancel: &CancelToken) -> Result<u64> {
    let failed = |error| UploaderError::repository("adding up what the snapshot needs", error);
    let mut total: u64 = 0;
    let mut pending = vec![(root, 0)];
    while let Some((directory, level)) = pending.pop() {
        cancel.check()?;
        if level > DEEPEST {
            let message = "the folders of the snapshot are nested too deeply to add up what it needs";
            return Err(UploaderError::Mismatch(message.to_owned()));
        }
        for entry in repository.read_directory(directory).map_err(failed)?.entries {
            match entry.kind {
                EntryType::Directory => pending.push((entry.object, level + 1)),
                EntryType::File => total = total.saturating_add(entry.allocated.unwrap_or(entry.size)),
                EntryType::Symlink => {}
            }
        }
    }
    Ok(total)
}
