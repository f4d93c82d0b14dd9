//! The `backup-deletion` controller: a DeleteBackupRequest takes a backup away with everything that belongs to it
//! (velero-behaviour.md 3.9; upstream `pkg/controller/backup_deletion_controller.go`).
//!
//! ```text
//! item actions ─► data in storage and repositories ─► files in the bucket ─► Restores of it ─► the Backup ─► Processed
//!      └───────────── an error stops here: what knows of the data goes only when the data is gone ────┘
//! ```
//! Every step can be done again: a server that dies in between goes on.

mod begin;
mod data;
pub mod decide;
mod forget;
mod in_repositories;
mod item_actions;
mod snapshot_info;
mod snapshots;
mod tarball;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod velero_cases;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::phase::DeleteBackupRequestPhase;
use caravel_api::v1::{Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest, Restore};
use caravel_backup_store::BackupStore;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::begin::Begun;
use self::decide::{Decision, InTheWay, Observed, decide};
pub(crate) use self::tarball::Own;
use crate::context::Context;
use crate::reconcile::{Error, Key, Next, Reconciler, Source, chain, run};

/// Starts the controller. `scratch`: folder for tarballs that are looked into.
pub fn spawn(context: Context, scratch: PathBuf, shutdown: CancellationToken) -> JoinHandle<()> {
    let source = Source::own(&context, |request: &DeleteBackupRequest| vec![Key::of(request)]);
    let deletion = BackupDeletion {
        context,
        scratch,
        actions: item_actions::built_in(),
    };
    tokio::spawn(run(deletion, vec![source], 1, shutdown))
}

/// How often a deletion that waits for uploads or a restore to end looks again.
const AGAIN: Duration = Duration::from_secs(2);

struct BackupDeletion {
    context: Context,
    scratch: PathBuf,
    actions: item_actions::Actions,
}

/// What was found before anything is deleted.
enum Look {
    /// All of it can be deleted.
    Ready(data::Data),
    /// This has to end first.
    NotYet(String),
    /// Something would stay that nobody would know of any more.
    Refused(Vec<String>),
}

#[async_trait]
impl Reconciler for BackupDeletion {
    fn name(&self) -> &'static str {
        "backup-deletion"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let requests: Api<DeleteBackupRequest> = self.context.api();
        let Some(request) = requests.get_opt(&key.name).await? else {
            return Ok(Next::Done);
        };
        let observed = self.observe(request).await?;
        match decide(&observed, self.context.clock.now()) {
            Decision::Keep(left) => return Ok(Next::After(left)),
            Decision::Forget => {
                ignore_missing(
                    requests
                        .delete(&key.name, &DeleteParams::default())
                        .await
                        .map(drop),
                )?;
            }
            Decision::Refuse(why) => {
                tracing::warn!(request = %key, %why, "backup is not deleted");
                self.processed(&observed.request, vec![why]).await?;
            }
            Decision::Wait(why) => return Ok(waits(&observed.request, &why)),
            Decision::Delete => return self.process(&observed).await,
        }
        Ok(Next::Done)
    }
}

impl BackupDeletion {
    /// Deletes what may be deleted. Whatever speaks against it is said before anything changes: the Backup stays as it
    /// was, and can be restored.
    async fn process(&self, observed: &Observed) -> Result<Next, Error> {
        let (Some(backup), Some(location)) = (&observed.backup, &observed.location) else {
            return Ok(Next::Done);
        };
        let name = backup.name_any();
        let store = self.context.locations.backup_store(location).await?;
        let data = match self.look(&store, backup, &observed.request).await {
            Ok(Look::Ready(data)) => data,
            Ok(Look::NotYet(why)) => return Ok(waits(&observed.request, &why)),
            Ok(Look::Refused(errors)) => return self.refuse(&observed.request, errors).await,
            Err(error) => {
                let why = format!("cannot see what belongs to backup {name}: {}", chain(&*error));
                self.processed(&observed.request, vec![why]).await?;
                return Ok(Next::Done);
            }
        };
        let restores = match self.begin(&observed.request, backup).await? {
            Begun::Yes(restores) => restores,
            Begun::No(InTheWay::Wait(why)) => return Ok(waits(&observed.request, &why)),
            Begun::No(InTheWay::Refuse(why)) => return self.refuse(&observed.request, vec![why]).await,
        };
        let errors = match self.delete(&store, backup, location, &data, &restores).await {
            Ok(errors) => errors,
            Err(error) => vec![chain(&*error)],
        };
        tracing::info!(backup = %name, ?errors, "deletion of a backup is processed");
        self.processed(&observed.request, errors).await?;
        Ok(Next::Done)
    }

