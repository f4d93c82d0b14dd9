//! Which earlier snapshot saves reading: the newest complete one of the same source and the same kind.

use caravel_repository::Repository;
use caravel_repository::snapshot::SnapshotManifest;

use crate::error::{Result, UploaderError};
use crate::request::UploadRequest;

/// The parent snapshot, if there is one (kopia-format.md 13.3).
pub(crate) fn find(repository: &Repository, request: &UploadRequest) -> Result<Option<SnapshotManifest>> {
    let snapshots = repository
        .snapshots(&request.source)
        .map_err(|error| UploaderError::repository("looking for the parent snapshot", error))?;
    Ok(newest(snapshots.into_iter().map(|(_, snapshot)| snapshot).collect(), request))
}

fn newest(snapshots: Vec<SnapshotManifest>, request: &UploadRequest) -> Option<SnapshotManifest> {
    let same_kind = |snapshot: &SnapshotManifest| {
        request
            .tags
            .iter()
            .filter(|(key, _)| !request.tags_of_this_run.contains(key))
            .all(|(key, value)| snapshot.tags.get(key) == Some(value))
    };
    snapshots
        .into_iter()
        .filter(|snapshot| snapshot.incomplete.is_none() && same_kind(snapshot))
        .max_by_key(|snapshot| snapshot.start_time)
}
