//! The last step of an upload: policy and snapshot are saved, committed, and read back from storage.

use caravel_repository::{DirectoryEntry, Repository, SnapshotManifest, SnapshotStats, Writer};
use jiff::Timestamp;

use super::{one_a_core, policy};
use crate::checkpoint;
use crate::error::{Result, UploaderError};
use crate::request::UploadRequest;

/// What is known when the content is in the repository.
pub(crate) struct Recording {
    pub start_time: Timestamp,
    pub root_entry: DirectoryEntry,
    pub stats: SnapshotStats,
}

/// Commits the snapshot and returns its id.
///
/// Guarantee 3: the manifest that the caller may call Completed is one that storage has given back.
pub(crate) fn record(
    repository: &Repository,
    writer: &Writer,
    request: &UploadRequest,
    recording: Recording,
) -> Result<String> {
    let failed = |error| UploaderError::repository("saving the snapshot", error);
    if request.rules.policy.is_none() {
        let parallel = request.parallel_files.unwrap_or_else(one_a_core);
        let payload = policy::payload(parallel, request.rules.compressor);
        writer
            .replace_manifest(policy::labels(request), &payload)
            .map_err(failed)?;
    }
    // What was saved on the way, by this run or by one that was killed before it, has done its service.
    for (id, checkpoint) in checkpoint::find(repository, request).map_err(failed)? {
        if checkpoint.start_time <= recording.start_time {
            writer.delete_manifest(&id);
        }
    }
    let manifest = SnapshotManifest {
        id: String::new(),
        source: request.source.clone(),
        description: request.description.clone(),
        start_time: recording.start_time,
        end_time: repository.environment().clock.now(),
        stats: recording.stats,
        incomplete: String::new(),
        root_entry: Some(recording.root_entry),
        tags: request.tags.clone(),
        pins: request.pins.clone(),
    };
    let id = writer.put_snapshot(&manifest).map_err(failed)?;
    writer.commit().map_err(failed)?;
    let stored = repository.read_back_snapshot(&id).map_err(|error| {
        UploaderError::repository(format!("reading snapshot {id} back from storage"), error)
    })?;
    if stored.manifest != manifest {
        return Err(UploaderError::Mismatch(format!(
            "snapshot {id} came back from storage other than it was written; it must not be relied on"
        )));
    }
    Ok(id.to_string())
}
