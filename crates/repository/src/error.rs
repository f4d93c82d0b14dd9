//! Why the repository could not do what it was asked. A variant exists where a caller does something else.

use std::sync::Arc;

use caravel_storage::{StorageError, StorageErrorKind};

/// What a caller can do about a [`RepositoryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepositoryErrorKind {
    /// The password does not open this repository. The user must supply the right one.
    WrongPassword,
    /// The storage said that there is no repository here.
    NotInitialized,
    /// A repository, or part of one, is here already, so none was created.
    AlreadyInitialized,
    /// The repository uses something that this version does not implement; the message names it.
    Unsupported,
    /// A newer version made the repository. Use a newer version of this program.
    NewerVersion,
    /// The repository needs a feature that this version lacks; the message names it. Use a newer version.
    MissingFeature,
    /// An upgrade of the repository is in progress. Try again when it is finished.
    Locked,
    /// Other things than a repository are here. Give the right place, or an empty one to create in.
    ForeignFiles,
    /// The snapshot, manifest or content asked for does not exist.
    NotFound,
    /// Stored bytes are missing, altered or contradict each other; the message names blob and content.
    Damaged,
    /// The storage did not answer, or refused. See [`RepositoryError::storage`] for whether to retry.
    Storage,
    /// The storage is full. Make room; nothing was committed.
    NoSpace,
    /// The storage takes no writes. Make it writable, or only read.
    ReadOnly,
    /// The local clock and the storage's differ too much to decide what is old. Set the clock; nothing was written.
    ClockSkew,
    /// It took so long that others may have moved on; nothing was committed or maintained. Start again.
    TooSlow,
    /// A name or value that the format cannot hold.
    Invalid,
    /// Maintenance belongs to another client.
    NotOwner,
}

/// A failed operation on a repository. The message names the object, the operation and the cause and never
/// holds a password, key or credential (guarantee 8).
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct RepositoryError {
    kind: RepositoryErrorKind,
    message: String,
    #[source]
    source: Option<Arc<StorageError>>,
}

impl RepositoryError {
    pub(crate) fn new(kind: RepositoryErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn unsupported(what: impl std::fmt::Display) -> Self {
        Self::new(
            RepositoryErrorKind::Unsupported,
            format!("the repository uses {what}, which this version cannot read or write; use kopia for it"),
        )
    }

    pub(crate) fn damaged(message: impl Into<String>) -> Self {
        Self::new(RepositoryErrorKind::Damaged, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(RepositoryErrorKind::NotFound, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(RepositoryErrorKind::Invalid, message)
    }

    /// The storage failed while `doing` something; its own text follows.
    pub(crate) fn storage_while(doing: &str, source: StorageError) -> Self {
        let (kind, advice) = match source.kind() {
            StorageErrorKind::NoSpace => (
                RepositoryErrorKind::NoSpace,
                "; nothing was committed: make room and start again",
            ),
            StorageErrorKind::ReadOnly => (
                RepositoryErrorKind::ReadOnly,
                "; nothing was committed: make the storage writable, or only read from it",
            ),
            // A blob that is shorter than it was.
            StorageErrorKind::Damaged => (RepositoryErrorKind::Damaged, ""),
            _ => (RepositoryErrorKind::Storage, ""),
        };
        Self {
            kind,
            message: format!("{doing}: {source}{advice}"),
            source: Some(Arc::new(source)),
        }
    }

    /// The same error, saying first what was being done.
    pub(crate) fn while_doing(mut self, doing: impl std::fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// What the caller can do.
    pub fn kind(&self) -> RepositoryErrorKind {
        self.kind
    }

    /// The storage's own error, where it was the cause.
    pub fn storage(&self) -> Option<&StorageError> {
        self.source.as_deref()
    }

    /// Whether the same call may succeed later without anyone changing a setting.
    pub fn is_transient(&self) -> bool {
        self.kind == RepositoryErrorKind::TooSlow || self.storage().is_some_and(StorageError::is_transient)
    }

    /// Whether a blob that the repository refers to is not in the storage.
    pub fn is_missing_blob(&self) -> bool {
        self.storage()
            .is_some_and(|e| e.kind() == StorageErrorKind::NotFound)
    }
}

pub(crate) type Result<T, E = RepositoryError> = std::result::Result<T, E>;
