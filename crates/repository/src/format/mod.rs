//! `kopia.repository`: what a repository is made with, sealed by its password (kopia-format.md 2).
//! Neighbours: `config.rs` (the sealed JSON), `create.rs` (a new one).

pub mod config;
pub mod create;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    blob::Blobs,
    crypto::envelope::Envelope,
    environment::Environment,
    error::{RepositoryError, RepositoryErrorKind, Result},
};
use config::Config;

/// The format blob's name.
pub const FORMAT_BLOB: &str = "kopia.repository";
/// Retention settings; missing means none.
pub const BLOBCFG_BLOB: &str = "kopia.blobcfg";

/// The plain outer JSON of `kopia.repository`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outer {
    #[serde(default)]
    pub tool: String,
    #[serde(default)]
    pub build_version: String,
    #[serde(default)]
    pub build_info: String,
    #[serde(rename = "uniqueID")]
    pub unique_id: String,
    pub key_algo: String,
    pub encryption: String,
    pub encrypted_block_format: String,
}

/// An opened format: the unique id, and the settings and keys that the password gave access to.
pub struct Format {
    /// Random bytes that tell this repository from every other; 32 when made by Kopia or by us.
    pub unique_id: Vec<u8>,
    pub(crate) config: Config,
    /// Whether the storage must keep blobs under retention (object lock).
    pub(crate) retention: bool,
}

/// Reads and opens the format blob.
///
/// Errors: `NotInitialized` when the storage says that there is none, `WrongPassword`, `Locked` during an
/// upgrade, `Unsupported` naming the first thing that this version lacks.
pub fn load(blobs: &Blobs, password: &SecretString, environment: &Environment) -> Result<Format> {
    let bytes = blobs
        .get(FORMAT_BLOB)
        .map_err(|error| match error.is_missing_blob() {
            true => RepositoryError::new(
                RepositoryErrorKind::NotInitialized,
                format!("there is no repository here: {error}"),
            ),
            false => error,
        })?;
    let outer = parse_outer(&bytes)?;
    let unique_id = decode_base64(&outer.unique_id, "its unique id")?;
    let envelope = unlock(&outer, &unique_id, password, environment)?;
    let sealed = decode_base64(&outer.encrypted_block_format, "its settings")?;
    let plain = envelope.open(&sealed).ok_or_else(|| {
        RepositoryError::new(
            RepositoryErrorKind::WrongPassword,
            "the password does not open this repository; give the one it was created with",
        )
    })?;
    let config = Config::parse(&plain)?;
    config.check_supported()?;
    let retention = load_retention(blobs, &envelope)?;
    Ok(Format {
        unique_id,
        config,
        retention,
    })
}

/// The unique id of the repository, which is readable without the password. `None` when there is none.
pub fn peek_unique_id(blobs: &Blobs) -> Result<Option<Vec<u8>>> {
    let bytes = match blobs.get(FORMAT_BLOB) {
        Err(error) if error.is_missing_blob() => return Ok(None),
        other => other?,
    };
    decode_base64(&parse_outer(&bytes)?.unique_id, "its unique id").map(Some)
}

fn parse_outer(bytes: &[u8]) -> Result<Outer> {
    serde_json::from_slice(bytes)
        .map_err(|e| RepositoryError::damaged(format!("blob {FORMAT_BLOB} is not a format blob: {e}")))
}

fn decode_base64(text: &str, what: &str) -> Result<Vec<u8>> {
    BASE64_STANDARD
        .decode(text)
        .map_err(|_| RepositoryError::damaged(format!("blob {FORMAT_BLOB}: {what} is not base64")))
}

fn unlock(
    outer: &Outer,
    unique_id: &[u8],
    password: &SecretString,
    environment: &Environment,
) -> Result<Envelope> {
    if outer.encryption != "AES256_GCM" {
        return Err(RepositoryError::unsupported(format!(
            "the format encryption {:?}",
            outer.encryption
        )));
    }
    if unique_id.len() < 16 {
        return Err(RepositoryError::damaged(format!(
            "blob {FORMAT_BLOB}: its unique id is too short"
        )));
    }
    let password = password.expose_secret().as_bytes();
    let key: Zeroizing<[u8; 32]> = environment
        .key_derivation
        .derive(&outer.key_algo, password, unique_id)?;
    Ok(Envelope::new(&key, unique_id))
}

/// The plaintext of `kopia.blobcfg`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Retention {
    #[serde(default)]
    retention_mode: String,
}

fn load_retention(blobs: &Blobs, envelope: &Envelope) -> Result<bool> {
    let sealed = match blobs.get(BLOBCFG_BLOB) {
        Err(error) if error.is_missing_blob() => return Ok(false),
        other => other?,
    };
    let damaged = || RepositoryError::damaged(format!("blob {BLOBCFG_BLOB} cannot be opened"));
    let plain = envelope.open(&sealed).ok_or_else(damaged)?;
    let retention: Retention = serde_json::from_slice(&plain).map_err(|_| damaged())?;
    Ok(!retention.retention_mode.is_empty())
}

#[cfg(test)]
mod tests;
