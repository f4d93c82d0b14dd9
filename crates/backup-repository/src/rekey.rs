//! Changes the password of one repository, so that a crash at any step leaves it open to the old password or to the new
//! one. The caller records both before it begins, and drops the old one only when every repository has come through here.
//!
//! ```text
//! opens with the old one ─► settings sealed anew (repository `format/change.rs`) ─► reopened with the new one: Changed
//! opens with the new one ─► kopia.blobcfg is put back if a crash took it ──────────────────────────────────► Already
//! ```
//! Kopia's own order: data is never sealed again, only `kopia.repository` and `kopia.blobcfg` are (kopia-format.md 2.6).

#[cfg(test)]
mod tests;

use std::sync::Arc;

use caravel_repository::{Environment, Repository, RepositoryError};
use caravel_storage::{BlobId, Storage};
use secrecy::SecretString;

use crate::passwords::Passwords;
use crate::prepare::{Prepare, PrepareError, PrepareErrorKind, prepare};

/// Kopia's second format blob; missing means no retention.
const BLOBCFG_BLOB: &str = "kopia.blobcfg";

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rekeyed {
    /// It had the old password.
    Changed,
    /// It had the new one already.
    Already,
}

/// Gives the repository in `storage` the password `new`. When this returns it has been opened with it.
///
/// Errors: as of [`prepare`]; `WrongPassword` when neither opens it, `Refused` for one whose blobs are kept under retention
/// (a crash could leave it closed to both), `Unsupported` for one of format version 1. It can be done again.
pub async fn rekey(
    storage: Arc<dyn Storage>,
    old: &SecretString,
    new: &SecretString,
    environment: Environment,
) -> Result<Rekeyed, PrepareError> {
    let open = |password: &SecretString| {
        prepare(
            storage.clone(),
            Passwords::from(password),
            Prepare::ConnectOnly,
            environment.clone(),
        )
    };
    // The old one first: somebody else who re-keys it at this moment only goes from old to new.
    let (repository, rekeyed) = match open(old).await {
        Ok(repository) => (repository, Rekeyed::Changed),
        Err(error) if error.kind() == PrepareErrorKind::WrongPassword => (open(new).await?, Rekeyed::Already),
        Err(error) => return Err(error),
    };
    if rekeyed == Rekeyed::Already && has_settings(&storage).await? {
        return Ok(rekeyed);
    }
    seal(&repository, new).await?;
    open(new).await?;
    Ok(rekeyed)
}

/// Whether no crash has taken `kopia.blobcfg`.
async fn has_settings(storage: &Arc<dyn Storage>) -> Result<bool, PrepareError> {
    match storage.metadata(&BlobId::from(BLOBCFG_BLOB)).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn seal(repository: &Repository, password: &SecretString) -> Result<(), PrepareError> {
    if repository.format_options().retention.is_some() {
        return Err(PrepareError::new(
            PrepareErrorKind::Refused,
            "the blobs of the backup repository are kept under retention, and Velero makes no such repository: change its \
             password by `velero kopia repository change-password` while nobody uses it",
        ));
    }
    let (engine, password) = (repository.clone(), password.clone());
    let work = move || -> Result<(), RepositoryError> { engine.change_password(&password) };
    match repository.environment().run(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(PrepareError::new(
            PrepareErrorKind::Unreachable,
            "changing the password of the backup repository was interrupted",
        )),
    }
}
