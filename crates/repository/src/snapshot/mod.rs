//! Snapshots: what was backed up, when, and the tree of directories it is kept in (kopia-format.md 10).
//! Neighbours: `manifest.rs` (the snapshot's document), `directory.rs` (a directory object), `mode.rs`
//! (Go's file modes), `go_json.rs` (Go's JSON escaping).

pub mod directory;
pub mod go_json;
pub mod manifest;
pub mod mode;

pub use directory::{
    DEEPEST, Directory, DirectoryEntry, DirectorySummary, EntryError, EntryType, LONGEST_PATH,
};
pub use manifest::{Snapshot, SnapshotFilter, SnapshotManifest, SnapshotSource, SnapshotStats};
pub use mode::FileMode;
