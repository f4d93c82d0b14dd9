//! The backup's contents: one gzip'd tar of JSON objects, format 1.1.0 (velero-behaviour.md 2.2; upstream
//! `pkg/archive` and the writer in `pkg/backup/backup.go`).
//!
//! ```text
//! metadata/version                                                              1.1.0
//! resources/deployments.apps/namespaces/shop/web.json                           the preferred version, plain
//! resources/deployments.apps/v1-preferredversion/namespaces/shop/web.json       the same again
//! resources/persistentvolumes/cluster/pv-1.json                                 cluster-scoped
//! ```
//!
//! All of it is synchronous: call it from a blocking thread. Neighbours: `write.rs`, `read.rs`, `path.rs`.

mod path;
mod read;
mod write;

#[cfg(test)]
mod tests;

use std::{io, path::PathBuf};

pub use path::ItemPath;
pub use read::{Entry, Reader, unpack};
pub use write::{Writer, replace};

/// What `metadata/version` says.
pub const FORMAT_VERSION: &str = "1.1.0";

/// Why a tarball cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TarballError {
    #[error("tarball {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("tarball {}: entry {entry:?} is refused: {problem}", path.display())]
    UnsafeEntry {
        path: PathBuf,
        entry: String,
        problem: &'static str,
    },
    #[error("{entry:?} cannot be the path of an item: a part is empty, '.', '..' or holds a '/'")]
    BadItemPath { entry: String },
    #[error("tarball {}: entry {entry} is not valid JSON: {source}", path.display())]
    NotJson {
        path: PathBuf,
        entry: String,
        source: serde_json::Error,
    },
}
