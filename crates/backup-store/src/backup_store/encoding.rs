//! The bytes of the objects: gzip'd compact JSON with a newline, as Go's encoder writes it, and the one
//! indented file, `velero-backup.json`.

use std::io::{BufWriter, Read as _, Write as _};

use caravel_api::v1::Backup;
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use serde::{Serialize, de::DeserializeOwned};

use super::{BackupStoreError, Result};

/// The text of `velero-backup.json`: indented by two, no newline at the end.
///
/// Errors: [`BackupStoreError::BadMetadata`].
pub fn encode_metadata(backup: &Backup) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(backup).map_err(|e| BackupStoreError::BadMetadata {
        name: backup.metadata.name.clone().unwrap_or_default(),
        cause: e.to_string(),
    })
}

pub(super) fn gzip_json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let unwritable = |cause: String| BackupStoreError::Unreadable {
        key: "(being written)".to_owned(),
        cause,
    };
    // As a stream: the list of a backup of a million objects is not in memory as text, too.
    let mut text = BufWriter::new(GzEncoder::new(Vec::new(), Compression::default()));
    serde_json::to_writer(&mut text, value).map_err(|e| unwritable(e.to_string()))?;
    let ended = text.write_all(b"\n").and_then(|()| {
        let encoder = text.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        encoder.finish()
    });
    ended.map_err(|e| unwritable(e.to_string()))
}

#[cfg(test)]
pub(super) fn gzip(data: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data)?;
    encoder.finish()
}

pub(super) fn parse_gzip<T: DeserializeOwned>(key: &str, data: &[u8]) -> Result<T> {
    let unreadable = |cause: String| BackupStoreError::Unreadable {
        key: key.to_owned(),
        cause,
    };
    let mut text = Vec::new();
    MultiGzDecoder::new(data)
        .read_to_end(&mut text)
        .map_err(|e| unreadable(e.to_string()))?;
    serde_json::from_slice(&text).map_err(|e| unreadable(e.to_string()))
}
