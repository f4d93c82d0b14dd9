//! Deletes snapshots from repositories: each repository is opened once, for all snapshots that a backup has in it. Their
//! space comes back with later maintenance (`crates/repository/src/maintenance/`).

use std::collections::BTreeSet;

use caravel_api::v1::BackupStorageLocation;
use caravel_backup_repository::{PASSWORD_SECRET, Prepare, PrepareError, PrepareErrorKind};
use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;

use super::in_repositories::ByRepository;
use crate::context::{Context, ResolvedLocation};
use crate::reconcile::{Error, chain};

/// The repositories of one location.
pub(super) struct Repositories<'a> {
    context: &'a Context,
    location: ResolvedLocation,
    password: SecretString,
}

impl<'a> Repositories<'a> {
    /// Reads what opens them; opens none.
    ///
    /// # Errors
    /// The location's credentials or the repository password are missing.
    pub(super) async fn of(context: &'a Context, location: &BackupStorageLocation) -> Result<Self, Error> {
        let secret = context.api::<Secret>().get_opt(PASSWORD_SECRET).await?;
        Ok(Self {
            password: crate::backup_repository::password(secret.as_ref())?,
            location: context.locations.resolve(location).await?,
            context,
        })
    }

    /// Deletes the snapshots; gives what went wrong, by repository. Those that are gone already are fine.
    ///
    /// `saved`: the backup's own files lie in the same location. Where nothing at all lies beside them in a repository's
    /// place, its snapshots are gone with it; without them the location may have been another one then.
    pub(super) async fn forget(&self, snapshots: &ByRepository, saved: bool) -> Vec<String> {
        let mut errors = Vec::new();
        for (namespace, ids) in snapshots {
            let Err(error) = self.forget_in(namespace, ids).await else {
                continue;
            };
            if saved && is_no_repository(&*error) {
                tracing::warn!(%namespace, ?ids, "no repository is there any more, so nor are these snapshots");
                continue;
            }
            errors.push(format!(
                "error deleting {} snapshots of namespace {namespace} from its repository: {}; the backup's files stay, so that it can be deleted again",
                ids.len(),
                chain(&*error)
            ));
        }
        errors
    }

    async fn forget_in(&self, namespace: &str, ids: &BTreeSet<String>) -> Result<(), Error> {
        let ids = ids.iter().map(|id| id.parse()).collect::<Result<Vec<_>, _>>()?;
        let storage = self.location.repository_storage(namespace)?;
        // Never made for the sake of a deletion.
        let repository = caravel_backup_repository::prepare(
            storage,
            &self.password,
            Prepare::ConnectOnly,
            self.context.environment.clone(),
        )
        .await?;
        caravel_backup_repository::forget(&repository, &ids).await?;
        Ok(())
    }
}

fn is_no_repository(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error
        .downcast_ref::<PrepareError>()
        .is_some_and(|error| error.kind() == PrepareErrorKind::NotInitialized)
}
