//! What a blob is called and what a listing says about it. Neighbour: `storage.rs`, which moves its bytes.

use std::{fmt, ops::Range};

use jiff::Timestamp;

use crate::{Operation, StorageError, StorageErrorKind};

/// The name of a blob, as `p0123…-s4488a8a3654b79ad147` or `kopia.repository`.
///
/// A name is not empty and holds no `/` (kopia-format.md 1.3: S3 listings are made without going into
/// "folders"); stores refuse other names with [`crate::StorageErrorKind::Misconfigured`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(String);

impl BlobId {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a store can hold a blob of this name: not empty, printable ASCII, no `/`, not hidden by a
    /// leading dot.
    pub fn is_storable(&self) -> bool {
        !self.0.is_empty()
            && !self.0.starts_with('.')
            && self.0.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
    }
}

impl From<&str> for BlobId {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl From<String> for BlobId {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl AsRef<str> for BlobId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a listing or a HEAD says about a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobMetadata {
    /// Its name.
    pub id: BlobId,
    /// Its size in bytes.
    pub length: u64,
    /// When the store last wrote it, by the store's clock (S3: `LastModified`, whole seconds; a file's mtime).
    pub timestamp: Timestamp,
}

/// Refuses a name that some store could not hold, so that all stores refuse the same names.
pub(crate) fn check_name(operation: Operation, id: &BlobId) -> Result<(), StorageError> {
    if id.is_storable() {
        return Ok(());
    }
    let cause = "not a name for a blob: it must be printable ASCII without '/' and not start with '.'";
    Err(StorageError::new(
        StorageErrorKind::Misconfigured,
        operation,
        format!("{id:?}"),
        cause,
    ))
}

/// Refuses a range that reaches past the end of a blob of `length` bytes.
pub(crate) fn check_range(id: &BlobId, range: &Range<u64>, length: u64) -> Result<(), StorageError> {
    if range.end <= length {
        return Ok(());
    }
    let cause = format!(
        "bytes {}..{} were asked for, the blob has {length}",
        range.start, range.end
    );
    Err(StorageError::new(
        StorageErrorKind::Damaged,
        Operation::GetRange,
        id.as_str(),
        cause,
    ))
}
