//! A snapshot as JSON, its members in Kopia's order: after `snapshot create` and in `snapshot list`.

use std::collections::BTreeMap;

use caravel_repository::{DirectoryEntry, Snapshot, SnapshotSource, SnapshotStats};
use jiff::Timestamp;
use serde::Serialize;

/// Whether the figures of the upload are shown.
#[derive(Clone, Copy, PartialEq)]
pub enum Stats {
    Shown,
    Left,
}

/// The document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document<'a> {
    id: &'a str,
    source: &'a SnapshotSource,
    description: &'a str,
    start_time: Timestamp,
    end_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<&'a SnapshotStats>,
    #[serde(skip_serializing_if = "str::is_empty")]
    incomplete: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_entry: Option<&'a DirectoryEntry>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pins: &'a [String],
}

impl<'a> Document<'a> {
    /// Of a snapshot.
    pub fn of(snapshot: &'a Snapshot, stats: Stats) -> Self {
        let manifest = &snapshot.manifest;
        Self {
            id: snapshot.id.as_str(),
            source: &manifest.source,
            description: &manifest.description,
            start_time: manifest.start_time,
            end_time: manifest.end_time,
            stats: (stats == Stats::Shown).then_some(&manifest.stats),
            incomplete: &manifest.incomplete,
            root_entry: manifest.root_entry.as_ref(),
            tags: &manifest.tags,
            pins: &manifest.pins,
        }
    }
}
