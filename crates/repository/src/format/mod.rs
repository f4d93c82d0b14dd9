//! `kopia.repository`: what a repository is made with, sealed by its password (kopia-format.md 2).
//! Neighbours: `config.rs` (the sealed JSON), `options.rs` and `create.rs` (a new one), `change.rs`
//! (another password, other parameters), `guard.rs` (whether it still
//! is as it was), `retention.rs` (`kopia.blobcfg`), `replica.rs` (copies in packs), `upgrade_lock.rs`.

mod change;
pub mod config;
pub mod create;
pub(crate) mod guard;
mod options;
pub(crate) mod replica;
pub(crate) mod retention;
mod upgrade_lock;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
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
pub use config::{EpochParameters, ParameterChange};
pub use options::FormatOptions;
pub use retention::Retention;

/// The format blob's name.
pub const FORMAT_BLOB: &str = "kopia.repository";
/// How often the two blobs may change while they are read, before that counts as damage.
const CHANGED_TWICE: usize = 2;
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
    /// What a newer client added; it survives being written again.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

impl Outer {
    /// The blob's bytes, in Kopia's layout.
    fn to_bytes(&self) -> Bytes {
        let mut json = serde_json::to_vec_pretty(self).expect("strings are plain JSON");
        json.push(b'\n');
        json.into()
    }
}

/// An opened format: the unique id, and the settings and keys that the password gave access to.
pub struct Format {
    /// Random bytes that tell this repository from every other; 32 when made by Kopia or by us.
    pub unique_id: Vec<u8>,
    pub(crate) config: Config,
    /// How long the storage must keep blobs (object lock).
    pub(crate) retention: Option<Retention>,
    /// How the password becomes a key.
    pub(crate) key_derivation: String,
    /// What `kopia.maintenance` is sealed under in format version 1; later versions take the master key.
    #[allow(dead_code)] // Maintenance takes it.
    pub(crate) format_key: Zeroizing<[u8; 32]>,
    pub(crate) envelope: Envelope,
    /// The blob as it was read.
    pub(crate) bytes: Bytes,
}

impl Format {
    /// What the repository was made with, in the words of making one.
    pub(crate) fn options(&self) -> Result<FormatOptions> {
        let algorithms = self.config.algorithms()?;
        Ok(FormatOptions {
            version: self.config.version(),
            hash: algorithms.hash,
            encryption: algorithms.cipher,
            splitter: self.config.splitter.clone(),
            key_derivation: self.key_derivation.clone(),
            ecc_overhead_percent: algorithms
                .correction
                .map_or(0, |correction| correction.percent() as u8),
            max_pack_size: self.config.pack_size(),
            epochs: self.config.epoch_parameters.clone(),
            retention: self.retention.clone(),
        })
    }

    /// What every pack begins with; empty but in repositories whose password cannot be changed.
    pub(crate) fn pack_replica(&self) -> Result<Vec<u8>> {
        match self.config.password_change_enabled() {
            true => Ok(Vec::new()),
            false => replica::encode(&self.bytes),
        }
    }
}

/// Reads and opens the format blob.
///
/// Errors: `NotInitialized` when the storage says that there is none, `ForeignFiles` when that name holds something
/// else, `WrongPassword`, `Locked` during an upgrade, `NewerVersion`, `MissingFeature`, `Unsupported` naming the first
/// thing that this version lacks.
pub fn load(blobs: &Blobs, password: &SecretString, environment: &Environment) -> Result<Format> {
    let mut bytes = read(blobs)?;
    for _ in 0..CHANGED_TWICE {
        let opened = open_format(&bytes, password, environment)?;
        let failure = match retention::load(blobs, &opened.envelope) {
            Ok(retention) => return Ok(Format { retention, ..opened }),
            Err(failure) => failure,
        };
        // Somebody who changes password or parameters writes both blobs, and may have done so between the two readings.
        let now = read(blobs)?;
        if now == bytes {
            return Err(failure);
        }
        bytes = now;
    }
    let opened = open_format(&bytes, password, environment)?;
    let retention = retention::load(blobs, &opened.envelope)?;
    Ok(Format { retention, ..opened })
}

fn read(blobs: &Blobs) -> Result<Bytes> {
    blobs
        .get(FORMAT_BLOB)
        .map_err(|error| match error.is_missing_blob() {
            true => RepositoryError::new(
                RepositoryErrorKind::NotInitialized,
                format!("there is no repository here: {error}"),
            ),
            false => error,
        })
}

/// All but the retention, which stands in the other blob.
fn open_format(bytes: &Bytes, password: &SecretString, environment: &Environment) -> Result<Format> {
    let outer = parse_outer(bytes)?;
    let unique_id = decode_base64(&outer.unique_id, "its unique id")?;
    let format_key = derive(&outer, &unique_id, password, environment)?;
    let envelope = Envelope::new(&format_key, &unique_id);
    let config = open_config(&outer, &envelope)?.ok_or_else(|| {
        RepositoryError::new(
            RepositoryErrorKind::WrongPassword,
            "the password does not open this repository; give the one it was created with",
        )
    })?;
    config.check_supported(environment.clock.now())?;
    Ok(Format {
        unique_id,
        config,
        retention: None,
        key_derivation: outer.key_algo,
        format_key,
        envelope,
        bytes: bytes.clone(),
    })
}

/// The settings inside; `None` when they were sealed under another password.
fn open_config(outer: &Outer, envelope: &Envelope) -> Result<Option<Config>> {
    let sealed = decode_base64(&outer.encrypted_block_format, "its settings")?;
    match envelope.open(&sealed) {
        Some(plain) => Config::parse(&plain).map(Some),
        None => Ok(None),
    }
}

/// The unique id of the repository, which is readable without the password. `None` when there is none.
pub fn peek_unique_id(blobs: &Blobs) -> Result<Option<Vec<u8>>> {
    let bytes = match blobs.get(FORMAT_BLOB) {
        Err(error) if error.is_missing_blob() => return Ok(None),
        other => other?,
    };
    decode_base64(&parse_outer(&bytes)?.unique_id, "its unique id").map(Some)
}

/// Parses the outer JSON. Errors: `ForeignFiles` when this is no format blob at all.
pub(crate) fn parse_outer(bytes: &[u8]) -> Result<Outer> {
    serde_json::from_slice(bytes).map_err(|e| {
        RepositoryError::new(
            RepositoryErrorKind::ForeignFiles,
            format!(
                "blob {FORMAT_BLOB} is not a format blob ({e}): another program's files are here, or it was damaged; \
                 give the place of the repository, or bring the blob back"
            ),
        )
    })
}

fn decode_base64(text: &str, what: &str) -> Result<Vec<u8>> {
    BASE64_STANDARD
        .decode(text)
        .map_err(|_| RepositoryError::damaged(format!("blob {FORMAT_BLOB}: {what} is not base64")))
}

fn derive(
    outer: &Outer,
    unique_id: &[u8],
    password: &SecretString,
    environment: &Environment,
) -> Result<Zeroizing<[u8; 32]>> {
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
    environment
        .key_derivation
        .derive(&outer.key_algo, password, unique_id)
}

#[cfg(test)]
mod tests;
