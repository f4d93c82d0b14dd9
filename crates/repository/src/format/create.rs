//! A new repository (kopia-format.md 2.5, 13.2).
//!
//! `kopia.repository` is put only if it does not exist: it decides who wins when two create at the same moment
//! (guarantee 4). `kopia.blobcfg` follows; a reader takes a missing one for "no retention", so a crash between the two
//! leaves a good repository. With a retention it goes first, also only if there is none: a repository that was to be locked
//! and is not must never open. (Kopia always writes them in this order, unconditionally.)

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use caravel_storage::StorageErrorKind;
use secrecy::{ExposeSecret, SecretString};

use super::{BLOBCFG_BLOB, FORMAT_BLOB, FormatOptions, Outer, config::Config, peek_unique_id, retention};
use crate::{
    blob::Blobs,
    crypto::envelope::Envelope,
    environment::Environment,
    error::{RepositoryError, RepositoryErrorKind, Result},
};

/// Writes both blobs and returns the new repository's unique id.
///
/// Errors: `AlreadyInitialized` when either blob exists, also when another client was faster by a moment;
/// `ForeignFiles` when anything else is there; `Invalid` for choices that do not go together. Nothing is written then.
pub fn initialize(
    blobs: &Blobs,
    password: &SecretString,
    options: &FormatOptions,
    environment: &Environment,
) -> Result<Vec<u8>> {
    let config = Config::new(options, environment)?;
    let blobs = &blobs
        .clone()
        .with_retention(options.retention.as_ref(), environment);
    if !blobs.keeps_retention() {
        return Err(no_locks());
    }
    let found = blobs.list("")?;
    let name = |wanted: &str| found.iter().find(|blob| blob.id.as_str() == wanted);
    if name(FORMAT_BLOB).is_some() {
        return Err(already(FORMAT_BLOB));
    }
    if name(BLOBCFG_BLOB).is_some() {
        return Err(RepositoryError::new(
            RepositoryErrorKind::AlreadyInitialized,
            format!(
                "blob {BLOBCFG_BLOB} exists here already but no {FORMAT_BLOB}, so no repository was created: a creation broke off, \
                 or the format blob was lost (velero kopia blob list). Bring it back, or delete {BLOBCFG_BLOB} and create again"
            ),
        ));
    }
    if let Some(first) = found.first() {
        return Err(RepositoryError::new(
            RepositoryErrorKind::ForeignFiles,
            format!(
                "{} blobs are here already (first: {}) but no {FORMAT_BLOB}, so no repository was created among them; \
                 choose an empty place, or bring {FORMAT_BLOB} back if it was lost",
                found.len(),
                first.id.as_str()
            ),
        ));
    }
    let unique_id = environment.random::<32>();
    let key = environment.key_derivation.derive(
        &options.key_derivation,
        password.expose_secret().as_bytes(),
        &unique_id,
    )?;
    let envelope = Envelope::new(&key, &unique_id);
    let outer = Outer {
        tool: "https://github.com/kopia/kopia".into(),
        build_version: concat!("caravel-", env!("CARGO_PKG_VERSION")).into(),
        build_info: String::new(),
        unique_id: BASE64_STANDARD.encode(unique_id),
        key_algo: options.key_derivation.clone(),
        encryption: "AES256_GCM".into(),
        encrypted_block_format: BASE64_STANDARD.encode(envelope.seal(environment, &config.to_json())),
        unknown: serde_json::Map::new(),
    };
    let mut json = serde_json::to_vec_pretty(&outer).expect("strings are plain JSON");
    json.push(b'\n');
    let settings = Bytes::from(envelope.seal(environment, &retention::encode(options.retention.as_ref())));
    if options.retention.is_some() {
        put_retention(blobs, settings)?;
        put_first(blobs, Bytes::from(json), &unique_id)?;
    } else {
        put_first(blobs, Bytes::from(json), &unique_id)?;
        blobs.put(BLOBCFG_BLOB, settings)?;
    }
    Ok(unique_id.to_vec())
}

/// What to say where a retention is wanted and cannot be.
pub(super) fn no_locks() -> RepositoryError {
    RepositoryError::invalid(
        "object lock with the modes GOVERNANCE and COMPLIANCE is for S3 only; nothing was changed",
    )
}

fn already(blob: &str) -> RepositoryError {
    RepositoryError::new(
        RepositoryErrorKind::AlreadyInitialized,
        format!("blob {blob} exists here already, so no new repository was created; open that one instead"),
    )
}

/// Creates the blob that says how long locks are.
fn put_retention(blobs: &Blobs, settings: Bytes) -> Result<()> {
    match blobs.put_if_absent(BLOBCFG_BLOB, settings.clone()) {
        Err(e) if e.kind() == StorageErrorKind::AlreadyExists => Err(already(BLOBCFG_BLOB)),
        Err(e) if e.kind() == StorageErrorKind::Unsupported => blobs.put(BLOBCFG_BLOB, settings),
        done => done.map_err(|e| RepositoryError::storage_while("cannot create the repository", e)),
    }
}

/// Creates the format blob, or finds out that another client did. Where the store cannot put with a condition:
/// write, then read back whose id is there.
fn put_first(blobs: &Blobs, json: Bytes, unique_id: &[u8]) -> Result<()> {
    match blobs.put_if_absent(FORMAT_BLOB, json.clone()) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == StorageErrorKind::AlreadyExists => return Err(already(FORMAT_BLOB)),
        Err(e) if e.kind() == StorageErrorKind::Unsupported => {}
        Err(e) => return Err(RepositoryError::storage_while("cannot create the repository", e)),
    }
    blobs.put(FORMAT_BLOB, json)?;
    match peek_unique_id(blobs)? {
        Some(found) if found == unique_id => Ok(()),
        _ => Err(already(FORMAT_BLOB)),
    }
}
