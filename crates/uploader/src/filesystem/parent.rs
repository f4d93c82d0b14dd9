//! Which earlier snapshots save reading: the newest complete one of the same source and the same kind, and what an
//! upload that was killed since then has saved as a checkpoint.

use std::collections::BTreeMap;

use caravel_repository::{DirectoryEntry, ObjectId, Repository, SnapshotFilter, SnapshotManifest};

use super::entry::Described;
use crate::checkpoint;
use crate::error::{Result, UploaderError};
use crate::request::UploadRequest;

/// What must be the same; other tags (an operation id) differ from run to run.
const TAGS_OF_A_KIND: [&str; 2] = ["snapshot-requester", "snapshot-uploader"];
/// Checkpoints that are looked at, the newest first: each is one more directory to read beside every directory.
const CHECKPOINTS: usize = 2;

/// A directory, or an entry, as earlier snapshots have it.
#[derive(Clone, Debug)]
pub(crate) struct Before<T> {
    /// In the parent snapshot.
    pub parent: Option<T>,
    /// In checkpoints, newest first.
    pub checkpoints: Vec<T>,
}

impl<T> Default for Before<T> {
    fn default() -> Self {
        Self {
            parent: None,
            checkpoints: Vec::new(),
        }
    }
}

/// The root directories of the earlier snapshots (kopia-format.md 13.3). Checkpoints have no tags; what they are of is
/// in their source, which names the kind too.
pub(crate) fn find(repository: &Repository, request: &UploadRequest) -> Result<Before<ObjectId>> {
    let failed = |error| UploaderError::repository("looking for the parent snapshot", error);
    let mut tags = request.tags.clone();
    tags.retain(|key, _| TAGS_OF_A_KIND.contains(&key.as_str()));
    let filter = SnapshotFilter {
        source: Some(request.source.clone()),
        tags,
        include_incomplete: false,
    };
    let complete = repository.find_snapshots(&filter).map_err(failed)?;
    let parent = complete
        .into_iter()
        .map(|snapshot| snapshot.manifest)
        .max_by_key(|manifest| manifest.start_time);
    let since = parent.as_ref().map(|parent| parent.start_time);
    let checkpoints = checkpoint::find(repository, request).map_err(failed)?;
    Ok(Before {
        parent: parent.and_then(root),
        checkpoints: checkpoints
            .into_iter()
            .rev()
            .map(|(_, manifest)| manifest)
            .filter(|manifest| Some(manifest.start_time) > since)
            .take(CHECKPOINTS)
            .filter_map(root)
            .collect(),
    })
}

fn root(manifest: SnapshotManifest) -> Option<ObjectId> {
    manifest.root_entry.map(|root| root.object)
}

impl Before<ObjectId> {
    /// The entries of this directory, by name.
    pub fn entries(
        &self,
        repository: &Repository,
        path: &str,
    ) -> Result<BTreeMap<Vec<u8>, Before<DirectoryEntry>>> {
        let mut entries: BTreeMap<Vec<u8>, Before<DirectoryEntry>> = BTreeMap::new();
        if let Some(parent) = self.parent {
            let directory = repository.read_directory(parent).map_err(|error| {
                UploaderError::repository(
                    format!("reading directory `{path}` of the parent snapshot"),
                    error,
                )
            })?;
            for entry in directory.entries {
                let name = entry.file_name();
                entries.entry(name).or_default().parent = Some(entry);
            }
        }
        for checkpoint in self.checkpoints.iter().filter(|it| Some(**it) != self.parent) {
            // A checkpoint only saves work: one that cannot be read any more is as good as none.
            let Ok(directory) = repository.read_directory(*checkpoint) else {
                continue;
            };
            for entry in directory.entries {
                let name = entry.file_name();
                entries.entry(name).or_default().checkpoints.push(entry);
            }
        }
        Ok(entries)
    }
}

impl Before<DirectoryEntry> {
    /// The directory of this name, where it was one.
    pub fn directory(&self) -> Before<ObjectId> {
        let object = |entry: &DirectoryEntry| {
            (entry.kind == caravel_repository::EntryType::Directory).then_some(entry.object)
        };
        Before {
            parent: self.parent.as_ref().and_then(object),
            checkpoints: self.checkpoints.iter().filter_map(object).collect(),
        }
    }

    /// How many names the parent snapshot has in this directory and below.
    pub fn names(&self) -> Option<u64> {
        let summary = self.parent.as_ref()?.summary.as_ref()?;
        // A directory counts itself.
        Some((summary.files + summary.symlinks + summary.dirs).saturating_sub(1))
    }

    /// The objects of a file that has not changed since, and whether the parent snapshot has it so.
    pub fn unchanged<'a>(&'a self, now: &'a Described) -> impl Iterator<Item = (ObjectId, bool)> + 'a {
        let parent = self.parent.iter().map(|entry| (entry, true));
        let checkpoints = self.checkpoints.iter().map(|entry| (entry, false));
        parent
            .chain(checkpoints)
            .filter(|(entry, _)| now.is_unchanged_since(entry))
            .map(|(entry, of_parent)| (entry.object, of_parent))
    }
}
