//! A snapshot's document (kopia-format.md 10.1).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::DirectoryEntry;
use crate::manifest::{Labels, ManifestId};

/// Labels that say which source a snapshot is of; tags may not use them.
pub const RESERVED_LABELS: [&str; 4] = ["type", "hostname", "username", "path"];

/// What was backed up: who says so, and the path under which it is known (not necessarily a path on disk).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotSource {
    #[serde(default)]
    pub host: String,
    #[serde(default)]
    pub user_name: String,
    #[serde(default)]
    pub path: String,
}

/// Counters of one upload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotStats {
    /// Bytes of all files, reused ones included.
    pub total_size: u64,
    pub excluded_total_size: u64,
    /// Files that were read.
    pub file_count: u64,
    /// Files reused from the parent without reading them.
    pub cached_files: u64,
    pub non_cached_files: u64,
    pub dir_count: u64,
    pub excluded_file_count: u64,
    pub excluded_dir_count: u64,
    pub ignored_error_count: u64,
    pub error_count: u64,
}

/// The document as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotManifest {
    /// Always empty in storage; the manifest's own id counts.
    #[serde(default)]
    pub id: String,
    pub source: SnapshotSource,
    #[serde(default)]
    pub description: String,
    pub start_time: Timestamp,
    pub end_time: Timestamp,
    #[serde(default)]
    pub stats: SnapshotStats,
    /// Why the snapshot is not whole (`canceled`, `checkpoint`); empty when it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub incomplete: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_entry: Option<DirectoryEntry>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// A pinned snapshot is never removed by retention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<String>,
}

impl SnapshotManifest {
    /// The labels that it is saved under.
    pub fn labels(&self) -> Labels {
        let mut labels = self.tags.clone();
        labels.extend(self.source.labels());
        labels
    }
}

impl SnapshotSource {
    /// The labels of every snapshot of this source.
    pub fn labels(&self) -> Labels {
        let pairs = [
            ("hostname", &self.host),
            ("username", &self.user_name),
            ("path", &self.path),
        ];
        let mut labels: Labels = pairs.map(|(key, value)| (key.to_owned(), value.clone())).into();
        labels.insert("type".into(), "snapshot".into());
        labels
    }
}

/// A snapshot and the id it is found under.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub id: ManifestId,
    pub manifest: SnapshotManifest,
}

/// Which snapshots to list.
#[derive(Clone, Debug, Default)]
pub struct SnapshotFilter {
    /// Only of this source.
    pub source: Option<SnapshotSource>,
    /// Only with all of these tags.
    pub tags: BTreeMap<String, String>,
    /// Also incomplete ones.
    pub include_incomplete: bool,
}

impl SnapshotFilter {
    pub(crate) fn labels(&self) -> Labels {
        let mut labels = self.tags.clone();
        labels.insert("type".into(), "snapshot".into());
        labels.extend(self.source.iter().flat_map(SnapshotSource::labels));
        labels
    }
}
