//! Why a store did not do what it was asked: one error, and a kind that says what the caller can do.

use std::{error::Error as StdError, fmt, time::Duration};

use crate::BlobId;

/// What was asked of the store; part of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`crate::Storage::put`]
    Put,
    /// [`crate::Storage::put_if_absent`]
    PutIfAbsent,
    /// [`crate::Storage::get`]
    Get,
    /// [`crate::Storage::get_range`]
    GetRange,
    /// [`crate::Storage::metadata`]
    Metadata,
    /// [`crate::Storage::list`]
    List,
    /// [`crate::Storage::delete`]
    Delete,
    /// [`crate::Storage::extend_lock`]
    ExtendLock,
    /// Making the client, before anything was sent.
    Open,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Put => "writing",
            Operation::PutIfAbsent => "creating",
            Operation::Get | Operation::GetRange => "reading",
            Operation::Metadata => "looking up",
            Operation::List => "listing",
            Operation::Delete => "deleting",
            Operation::ExtendLock => "extending the lock of",
            Operation::Open => "opening",
        })
    }
}

/// What the caller can do about a [`StorageError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageErrorKind {
    /// The store itself said that the blob does not exist.
    NotFound,
    /// A blob of that name exists already.
    AlreadyExists,
    /// The store refused: wrong key, missing permission. The user must fix it.
    Denied,
    /// No answer, or a server error, also after retries. Try again later.
    Unavailable,
    /// The store cannot do this at all (for instance a put with a condition).
    Unsupported,
    /// The settings are wrong: missing bucket, unknown certificate, bad address. The user must fix it.
    Misconfigured,
    /// The store answered with something that cannot be right: a short read, an unreadable listing.
    Damaged,
    /// The store is full, or its quota is used up. Somebody must make room.
    NoSpace,
    /// The store takes no writes at all: a read-only file system or share.
    ReadOnly,
}

/// A failed operation on a store. The message names the blob or listing, the operation and the cause, and
/// never holds a credential or a signed address (guarantee 8).
pub struct StorageError {
    kind: StorageErrorKind,
    operation: Operation,
    subject: String,
    cause: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    retry_after: Option<Duration>,
}

impl StorageError {
    /// An error of `kind` while doing `operation` on `subject` (a blob's name, or what a listing was of).
    pub fn new(
        kind: StorageErrorKind,
        operation: Operation,
        subject: impl Into<String>,
        cause: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            operation,
            subject: subject.into(),
            cause: cause.into(),
            source: None,
            retry_after: None,
        }
    }

    /// Keeps what it came from. Only for sources whose own text holds no address or credential.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The store's wish for how long to wait, where it said one.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// A blob that the store says it does not have.
    pub fn not_found(operation: Operation, id: &BlobId) -> Self {
        let cause = "the store has no such blob";
        Self::new(StorageErrorKind::NotFound, operation, id.as_str(), cause)
    }

    /// A blob that must not have been there.
    pub fn already_exists(id: &BlobId) -> Self {
        let cause = "a blob of this name exists already";
        Self::new(
            StorageErrorKind::AlreadyExists,
            Operation::PutIfAbsent,
            id.as_str(),
            cause,
        )
    }

    /// The same failure, told of the blob that was asked for instead of the step inside.
    #[must_use]
    pub(crate) fn during(mut self, operation: Operation, id: &BlobId) -> Self {
        self.operation = operation;
        id.as_str().clone_into(&mut self.subject);
        self
    }

    /// What the caller can do.
    pub fn kind(&self) -> StorageErrorKind {
        self.kind
    }

    /// What was being done.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The blob's name, or what was being listed.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The cause alone, for a status message that names the store itself.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// Whether the store said that the blob is missing.
    pub fn is_not_found(&self) -> bool {
        self.kind == StorageErrorKind::NotFound
    }

    /// Whether the same call may succeed later without anyone changing a setting.
    pub fn is_transient(&self) -> bool {
        self.kind == StorageErrorKind::Unavailable
    }

    /// The store's wish for how long to wait, where it said one.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.subject, self.cause)
    }
}

impl fmt::Debug for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.kind)
    }
}

impl StdError for StorageError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}
