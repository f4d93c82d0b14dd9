//! Why a volume could not be read or written. The path is always below the volume's root, never the pod's own.

use std::io;

use caravel_repository::RepositoryError;

/// A failed upload or restore.
#[derive(Debug, thiserror::Error)]
pub enum UploaderError {
    /// Someone asked to stop. Nothing is listed as a snapshot; data already sent is found again by the next upload.
    #[error("canceled")]
    Canceled,
    /// One entry could not be read, so there is no snapshot (guarantee 2).
    #[error("cannot {operation} `{path}`: {source}")]
    Entry {
        /// Path below the volume's root; `.` is the root.
        path: String,
        /// What was tried: `open`, `read`, `list`, `create` …
        operation: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// An entry that must not be put where it says.
    #[error("the snapshot's entry `{path}` {why}; nothing outside the volume was touched")]
    Unsafe {
        /// Path below the volume's root.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The volume is too small for the snapshot; nothing was written.
    #[error("the restore needs {needed} bytes and the volume has room for {available}; nothing was written")]
    TooSmall {
        /// Bytes needed beside what is there already.
        needed: u64,
        /// Bytes there are.
        available: u64,
    },
    /// The snapshot is not of the kind that this volume holds.
    #[error("{0}")]
    Mismatch(String),
    /// The repository failed; its message says how.
    #[error("{doing}: {source}")]
    Repository {
        /// What was being done.
        doing: String,
        /// The repository's error.
        #[source]
        source: RepositoryError,
    },
}

/// An upload's error.
pub type UploadError = UploaderError;
/// A restore's error.
pub type RestoreError = UploaderError;

impl UploaderError {
    pub(crate) fn entry(path: &str, operation: &'static str, source: impl Into<io::Error>) -> Self {
        let path = if path.is_empty() { "." } else { path };
        Self::Entry {
            path: path.to_owned(),
            operation,
            source: source.into(),
        }
    }

    pub(crate) fn repository(doing: impl Into<String>, source: RepositoryError) -> Self {
        Self::Repository {
            doing: doing.into(),
            source,
        }
    }
}

pub(crate) type Result<T, E = UploaderError> = std::result::Result<T, E>;
