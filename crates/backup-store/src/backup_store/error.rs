//! Why a backup could not be written or read.

use std::{io, path::PathBuf};

use caravel_storage::{StorageError, StorageErrorKind};

/// A failed operation on a [`super::BackupStore`]. Messages hold no credential and no signed address.
#[derive(Debug, thiserror::Error)]
pub enum BackupStoreError {
    /// The store failed; its kind says what to do.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Something else is in the location.
    #[error("the location's prefix holds folders that are not Velero's: [{}]; use another prefix, or move them away", first_three(.0))]
    InvalidDirectories(Vec<String>),
    /// Another Backup of this name is in the bucket.
    #[error(
        "backup {name} in the bucket belongs to another Backup (UID {theirs}, not {ours}): another cluster uses \
         this location; choose another name or prefix"
    )]
    Conflict {
        name: String,
        ours: String,
        theirs: String,
    },
    /// The given Backup object cannot be saved.
    #[error("the Backup object of {name} cannot be saved: {cause}")]
    BadMetadata { name: String, cause: String },
    /// An object that cannot be understood.
    #[error("object {key} cannot be read: {cause}")]
    Unreadable { key: String, cause: String },
    /// A local file.
    #[error("file {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// A DownloadRequest for something this version does not know.
    #[error("there is nothing to download of kind {0:?}")]
    UnknownTarget(String),
    /// An upload failed, and so did removing what it had written.
    #[error("{failure}; and cleaning up failed too: {cleanup}")]
    Leftovers {
        failure: Box<BackupStoreError>,
        cleanup: Box<BackupStoreError>,
    },
}

impl BackupStoreError {
    /// Whether the store said that the object is missing.
    pub fn is_not_found(&self) -> bool {
        self.storage_kind() == Some(StorageErrorKind::NotFound)
    }

    /// Whether the same call may succeed later by itself.
    pub fn is_transient(&self) -> bool {
        self.storage_kind() == Some(StorageErrorKind::Unavailable)
    }

    /// The store's kind, where it was the store.
    pub fn storage_kind(&self) -> Option<StorageErrorKind> {
        match self {
            Self::Storage(error) => Some(error.kind()),
            Self::Leftovers { failure, .. } => failure.storage_kind(),
            _ => None,
        }
    }
}

fn first_three(names: &[String]) -> String {
    let more = if names.len() > 3 { ", ..." } else { "" };
    format!("{}{more}", names[..names.len().min(3)].join(", "))
}
