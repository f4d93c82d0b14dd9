//! Checkpoints of a long upload: every 45 minutes the snapshot so far is saved as an incomplete one.
//!
//! Two ends (kopia-format.md 10.7, 11.5 b): whoever cleans the repository meanwhile sees that the new contents are in
//! use, and an upload that is killed leaves the next one a tree to go by (`filesystem/parent.rs`). Nobody restores it:
//! it is listed only on request, and goes when the upload completes.
//!
//! ```text
//! worker ── writing() ── write ── writing() ── write ──┐ due: whoever notices waits for the others,
//! worker ── writing() ── write ────────────────────────┤ saves the tree so far, commits, lets them go on
//! walker ── writing() ── unchanged file ───────────────┘
//! ```

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use caravel_repository::{
    DirectoryEntry, ManifestId, Repository, SnapshotFilter, SnapshotManifest, SnapshotStats, Writer,
};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use crate::error::{Result, UploaderError};
use crate::job::WALKER_STACK_BYTES;
use crate::request::UploadRequest;

/// How often. Kopia's own figure, and the longest that it allows: its maintenance counts on it.
pub const DEFAULT_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(45 * 60);

/// So many contents may wait for a commit: memory does not grow with the number of files.
const MOST_PENDING: usize = 100_000;

/// What an incomplete manifest and its directories say is the reason.
pub(crate) const REASON: &str = "checkpoint";

/// When one upload saves its checkpoints, and how.
pub(crate) struct Checkpoints<'run> {
    repository: &'run Repository,
    writer: &'run Writer,
    request: &'run UploadRequest,
    start_time: Timestamp,
    /// Shared by all who write; alone for the one who saves, since a commit must not meet a write.
    gate: RwLock<()>,
    /// Seconds since 1970.
    due: AtomicI64,
    /// The one saved last: the next takes its place.
    saved: Mutex<Option<ManifestId>>,
}

impl<'run> Checkpoints<'run> {
    pub fn new(
        repository: &'run Repository,
        writer: &'run Writer,
        request: &'run UploadRequest,
        start_time: Timestamp,
    ) -> Self {
        let checkpoints = Self {
            repository,
            writer,
            request,
            start_time,
            gate: RwLock::new(()),
            due: AtomicI64::new(i64::MAX),
            saved: Mutex::default(),
        };
        checkpoints.wait_another_interval();
        checkpoints
    }

    /// To be held around everything that is written, and around nothing that waits for another thread of the upload.
    pub fn writing(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read()
    }

    /// Saves a checkpoint if one is due. `tree` gives the root as far as it is known; it is called while nobody writes,
    /// on a stack deep enough for a walk. Not to be called while [`writing`](Self::writing) is held.
    pub fn save_if_due(
        &self,
        tree: impl FnOnce() -> Result<Option<(DirectoryEntry, SnapshotStats)>> + Send,
    ) -> Result<()> {
        if !self.is_due() {
            return self.commit_if_many();
        }
        let _alone = self.gate.write();
        if !self.is_due() {
            return Ok(());
        }
        let tree = if self.repository.environment().is_inline() {
            tree()
        } else {
            on_a_deep_stack(tree)
        };
        if let Some((root_entry, stats)) = tree? {
            self.save(root_entry, stats)
                .map_err(|error| UploaderError::repository("saving a checkpoint", error))?;
        }
        self.wait_another_interval();
        Ok(())
    }

    /// Commits what was written so far, without a checkpoint, when there is much of it.
    fn commit_if_many(&self) -> Result<()> {
        if self.writer.pending_contents() < MOST_PENDING {
            return Ok(());
        }
        let _alone = self.gate.write();
        if self.writer.pending_contents() < MOST_PENDING {
            return Ok(());
        }
        self.writer
            .commit_contents()
            .map_err(|error| UploaderError::repository("committing what was stored so far", error))
    }

    fn is_due(&self) -> bool {
        self.now().as_second() >= self.due.load(Ordering::Relaxed)
    }

    fn wait_another_interval(&self) {
        let interval = i64::try_from(self.request.checkpoint_interval.as_secs()).unwrap_or(i64::MAX);
        let due = self.now().as_second().saturating_add(interval);
        self.due.store(due, Ordering::Relaxed);
    }

    fn now(&self) -> Timestamp {
        self.repository.environment().clock.now()
    }

    /// Without tags, description and pins, as Velero saves them (kopia-format.md 13.4).
    fn save(
        &self,
        root_entry: DirectoryEntry,
        stats: SnapshotStats,
    ) -> Result<(), caravel_repository::RepositoryError> {
        let manifest = SnapshotManifest {
            id: String::new(),
            source: self.request.source.clone(),
            description: String::new(),
            start_time: self.start_time,
            end_time: self.now(),
            stats,
            incomplete: REASON.to_owned(),
            root_entry: Some(root_entry),
            tags: Default::default(),
            pins: Vec::new(),
        };
        let mut saved = self.saved.lock();
        if let Some(former) = saved.take() {
            self.writer.delete_manifest(&former);
        }
        *saved = Some(self.writer.put_snapshot(&manifest)?);
        self.writer.commit()
    }
}

/// Checkpoints of a source, oldest first.
pub(crate) fn find(
    repository: &Repository,
    request: &UploadRequest,
) -> Result<Vec<(ManifestId, SnapshotManifest)>, caravel_repository::RepositoryError> {
    let filter = SnapshotFilter {
        source: Some(request.source.clone()),
        tags: Default::default(),
        include_incomplete: true,
    };
    let found = repository.find_snapshots(&filter)?.into_iter();
    Ok(found
        .filter(|snapshot| snapshot.manifest.incomplete == REASON)
        .map(|snapshot| (snapshot.id, snapshot.manifest))
        .collect())
}

/// The name of a file that is still being read (kopia-format.md 10.7): no file of the volume is called that.
pub(crate) fn name_of_unfinished(name: &[u8], repository: &Repository) -> Vec<u8> {
    let mut random = [0; 16];
    repository.environment().randomness.fill(&mut random);
    let id = u128::from_be_bytes(random);
    [b".checkpointed.", name, format!(".{id:032x}").as_bytes()].concat()
}

/// Trees are gone through by recursion; a worker's stack is not made for that.
fn on_a_deep_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let no_thread = |error| UploaderError::entry("", "start a thread for", error);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(WALKER_STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(no_thread)?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests;
