//! How a deletion begins: it says so first, and looks at the restores then, for one of the same backup may begin in the same
//! moment.
//!
//! ```text
//! deletion:  looks ─► Backup Deleting    ─► Restores again ─┬─ none runs ─► deletes
//!                                                           └─ one runs ──► the phase as it was; refused
//! restore:   looks ─► Restore InProgress ─► Backup again ───┬─ as it was ─► runs
//!                                                           └─ Deleting ──► FailedValidation, nothing was restored
//! ```
//! Whoever writes second sees what the other has written, so that never both go on. Both step back where both had written
//! before either looked: then nothing is deleted and nothing is restored, each says which other one it met, and whoever still
//! wants theirs asks again. With a right of way one would have to wait for the other, which may have ended with its server.
//!
//! A server that ends between writing and looking leaves `Deleting`, and nobody knows any more whether something is deleted:
//! the phase is not put back. No restore begins from such a backup, also none that was InProgress and has lost its server.
//! One that goes on all the same had looked before, and the request waits until it has ended ([`InTheWay::Wait`]).

use caravel_api::labels;
use caravel_api::phase::DeleteBackupRequestPhase;
use caravel_api::v1::{Backup, BackupPhase, DeleteBackupRequest, Restore};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::decide::{InTheWay, in_the_way};
use super::{BackupDeletion, ignore_missing, merge};
use crate::reconcile::Error;

/// What became of a deletion that was to begin.
pub(super) enum Begun {
    /// It goes on, with the Restores that go with the backup.
    Yes(Vec<Restore>),
    /// A restore had begun, too.
    No(InTheWay),
}

impl BackupDeletion {
    /// Says that the deletion begins, and looks whether a restore has done the same. Where the deletion is refused the Backup
    /// is as it was, and so are the other requests to delete it.
    pub(super) async fn begin(&self, request: &DeleteBackupRequest, backup: &Backup) -> Result<Begun, Error> {
        let deleting = self.say(request, backup).await?;
        let restores = self.restores_of(&backup.name_any()).await?;
        // By the phase from before: one that was Deleting already stays so.
        if let Some(in_the_way) = in_the_way(backup, &restores) {
            if let InTheWay::Refuse(_) = in_the_way {
                self.put_back(backup, &deleting).await?;
            }
            return Ok(Begun::No(in_the_way));
        }
        self.forget_other_requests(request, backup).await?;
        Ok(Begun::Yes(restores))
    }

    async fn forget_other_requests(
        &self,
        request: &DeleteBackupRequest,
        backup: &Backup,
    ) -> Result<(), Error> {
        let requests: Api<DeleteBackupRequest> = self.context.api();
        let name = backup.name_any();
        for other in self
            .context
            .list::<DeleteBackupRequest>(&ListParams::default())
            .await?
        {
            if other.spec.backup_name == name && other.name_any() != request.name_any() {
                ignore_missing(
                    requests
                        .delete(&other.name_any(), &DeleteParams::default())
                        .await
                        .map(drop),
                )?;
            }
        }
        Ok(())
    }

    /// Gives the Backup, as it is then.
    async fn say(&self, request: &DeleteBackupRequest, backup: &Backup) -> Result<Backup, Error> {
        let name = backup.name_any();
        let begun = json!({
            "metadata": {"labels": {
                labels::BACKUP_NAME: labels::label_value(&name),
                labels::BACKUP_UID: backup.uid().unwrap_or_default(),
            }},
            "status": {"phase": DeleteBackupRequestPhase::InProgress},
        });
        let requests: Api<DeleteBackupRequest> = self.context.api();
        merge(&requests, &request.name_any(), &begun).await?;
        // With its version: whoever has moved it on meanwhile is not written over, it is looked at again.
        let deleting = json!({
            "metadata": {"resourceVersion": backup.resource_version()},
            "status": {"phase": BackupPhase::Deleting},
        });
        Ok(merge(&self.context.api::<Backup>(), &name, &deleting).await?)
    }

    /// The phase as it was: nothing is deleted yet.
    async fn put_back(&self, backup: &Backup, deleting: &Backup) -> Result<(), kube::Error> {
        let before = backup.status.as_ref().and_then(|status| status.phase.clone());
        let patch = json!({
            "metadata": {"resourceVersion": deleting.resource_version()},
            "status": {"phase": before},
        });
        let api: Api<Backup> = self.context.api();
        merge(&api, &backup.name_any(), &patch).await.map(drop)
    }
}
