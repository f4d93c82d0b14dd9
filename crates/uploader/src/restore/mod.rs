//! A snapshot → a mounted tree.
//!
//! Every file is new where it is written and appears under its name when it is whole; holes stay holes. Directories get the modification time that was recorded for
//! them (Kopia gives them the newest of what they hold, kopia-format.md 10.8). The file system is synced before this
//! returns (`RestoreRequest::synced`), so a node that dies afterwards loses nothing.

mod attributes;
pub(crate) mod device;
mod jobs;
mod made;
mod notes;
mod place;
mod room;
mod single;
mod straight;
mod tree;
mod unfinished;
pub(crate) mod write;

use caravel_repository::{DirectoryEntry, EntryType, Repository};
use rustix::fs::{Mode, OFlags};

use notes::Notes;
use place::Shared;
use unfinished::Unfinished;

use crate::descriptors;
use crate::error::{Result, UploaderError};
use crate::job;
use crate::progress::{CancelToken, Progress};
use crate::request::{EntryRestoreRequest, RestoreOutcome, RestoreRequest};

/// Without a wish for sparse files only runs that no ordinary file has become holes: 64 KiB, as `cp --sparse=auto`
/// would find them in a file that was sparse.
const HOLE_BYTES: usize = 64 * 1024;
/// With the wish, every block of a usual file system.
const SPARSE_HOLE_BYTES: usize = 4096;

pub(crate) fn restore(
    repository: &Repository,
    request: &RestoreRequest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<RestoreOutcome> {
    let root = load(repository, &request.snapshot_id)?;
    if root.kind != EntryType::Directory {
        return Err(UploaderError::Mismatch(format!(
            "snapshot {} is of a single file, not of a file system; restore it into a block volume",
            request.snapshot_id
        )));
    }
    let request = EntryRestoreRequest {
        path: request.path.clone(),
        sparse: request.sparse,
        parallel_files: request.parallel_files,
        synced: request.synced,
        rules: request.rules,
    };
    directory(repository, root, &request, progress, cancel)
}

/// Any entry of a snapshot: a directory into a folder that exists, a file or link under the name given.
pub(crate) fn restore_entry(
    repository: &Repository,
    entry: &DirectoryEntry,
    request: &EntryRestoreRequest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<RestoreOutcome> {
    if entry.kind == EntryType::Directory {
        return directory(repository, entry.clone(), request, progress, cancel);
    }
    let shared = Shared {
        sync_each: true,
        ..shared(repository, request, progress, cancel)
    };
    single::restore(entry, &request.path, &shared)?;
    Ok(RestoreOutcome {
        total_bytes: progress.bytes_done(),
        failed: Vec::new(),
    })
}

fn shared<'run>(
    repository: &'run Repository,
    request: &EntryRestoreRequest,
    progress: &'run Progress,
    cancel: &'run CancelToken,
) -> Shared<'run> {
    Shared {
        repository,
        progress,
        cancel,
        hole_bytes: if request.sparse {
            SPARSE_HOLE_BYTES
        } else {
            HOLE_BYTES
        },
        rules: request.rules,
        unfinished: Unfinished::new(repository.environment()),
        sync_each: false,
    }
}

fn directory(
    repository: &Repository,
    root: DirectoryEntry,
    request: &EntryRestoreRequest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<RestoreOutcome> {
    descriptors::allow_all();
    let target = rustix::fs::open(
        &request.path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| UploaderError::entry("", "open", error))?;
    tree::may_fill(&request.rules, &target, "")?;
    let stop = cancel.of_a_run();
    let shared = shared(repository, request, progress, &stop);
    let workers = job::workers(repository, request.parallel_files);
    room::check(&shared, &root, &target, workers.max(1))?;
    tree::open_to_owner(&request.rules, &target);
    let synced = target
        .try_clone()
        .map_err(|error| UploaderError::entry("", "open", error))?;
    let tree = tree::Tree {
        notes: Notes::new(request.rules.ignore_errors),
        shared,
    };
    let mut links = jobs::Links::default();
    job::run(
        workers,
        &stop,
        |queue| tree.walk(target, root, queue, &mut links),
        |batch| tree.write(batch),
    )?;
    tree.link_all(links)?;
    let failed = tree.notes.into_failed()?;
    if request.synced {
        rustix::fs::syncfs(&synced).map_err(|error| UploaderError::entry("", "sync", error))?;
    }
    Ok(RestoreOutcome {
        total_bytes: progress.bytes_done(),
        failed,
    })
}

/// The snapshot's root; the snapshot must be a complete one.
pub(crate) fn load(repository: &Repository, id: &str) -> Result<DirectoryEntry> {
    let failed = |error| UploaderError::repository(format!("loading snapshot {id}"), error);
    let id_of_manifest = id.parse().map_err(failed)?;
    let snapshot = repository
        .load_snapshot(&id_of_manifest)
        .map_err(failed)?
        .manifest;
    if !snapshot.incomplete.is_empty() {
        let reason = &snapshot.incomplete;
        return Err(UploaderError::Mismatch(format!(
            "snapshot {id} is incomplete ({reason}) and is not restored"
        )));
    }
    snapshot
        .root_entry
        .ok_or_else(|| UploaderError::Mismatch(format!("snapshot {id} has no root entry")))
}
