//! A new repository (kopia-format.md 2.5, 13.2).
//!
//! `kopia.repository` is put first and only if it does not exist: it decides who wins when two create at the
//! same moment (guarantee 4). `kopia.blobcfg` follows; a reader takes a missing one for "no retention", so a
//! crash between the two leaves a good repository. (Kopia writes them the other way round, unconditionally.)

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use caravel_storage::StorageErrorKind;
use secrecy::{ExposeSecret, SecretString};

use super::{BLOBCFG_BLOB, FORMAT_BLOB, Outer, config::Config, peek_unique_id};
use crate::{
    blob::Blobs,
    crypto::{envelope::Envelope, password::SCRYPT},
    environment::Environment,
    error::{RepositoryError, RepositoryErrorKind, Result},
};

/// Writes both blobs and returns the new repository's unique id.
///
/// Errors: `AlreadyInitialized` when either blob exists, also when another client was faster by a moment.
pub fn initialize(blobs: &Blobs, password: &SecretString, environment: &Environment) -> Result<Vec<u8>> {
    if let Some(found) = blobs
        .list("kopia.")?
        .iter()
        .find(|b| matches!(b.id.as_str(), FORMAT_BLOB | BLOBCFG_BLOB))
    {
        return Err(already(found.id.as_str()));
    }
    let unique_id = environment.random::<32>();
    let key = environment
        .key_derivation
        .derive(SCRYPT, password.expose_secret().as_bytes(), &unique_id)?;
    let envelope = Envelope::new(&key, &unique_id);
    let outer = Outer {
        tool: "https://github.com/kopia/kopia".into(),
        build_version: concat!("caravel-", env!("CARGO_PKG_VERSION")).into(),
        build_info: String::new(),
        unique_id: BASE64_STANDARD.encode(unique_id),
        key_algo: SCRYPT.into(),
        encryption: "AES256_GCM".into(),
        encrypted_block_format: BASE64_STANDARD
            .encode(envelope.seal(environment, &Config::new(environment).to_json())),
    };
    let mut json = serde_json::to_vec_pretty(&outer).expect("strings are plain JSON");
    json.push(b'\n');
    put_first(blobs, Bytes::from(json), &unique_id)?;
    blobs.put(BLOBCFG_BLOB, envelope.seal(environment, b"{}").into())?;
    Ok(unique_id.to_vec())
}

fn already(blob: &str) -> RepositoryError {
    RepositoryError::new(
        RepositoryErrorKind::AlreadyInitialized,
        format!("blob {blob} exists here already, so no new repository was created; open that one instead"),
    )
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
