//! From a volume to a snapshot (kopia-format.md 10, 13.3 to 13.5). See `lib.rs` for the files of this folder.
//!
//! ```text
//! walker ─ files ─▶ bounded queue ─▶ threads: read ─ split ─ hash ─ seal ─▶ repository's writer
//!    └ directories wait in `tree.rs` for their children, then are written themselves; the root is last
//! ```

mod block;
mod error;
mod file;
mod parent;
mod record;
mod tree;
mod walk;

use std::{collections::BTreeMap, path::PathBuf};

use caravel_repository::{ManifestId, Repository, SnapshotSource};

pub use error::UploadError;

use crate::{CancelToken, Progress, VolumeMode};

/// What to save, and under which name.
#[derive(Clone, Debug)]
pub struct UploadRequest {
    /// The mounted volume, or the device.
    pub path: PathBuf,
    /// What `path` is.
    pub mode: VolumeMode,
    /// Name of the root in the snapshot: the last part of the volume's path (Block: the whole path).
    pub root_name: String,
    /// What the snapshot is of; snapshots of one source build on each other.
    pub source: SnapshotSource,
    /// Become labels of the snapshot. `snapshot-requester` and `snapshot-uploader` also select the parent.
    pub tags: BTreeMap<String, String>,
    pub description: String,
    /// A pinned snapshot is never removed by retention.
    pub pins: Vec<String>,
    /// Files read at the same time; the number of cores when not given.
    pub parallel_files: Option<usize>,
}

/// A finished upload. Its snapshot was read back from storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadOutcome {
    /// The snapshot's manifest id, 32 hex digits.
    pub snapshot_id: String,
    /// Bytes of all files, reused ones included; of the device.
    pub total_bytes: u64,
    /// Bytes of files that were not reused from the parent; of a device, bytes that the repository did not have.
    pub incremental_bytes: u64,
    /// The volume holds nothing at all.
    pub empty: bool,
    /// What no snapshot can hold, or not exactly. The upload is whole without it.
    pub left_out: Vec<LeftOut>,
}

/// An entry that was left out, or saved with a loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Relative to the volume.
    pub path: String,
    /// What it is: `fifo`, `socket`, `character device`, `block device`, or a sentence.
    pub what: String,
}

/// Saves the volume.
///
/// The manifest is read back from storage before this returns (guarantee 3). When an entry cannot be read, or
/// the upload is canceled, what was saved is kept as an incomplete snapshot, which no later upload builds on
/// (guarantee 2).
///
/// Errors: [`UploadError`] names the path and the cause.
pub fn upload(
    repository: &Repository,
    request: &UploadRequest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<UploadOutcome, UploadError> {
    record::check(request)?;
    let parent = parent::find(repository, request)?;
    let writer = repository.write()?;
    let started = repository.environment().clock.now();
    let saved = match request.mode {
        VolumeMode::Filesystem => tree::save(&writer, request, parent.as_ref(), progress, cancel)?,
        VolumeMode::Block => block::save(&writer, request, progress, cancel)?,
    };
    if let Some(failure) = saved.failure {
        record::keep_incomplete(&writer, request, saved.root, saved.totals, started, &failure);
        return Err(failure);
    }
    let id: ManifestId = record::commit(&writer, request, saved.root.as_ref(), &saved.totals, started)?;
    progress.finish();
    Ok(UploadOutcome {
        snapshot_id: id.to_string(),
        total_bytes: saved.totals.total_bytes,
        incremental_bytes: saved.totals.incremental_bytes,
        empty: saved.totals.is_empty,
        left_out: saved.left_out,
    })
}
