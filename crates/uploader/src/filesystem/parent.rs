//! Which earlier snapshot saves reading: the newest complete one of the same source and the same kind.

use caravel_repository::{Repository, SnapshotFilter, SnapshotManifest};

use crate::error::{Result, UploaderError};
use crate::request::UploadRequest;

/// What must be the same; other tags (an operation id) differ from run to run.
const TAGS_OF_A_KIND: [&str; 2] = ["snapshot-requester", "snapshot-uploader"];

/// The parent snapshot, if there is one (kopia-format.md 13.3).
pub(crate) fn find(repository: &Repository, request: &UploadRequest) -> Result<Option<SnapshotManifest>> {
    let mut tags = request.tags.clone();
    tags.retain(|key, _| TAGS_OF_A_KIND.contains(&key.as_str()));
    let filter = SnapshotFilter {
        source: Some(request.source.clone()),
        tags,
        include_incomplete: false,
    };
    let snapshots = repository
        .find_snapshots(&filter)
        .map_err(|error| UploaderError::repository("looking for the parent snapshot", error))?;
    Ok(snapshots
        .into_iter()
        .map(|snapshot| snapshot.manifest)
        .max_by_key(|manifest| manifest.start_time))
}
