//! The blob `udmrepo.Repository`, by which Velero knows that a repository was created to the end:
//! `{"uniqueID":"<base64 of the format blob's id>"}` (kopia-format.md 13.2).

use std::sync::Arc;

use bytes::Bytes;
use caravel_storage::{BlobId, Storage, StorageError, StorageErrorKind};
use serde::{Deserialize, Serialize};

/// The blob's name.
pub const MARKER: &str = "udmrepo.Repository";

/// What the marker says, with the id as it is written: base64.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    #[serde(rename = "uniqueID")]
    pub unique_id: String,
}

/// Why there is no usable marker.
#[derive(Debug)]
pub enum MarkerError {
    Storage(StorageError),
    NotJson(serde_json::Error),
}

/// Reads the marker; none only if the store says that there is none.
pub async fn read(storage: &Arc<dyn Storage>) -> Result<Option<Marker>, MarkerError> {
    match storage.get(&BlobId::from(MARKER)).await {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(MarkerError::NotJson),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(MarkerError::Storage(error)),
    }
}

/// Writes the marker if there is none. What is there afterwards is the caller's to read.
pub async fn write(storage: &Arc<dyn Storage>, marker: &Marker) -> Result<(), StorageError> {
    let id = BlobId::from(MARKER);
    let text = Bytes::from(serde_json::to_vec(marker).expect("a text is plain JSON"));
    match storage.put_if_absent(&id, text.clone()).await {
        Err(error) if error.kind() == StorageErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == StorageErrorKind::Unsupported => storage.put(&id, text).await,
        written => written,
    }
}
