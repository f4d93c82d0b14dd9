//! What a caller asks for and what it gets back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use caravel_repository::policy::Policy;
use caravel_repository::{Compressor, EntryError, SnapshotSource};
use rustix::fs::FileType;

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
    /// What is left out, overlooked, compressed, and kept beside what Kopia keeps.
    pub rules: UploadRules,
}

/// What of a folder goes into its snapshot, and how. The default is what Velero does with a volume: everything goes in,
/// the first failure ends the upload, nothing is compressed, and Velero's policy is saved for the source.
#[derive(Clone, Debug, Default)]
pub struct UploadRules {
    /// What the policies of the source say together ([`caravel_repository::Repository::effective_policy`]): ignore rules
    /// and dot files, cache folders, other file systems, sizes, compression, splitter. Entries that fail are then noted
    /// ([`UploadOutcome::failed`]), as Kopia does it, or ignored where the policy says so. No policy is saved.
    pub policy: Option<Arc<Policy>>,
    /// What compresses the data of files, or of the device, where there is no such policy. Velero's policy then names it.
    pub compressor: Option<Compressor>,
    /// Extended attributes, POSIX ACLs among them, are kept inside the directory entry; Kopia overlooks them there.
    pub extended_attributes: bool,
    /// Files that are one under several names are one again when they are restored by us.
    pub hard_links: bool,
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
    /// Entries that could not be read and are missing in the snapshot, sorted by path; only a policy allows that.
    pub failed: Vec<EntryError>,
    /// How many of these the policy says to ignore.
    pub ignored_errors: u64,
    /// Entries that the policy leaves out; a folder counts once.
    pub excluded: u64,
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
    /// What may be replaced, left or overlooked.
    pub rules: RestoreRules,
}

/// What a restore does with what is there already, and with what it cannot do. The default replaces everything that is in
/// the way and fails at the first entry that cannot be made as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreRules {
    /// Whether a file may be replaced; else one that is there is a failure.
    pub overwrite_files: bool,
    /// Whether a directory that holds something may be restored into, the target itself too.
    pub overwrite_directories: bool,
    /// Whether a symbolic link may be replaced.
    pub overwrite_symlinks: bool,
    /// Files and links that are there are left as they are, whatever they hold. Where a directory belongs, that is a failure.
    pub skip_existing: bool,
    /// Files that are there with size, times, mode and owner of the snapshot, and without holes, are taken for done: a restore
    /// that was killed goes on. Every file appears under its name only when it is whole, so half of one is never taken.
    pub resume: bool,
    /// Owners, modes, times and attributes that may not be set are left.
    pub ignore_permission_errors: bool,
    /// An entry that cannot be read from the repository or written is listed ([`RestoreOutcome::failed`]) and the others go
    /// on: what is left of a damaged snapshot.
    pub ignore_errors: bool,
    /// Owners are not set.
    pub skip_owners: bool,
    /// Modes are not set.
    pub skip_permissions: bool,
    /// Times are not set.
    pub skip_times: bool,
}

impl Default for RestoreRules {
    fn default() -> Self {
        Self {
            overwrite_files: true,
            overwrite_directories: true,
            overwrite_symlinks: true,
            skip_existing: false,
            resume: false,
            ignore_permission_errors: false,
            ignore_errors: false,
            skip_owners: false,
            skip_permissions: false,
            skip_times: false,
        }
    }
}

impl RestoreRules {
    /// Whether something of this kind, not a directory, may be replaced.
    pub(crate) fn may_replace(&self, kind: FileType) -> bool {
        let may = match kind {
            FileType::Symlink => self.overwrite_symlinks,
            _ => self.overwrite_files,
        };
        may || self.resume
    }

    /// Whether a directory that holds something may be filled.
    pub(crate) fn may_fill(&self) -> bool {
        self.overwrite_directories || self.resume
    }
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
    /// See [`RestoreRequest::synced`]. A single file or link always is.
    pub synced: bool,
    /// See [`RestoreRequest::rules`].
    pub rules: RestoreRules,
}

/// A finished restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// Bytes of the files that are in place, those too that were left as they were.
    pub total_bytes: u64,
    /// Entries that could not be restored, by path; only [`RestoreRules::ignore_errors`] allows that.
    pub failed: Vec<EntryError>,
}
