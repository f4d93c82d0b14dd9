//! BackupRepository object to opened repository: connect, create, forget, change the password.
//!
//! One Kopia repository per (BackupStorageLocation, namespace of the volumes), below `<prefix>/kopia/<namespace>/`,
//! with Velero's marker blob beside Kopia's own (kopia-format.md 13.1-13.2; velero-behaviour.md 6).
//!
//! - [`prepare`]: opens the repository, creating it where nothing is and finishing one that was half created
//! - [`forget`]: deletes snapshots
//! - [`maintain`]: gives their space back
//! - [`rekey()`]: changes the password of one; [`Passwords`]: what is tried while that goes on
//! - [`naming`]: the object's name, the Secret, the owner

mod maintain;
mod marker;
pub mod naming;
mod passwords;
mod prepare;
mod rekey;

#[cfg(test)]
mod tests;

pub use caravel_repository::{Abandoned, Environment, Repository, verify};
pub use maintain::{MaintenanceMode, MaintenanceOutcome, maintain};
pub use naming::{
    DEFAULT_PASSWORD, HOST, NEXT_PASSWORD_KEY, PASSWORD_KEY, PASSWORD_SECRET, USER, name, password,
};
pub use passwords::Passwords;
pub use prepare::{Prepare, PrepareError, PrepareErrorKind, prepare, prepare_with};
pub use rekey::{Rekeyed, rekey};

use caravel_repository::{ManifestId, RepositoryError};

/// Deletes these snapshots in one commit; those that are gone already are no error. Their space returns with
/// later maintenance.
///
/// Errors: those of the repository; nothing was deleted then.
pub async fn forget(repository: &Repository, snapshot_ids: &[ManifestId]) -> Result<(), RepositoryError> {
    if snapshot_ids.is_empty() {
        Ok(())
    } else {
        repository.delete_snapshots(snapshot_ids).await
    }
}
