//! What maintenance does or would do, step by step: one value that a dry run prints, a run returns and tests compare.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    due::Kind, logs::CleanupLogs, object_locks::ExtendLocks, pack_gc::PackGc, rewrite::Rewrite,
    schedule::Task, snapshot_gc::SnapshotGc,
};

/// The steps of one maintenance, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub kind: Kind,
    /// When it began, by the storage's clock (a dry run: by the local one).
    pub start: Timestamp,
    pub steps: Vec<Step>,
}

/// One step. Figures are of what is found; in a dry run nothing of it was done, and later steps do not know of earlier
/// ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "step")]
pub enum Step {
    /// All manifests are written into one content.
    CompactManifests { contents: u64 },
    /// Contents without a snapshot are marked as deleted.
    CollectSnapshots(SnapshotGc),
    /// Contents of short packs are moved.
    RewriteContents(Rewrite),
    /// Tombstones up to this time no longer count.
    DropDeletedContents { before: Timestamp },
    /// Packs that nothing refers to are deleted.
    DeletePacks(PackGc),
    /// Index blobs of one epoch (`first` = `last`) or of several are merged.
    CompactEpochs {
        first: u64,
        last: u64,
        blobs: u64,
        bytes: u64,
    },
    /// A new epoch begins.
    AdvanceEpoch { to: u64 },
    /// Markers of past epochs and watermarks are deleted.
    DeleteMarkers { epochs: u64, watermarks: u64 },
    /// Index blobs that were merged are deleted.
    DeleteSupersededIndexes { blobs: u64, bytes: u64 },
    /// Blobs under retention are locked for the whole period again.
    ExtendLocks(ExtendLocks),
    /// Old logs are deleted.
    DeleteLogs(CleanupLogs),
    /// A step that is not taken this time.
    Skip { task: Task, why: String },
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Quick => "Quick",
            Kind::Full => "Full",
        };
        writeln!(f, "{kind} maintenance at {:.0}:", self.start)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::CompactManifests { contents } => {
                write!(f, "write the manifests of {contents} contents into one")
            }
            Step::CollectSnapshots(gc) => write!(
                f,
                "mark {} contents ({} bytes) as deleted, revive {}; {} in use, {} marked before, {} too recent",
                gc.deleted_content_count,
                gc.deleted_content_size,
                gc.recovered_content_count,
                gc.in_use_content_count,
                gc.unreferenced_content_count - gc.deleted_content_count,
                gc.unreferenced_recent_content_count,
            ),
            Step::RewriteContents(moved) => write!(
                f,
                "move {} contents ({} bytes) out of short packs; {} are too recent",
                moved.to_rewrite_content_count, moved.to_rewrite_content_size, moved.retained_content_count
            ),
            Step::DropDeletedContents { before } => {
                write!(f, "drop contents that were marked as deleted before {before:.0}")
            }
            Step::DeletePacks(packs) => write!(
                f,
                "delete {} packs and markers ({} bytes) that nothing refers to; {} are too recent or in use",
                packs.unreferenced_pack_count, packs.unreferenced_total_size, packs.retained_pack_count
            ),
            Step::CompactEpochs {
                first, last, blobs, ..
            } if first == last => {
                write!(f, "merge {blobs} index blobs of epoch {first}")
            }
            Step::CompactEpochs {
                first, last, blobs, ..
            } => {
                write!(f, "merge {blobs} index blobs of epochs {first} to {last}")
            }
            Step::AdvanceEpoch { to } => write!(f, "begin epoch {to}"),
            Step::DeleteMarkers { epochs, watermarks } => {
                write!(f, "delete {epochs} old epoch markers and {watermarks} watermarks")
            }
            Step::DeleteSupersededIndexes { blobs, bytes } => {
                write!(f, "delete {blobs} merged index blobs ({bytes} bytes)")
            }
            Step::ExtendLocks(locks) => write!(
                f,
                "lock {} blobs for {} from now on",
                locks.to_extend_blob_count, locks.retention_period
            ),
            Step::DeleteLogs(logs) => write!(
                f,
                "delete {} logs ({} bytes), keep {}",
                logs.to_delete_blob_count, logs.to_delete_blob_size, logs.retained_blob_count
            ),
            Step::Skip { task, why } => write!(f, "no {}: {why}", task.name()),
        }
    }
}
