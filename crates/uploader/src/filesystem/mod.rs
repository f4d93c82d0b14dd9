//! A mounted tree → a snapshot.
//!
//! What Kopia's default policy leaves out in silence (names in `.kopiaignore`, folders with a `CACHEDIR.TAG`) is kept
//! of a volume: a backup holds what the volume holds (docs/differences.md). `velero kopia snapshot create` asks for the
//! rules of a policy instead (`rules.rs`, `ignore.rs`).

mod ahead;
mod attributes;
pub(crate) mod entry;
mod estimate;
mod ignore;
mod list;
mod look;
mod open_directory;
mod parent;
mod policy;
pub(crate) mod read;
mod record;
mod rules;
mod totals;
mod walk;

use std::sync::atomic::AtomicUsize;

use caravel_repository::Repository;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};

use crate::checkpoint::Checkpoints;
use crate::descriptors;
use crate::error::{Result, UploaderError};
use crate::job;
use crate::progress::{CancelToken, Progress};
use crate::request::{UploadOutcome, UploadRequest};
use rules::Rules;
use totals::Totals;
use walk::Walk;

#[cfg(test)]
pub(crate) use entry::opened;
pub use estimate::Estimated;
pub(crate) use estimate::estimate;
pub(crate) use record::{Recording, record};

pub(crate) fn upload(
    repository: &Repository,
    request: &UploadRequest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<UploadOutcome> {
    let start_time = repository.environment().clock.now();
    descriptors::allow_all();
    let rules = Rules::new(&request.rules)?;
    let root = rustix::fs::open(
        &request.path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| UploaderError::entry("", "open", error))?;
    let before = parent::find(repository, request)?;
    let writer = repository
        .write()
        .map_err(|error| UploaderError::repository("beginning to write to the repository", error))?
        .with_directory_compressor(rules.metadata_compressor);
    let stop = cancel.of_a_run();
    let walk = Walk {
        repository,
        writer: &writer,
        rules: &rules,
        progress,
        cancel: &stop,
        totals: Totals::default(),
        left_out: Mutex::default(),
        failed: Mutex::default(),
        root: Mutex::default(),
        checkpoints: Checkpoints::new(repository, &writer, request, start_time),
        top: Mutex::default(),
        to_close: AtomicUsize::new(0),
        looks: AtomicUsize::new(0),
        unfinished: Mutex::default(),
    };
    let workers = job::workers(repository, request.parallel_files);
    let walked = job::run(
        workers,
        &stop,
        |queue| walk.walk(root, &request.root_name, before, queue),
        |job| walk.work(job),
    );
    let Walk {
        totals,
        left_out,
        failed,
        root,
        ..
    } = walk;
    if let Err(error) = walked {
        // What was sent is committed without a snapshot, so that the next attempt need not send it again; when even
        // that fails, the first error is still the one that matters.
        let _ = writer.commit();
        return Err(error);
    }
    let unfinished =
        || UploaderError::Mismatch("the tree was walked and its root was never finished".to_owned());
    let root_entry = root.into_inner().ok_or_else(unfinished)?;
    let recording = Recording {
        start_time,
        root_entry,
        stats: totals.stats(),
    };
    let snapshot_id = record(repository, &writer, request, recording)?;
    let mut left_out = left_out.into_inner();
    left_out.sort_by(|a, b| a.path.cmp(&b.path));
    let mut failed = failed.into_inner();
    failed.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(UploadOutcome {
        snapshot_id,
        total_bytes: totals.total_bytes(),
        incremental_bytes: totals.new_bytes(),
        empty: totals.is_empty(),
        left_out,
        failed,
        ignored_errors: totals.ignored_errors(),
        excluded: totals.excluded(),
    })
}

/// One worker a core: hashing is what takes the time.
pub(crate) fn one_a_core() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