    /// Reads what belongs to the backup, and whether all of it can be deleted. Changes nothing but that uploads that
    /// nobody waits for are told to end.
    async fn look(
        &self,
        store: &BackupStore,
        backup: &Backup,
        request: &DeleteBackupRequest,
    ) -> Result<Look, Error> {
        let name = backup.name_any();
        let saved = match store.get_backup_metadata(&name).await {
            Ok(saved) => Some(saved),
            // It never came so far, or another cluster deletes it at this moment.
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(why) = saved.as_ref().and_then(|saved| somebody_elses(saved, backup)) {
            return Ok(Look::Refused(vec![why]));
        }
        let data = data::Data::read(&self.context, &self.scratch, store, backup, saved.as_ref()).await?;
        let unfinished = data.unfinished();
        if !unfinished.is_empty() {
            data.cancel(&self.context).await?;
            let uploads = unfinished.join(", ");
            return Ok(Look::NotYet(format!(
                "the data movement of the backup has not ended: {uploads}"
            )));
        }
        let mut errors = data.stays();
        // To look may have taken its time, and a restore begun meanwhile.
        let now = self.observe(request.clone()).await?;
        match decide(&now, self.context.clock.now()) {
            Decision::Refuse(why) => errors.push(why),
            Decision::Wait(why) if errors.is_empty() => return Ok(Look::NotYet(why)),
            _ => {}
        }
        Ok(if errors.is_empty() {
            Look::Ready(data)
        } else {
            Look::Refused(errors)
        })
    }

    async fn observe(&self, request: DeleteBackupRequest) -> Result<Observed, kube::Error> {
        let backup = match &*request.spec.backup_name {
            "" => None,
            name => self.context.api::<Backup>().get_opt(name).await?,
        };
        let location = match backup.as_ref().map(|backup| &*backup.spec.storage_location) {
            None | Some("") => None,
            Some(name) => self.context.api::<BackupStorageLocation>().get_opt(name).await?,
        };
        let restores = match &backup {
            None => Vec::new(),
            Some(backup) => self.restores_of(&backup.name_any()).await?,
        };
        Ok(Observed {
            request,
            backup,
            location,
            restores,
        })
    }

    /// The Restores of a backup, as they are at this moment.
    async fn restores_of(&self, backup: &str) -> Result<Vec<Restore>, kube::Error> {
        let all = self.context.list::<Restore>(&ListParams::default()).await?;
        let of_backup = all
            .into_iter()
            .filter(|restore| restore.spec.backup_name == backup);
        Ok(of_backup.collect())
    }

    /// Deletes; gives the errors that the user has to do something about.
    async fn delete(
        &self,
        store: &BackupStore,
        backup: &Backup,
        location: &BackupStorageLocation,
        data: &data::Data,
        restores: &[Restore],
    ) -> Result<Vec<String>, Error> {
        let name = backup.name_any();
        let errors = item_actions::invoke(&self.context, &self.scratch, store, backup, &self.actions).await?;
        if !errors.is_empty() {
            return Ok(errors);
        }
        let errors = data.delete(&self.context, backup, location).await;
        if !errors.is_empty() {
            return Ok(errors);
        }
        store.delete_backup(&name).await?;
        let api: Api<Restore> = self.context.api();
        for restore in restores {
            let restore = restore.name_any();
            store.delete_restore(&restore).await?;
            let deleted = api.delete(&restore, &DeleteParams::default()).await;
            ignore_missing(deleted.map(drop))?;
        }
        let same = DeleteParams {
            preconditions: Some(Preconditions {
                uid: backup.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        ignore_missing(self.context.api::<Backup>().delete(&name, &same).await.map(drop))?;
        Ok(Vec::new())
    }

    /// Nothing of the backup was changed.
    async fn refuse(&self, request: &DeleteBackupRequest, errors: Vec<String>) -> Result<Next, Error> {
        tracing::warn!(backup = %request.spec.backup_name, ?errors, "backup is not deleted, and nothing of it was changed");
        self.processed(request, errors).await?;
        Ok(Next::Done)
    }

    async fn processed(&self, request: &DeleteBackupRequest, errors: Vec<String>) -> Result<(), kube::Error> {
        let patch = json!({"status": {"phase": DeleteBackupRequestPhase::Processed, "errors": errors}});
        let api: Api<DeleteBackupRequest> = self.context.api();
        ignore_missing(merge(&api, &request.name_any(), &patch).await.map(drop))
    }
}

/// The folder of a failed backup may be that of another cluster's backup with the same name, over which ours was not
/// written (guarantee 4): it is not ours to delete. A synced Backup has another UID than its folder, and its times and end;
/// two clusters with one schedule begin theirs in the same second, but not both save it.
fn somebody_elses(saved: &Backup, backup: &Backup) -> Option<String> {
    let (theirs, own) = (
        saved.status.clone().unwrap_or_default(),
        backup.status.clone().unwrap_or_default(),
    );
    // A deletion that failed has written this over how the backup had ended.
    let same_end = own.phase == theirs.phase || own.phase == Some(BackupPhase::Deleting);
    let same_times = own.start_timestamp == theirs.start_timestamp
        && own.completion_timestamp == theirs.completion_timestamp;
    let ours = saved.uid() == backup.uid() || (same_times && same_end);
    (!ours).then(|| {
        format!(
            "backups/{} in the bucket is of another backup with this name (UID {}): nothing of it is deleted; delete the Backup object by `kubectl delete` to be rid of this record only",
            backup.name_any(),
            saved.uid().unwrap_or_default()
        )
    })
}

/// It has to look again; why is in the server's log.
fn waits(request: &DeleteBackupRequest, why: &str) -> Next {
    tracing::info!(backup = %request.spec.backup_name, why, "deletion of a backup waits");
    Next::After(AGAIN)
}

/// Gives the object as it is then.
async fn merge<K>(api: &Api<K>, name: &str, patch: &Value) -> Result<K, kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
}

fn ignore_missing(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}
