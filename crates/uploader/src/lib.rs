//! Knows a volume and a repository, not where either came from.
//!
//! Synchronous throughout (decisions.md, section 1): call it from a thread that may block. Progress is read from
//! [`Progress`], a stop is asked for through [`CancelToken`].
//!
//! | room | what |
//! |---|---|
//! | `filesystem/` | a mounted tree → snapshot, by the parent snapshot where nothing changed |
//! | `restore/` | snapshot → tree, below the target and nowhere else |
//! | `block.rs` | a device ↔ snapshot |
//! | `checkpoint.rs` | the snapshot so far, saved every 45 minutes |
//!
//! Mirrors `pkg/uploader/kopia` of Velero v1.18 (velero-behaviour.md 5.6) and kopia-format.md sections 10 and 13.

mod block;
mod checkpoint;
#[cfg(test)]
mod compression_tests;
#[cfg(test)]
mod deep_tests;
mod descriptors;
mod error;
mod filesystem;
mod job;
mod progress;
mod request;
mod restore;
#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod there_tests;

pub use checkpoint::DEFAULT_CHECKPOINT_INTERVAL;
pub use error::{RestoreError, UploadError, UploaderError};
pub use filesystem::Estimated;
pub use progress::{CancelToken, Progress};
pub use request::{
    EntryRestoreRequest, LeftOut, RestoreOutcome, RestoreRequest, RestoreRules, UploadOutcome, UploadRequest,
    UploadRules, VolumeMode,
};

use std::path::Path;

use caravel_repository::{DirectoryEntry, Repository};

/// Writes the volume into the repository as a snapshot, and returns when the snapshot has been read back from storage.
///
/// # Errors
/// Any entry that cannot be read fails the upload and is named; no snapshot is listed then. What was already sent stays
/// in the repository and is not sent again by the next attempt; files that a checkpoint names are not even read again.
pub fn upload(
    repository: &Repository,
    request: &UploadRequest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<UploadOutcome, UploadError> {
    match request.mode {
        VolumeMode::Filesystem => filesystem::upload(repository, request, progress, cancel),
        VolumeMode::Block => block::upload(repository, request, progress, cancel),
    }
}

/// Says what [`upload`] would save of a tree with these rules, from names and attributes alone.
///
/// # Errors
/// The root cannot be read, or the rules cannot be followed.
pub fn estimate(
    root: &Path,
    rules: &UploadRules,
    visit: &mut dyn FnMut(Estimated<'_>),
) -> Result<(), UploadError> {
    filesystem::estimate(root, rules, visit)
}

/// Writes a snapshot into the volume, and returns when the file system says that it is on disk.
///
/// # Errors
/// A volume that is too small fails before the first write; an entry that points outside the target is refused.
pub fn restore(
    repository: &Repository,
    request: &RestoreRequest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<RestoreOutcome, RestoreError> {
    match request.mode {
        VolumeMode::Filesystem => restore::restore(repository, request, progress, cancel),
        VolumeMode::Block => block::restore(repository, request, progress, cancel),
    }
}

/// Writes one entry of a snapshot: a directory into a folder, a file or link under a name.
///
/// # Errors
/// As [`restore`].
pub fn restore_entry(
    repository: &Repository,
    entry: &DirectoryEntry,
    request: &EntryRestoreRequest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<RestoreOutcome, RestoreError> {
    restore::restore_entry(repository, entry, request, progress, cancel)
}
