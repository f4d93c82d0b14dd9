//! What a caller asks for and what it gets back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use caravel_repository::SnapshotSource;

/// How the volume is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeMode {
    /// A mounted file system: a tree of files.
    Filesystem,
    /// A block device: a row of bytes.
    Block,
}

/// One volume to be written into the repository as a snapshot.
#[derive(Clone, Debug)]
pub struct UploadRequest {
    /// The mount point, or the device.
    pub path: PathBuf,
    /// What `path` is.
    pub mode: VolumeMode,
    /// Name of the root entry in the snapshot; Velero writes the volume path's last part.
    pub root_name: String,
    /// Under which source the snapshot is listed, and where its parent is looked for.
    pub source: SnapshotSource,
    /// Labels of the snapshot. A parent must agree on `snapshot-requester` and `snapshot-uploader`.
    pub tags: BTreeMap<String, String>,
    /// Free text in the snapshot.
    pub description: String,
    /// Reasons never to expire the snapshot.
    pub pins: Vec<String>,
    /// Files read at the same time; `None`: one a core.
    pub parallel_files: Option<usize>,
    /// How often the snapshot so far is saved as an incomplete one; see [`crate::DEFAULT_CHECKPOINT_INTERVAL`]. Time is
    /// the repository's clock.
    pub checkpoint_interval: Duration,
}

/// An entry that a snapshot cannot hold, said once and never in silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Path below the volume's root.
    pub path: String,
    /// What it is: `fifo`, `socket`, `character device`, `block device`.
    pub what: String,
}

/// A finished upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadOutcome {
    /// Manifest id of the snapshot (32 hex digits), as read back from storage.
    pub snapshot_id: String,
    /// Bytes of file data in the snapshot.
    pub total_bytes: u64,
    /// Of these, the bytes of files that the parent snapshot does not have as they are now.
    pub incremental_bytes: u64,
    /// The volume held no entry at all.
    pub empty: bool,
    /// Entries that no snapshot can hold, sorted by path.
    pub left_out: Vec<LeftOut>,
}

/// One snapshot to be written into a volume.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// Manifest id.
    pub snapshot_id: String,
    /// The mount point, or the device.
    pub path: PathBuf,
    /// What `path` is.
    pub mode: VolumeMode,
    /// Leave every block of zeros unwritten (4 KiB), not just the long runs that only a sparse file has.
    pub sparse: bool,
    /// Files written at the same time; `None`: one a core.
    pub parallel_files: Option<usize>,
    /// Whether all of it is on the disk before the restore is done, so that a node that dies afterwards loses nothing.
    /// Only a volume that need not outlive its node goes without.
    pub synced: bool,
}

/// One entry of a snapshot to be written somewhere.
#[derive(Clone, Debug)]
pub struct EntryRestoreRequest {
    /// For a directory: the folder to fill, which exists. Else the file to be.
    pub path: PathBuf,
    /// See [`RestoreRequest::sparse`].
    pub sparse: bool,
    /// See [`RestoreRequest::parallel_files`].
    pub parallel_files: Option<usize>,
    /// See [`RestoreRequest::synced`].
    pub synced: bool,
}

/// A finished restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// Bytes of file data that are in place.
    pub total_bytes: u64,
}
