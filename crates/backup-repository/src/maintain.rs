//! Maintenance of an opened repository, with Kopia's waiting times: safe beside other writers.

use caravel_repository::maintenance::MaintenanceOptions;
pub use caravel_repository::maintenance::{Mode as MaintenanceMode, Outcome as MaintenanceOutcome};
use caravel_repository::{Repository, RepositoryError};

/// Maintains as the repository's owner. `Auto` is what Velero does: full, quick or nothing yet, as the repository's own
/// schedule says.
///
/// Errors: those of the repository. Whatever it dies of leaves a whole repository; the next run goes on.
pub async fn maintain(
    repository: &Repository,
    mode: MaintenanceMode,
) -> Result<MaintenanceOutcome, RepositoryError> {
    let options = MaintenanceOptions {
        mode,
        ..MaintenanceOptions::default()
    };
    repository.maintain(options).await
}
