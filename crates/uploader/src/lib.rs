//! Knows a volume and a repository, not where either came from.
//!
//! [`upload`] saves a directory tree or a block device as a snapshot; [`restore`] writes one back. Both are
//! synchronous: call them from `spawn_blocking` or a thread of your own, never on a runtime's worker.
//!
//! - `upload/`: `walk.rs` (names and metadata), `tree.rs` (directories that wait for their children), `file.rs`
//!   (data and holes), `block.rs` (a device), `parent.rs` (what is reused), `record.rs` (manifest and policy)
//! - `restore/`: `walk.rs`, `file.rs`, `attributes.rs`, `block.rs`
//! - `progress.rs`: counters and cancelling, read and set by the caller at any time

mod fs;
mod progress;
mod restore;
mod upload;

pub use progress::{CancelToken, Progress};
pub use restore::{RestoreError, RestoreOutcome, RestoreRequest, restore};
pub use upload::{LeftOut, UploadError, UploadOutcome, UploadRequest, upload};

/// How the volume is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VolumeMode {
    /// A directory where the volume is mounted.
    Filesystem,
    /// A block device.
    Block,
}
