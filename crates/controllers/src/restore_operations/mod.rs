//! The restore-operations controller: follows the DataDownloads of Restores that wait for them (velero-behaviour.md
//! 8.8). Mirrors Velero's `pkg/controller/restore_operations_controller.go`, but watches instead of asking every 10 s.
//!
//! The operations are those in `restore-<r>-itemoperations.json.gz`, kept in memory between two looks; the file and
//! the status are written when an operation has ended. [`crate::restore_finalizer`] goes on.

pub mod decide;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use async_trait::async_trait;
use caravel_api::labels;
use caravel_api::phase::RestorePhase;
use caravel_api::v1::{Backup, Restore};
use caravel_api::v2alpha1::DataDownload;
use caravel_backup_store::BackupStore;
use caravel_backup_store::item_operations::RestoreOperation;
use caravel_restore::operations;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backup_operations::decide::errors_after;
use crate::cancel;
use crate::context::Context;
use crate::reconcile::{self, Error, Key, Next, Reconciler, Source};
use crate::restore::{cancel_downloads, exec_hooks};
use decide::{Decision, Observed, Step, decide};

/// Starts the controller.
pub fn spawn(context: Context, shutdown: CancellationToken) -> JoinHandle<()> {
    let sources = vec![
        Source::objects(context.api::<Restore>(), watcher::Config::default()),
        Source::watch(
            context.api::<DataDownload>(),
            watcher::Config::default().labels(labels::RESTORE_UID),
            |download: &DataDownload| restore_of(download),
        ),
    ];
    let controller = RestoreOperations {
        context,
        known: Mutex::default(),
    };
    tokio::spawn(reconcile::run(controller, sources, 2, shutdown))
}

/// The Restore that owns a DataDownload.
fn restore_of(download: &DataDownload) -> Vec<Key> {
    let owners = download
        .owner_references()
        .iter()
        .filter(|owner| owner.kind == "Restore");
    let namespace = download.namespace().unwrap_or_default();
    owners
        .map(|owner| Key::new(namespace.clone(), owner.name.clone()))
        .collect()
}

struct RestoreOperations {
    context: Context,
    /// By the Restore's UID: the operations as last written to the bucket.
    known: Mutex<BTreeMap<String, Vec<RestoreOperation>>>,
}

#[async_trait]
impl Reconciler for RestoreOperations {
    fn name(&self) -> &'static str {
        "restore-operations"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(restore) = self.context.api::<Restore>().get_opt(&key.name).await? else {
            return Ok(Next::Done);
        };
        let uid = restore.uid().unwrap_or_default();
        if !is_waiting(&restore) {
            self.known.lock().remove(&uid);
            return Ok(Next::Done);
        }
        if let Some(who) = to_cancel(&restore) {
            return self.end(&restore, &who).await;
        }
        let store = open_store(&self.context, &restore).await?;
        exec_hooks::resume(&self.context, &restore, &store).await?;
        let observed = self.observe(&restore, &store).await?;
        match decide(&observed, self.context.clock.now()) {
            Decision::Nothing => Ok(Next::Done),
            Decision::Go(step) => self.act(&restore, &store, *step).await,
        }
    }
}

/// Who wishes that a restore ends, as long as that was not acted on.
fn to_cancel(restore: &Restore) -> Option<String> {
    let said = restore
        .status
        .as_ref()
        .is_some_and(|status| cancel::is_said(&status.failure_reason));
    cancel::wished_by(restore).filter(|_| !said)
}

fn is_waiting(restore: &Restore) -> bool {
    let phase = restore.status.as_ref().and_then(|status| status.phase.as_ref());
    matches!(
        phase,
        Some(
            RestorePhase::WaitingForPluginOperations
                | RestorePhase::WaitingForPluginOperationsPartiallyFailed
        )
    )
}

/// The bucket that a Restore's backup lies in. Its own files go there, too.
pub(crate) async fn open_store(context: &Context, restore: &Restore) -> Result<BackupStore, Error> {
    let backup = context.api::<Backup>().get(&restore.spec.backup_name).await?;
    let location = context.locations.get(&backup.spec.storage_location).await?;
    Ok(context.locations.backup_store(&location).await?)
}

impl RestoreOperations {
    async fn observe(&self, restore: &Restore, store: &BackupStore) -> Result<Observed, Error> {
        let uid = restore.uid().unwrap_or_default();
        let known = self.known.lock().get(&uid).cloned();
        let operations = match known {
            Some(operations) => operations,
            None => store.get_restore_item_operations(&restore.name_any()).await?,
        };
        let selector = format!("{}={uid}", labels::RESTORE_UID);
        let downloads = self
            .context
            .list::<DataDownload>(&ListParams::default().labels(&selector))
            .await?;
        let progress: BTreeMap<_, _> = downloads
            .iter()
            .filter_map(|download| {
                let id = download.labels().get(labels::ASYNC_OPERATION_ID)?;
                Some((id.clone(), operations::progress(download)))
            })
            .collect();
        let attempted = restore
            .status
            .as_ref()
            .map_or(0, |status| status.restore_item_operations_attempted);
        if operations.len() < usize::try_from(attempted).unwrap_or_default() {
            let name = restore.name_any();
            return Err(format!("the bucket holds {} of the {attempted} operations of restore {name}: restore-{name}-itemoperations.json.gz is missing or damaged", operations.len()).into());
        }
        Ok(Observed {
            phase: restore
                .status
                .as_ref()
                .and_then(|status| status.phase.clone())
                .unwrap_or_default(),
            operations,
            progress,
            timeout: restore
                .spec
                .item_operation_timeout
                .map_or(DEFAULT_TIMEOUT, |timeout| timeout.or(DEFAULT_TIMEOUT)),
        })
    }

    async fn act(&self, restore: &Restore, store: &BackupStore, step: Step) -> Result<Next, Error> {
        for id in &step.cancel {
            operations::cancel(&self.context.client, &self.context.namespace, id).await?;
        }
        if step.changed {
            tracing::info!(restore = %restore.name_any(), phase = %step.phase, completed = step.completed, failed = step.failed, "operations have ended");
            store
                .put_restore_item_operations(&restore.name_any(), &step.operations)
                .await?;
            self.write(restore, &step).await?;
        }
        let uid = restore.uid().unwrap_or_default();
        self.known.lock().insert(uid, step.operations);
        Ok(step.next_deadline.map_or(Next::Done, Next::After))
    }

    /// Somebody changed their mind: the downloads are told to end, which ends the operations, and the Restore says why.
    async fn end(&self, restore: &Restore, who: &str) -> Result<Next, Error> {
        let what = "volumes were still being filled; those that were not done are not whole, and what was restored stays";
        let reason = cancel::reason(who, self.context.clock.now(), what);
        tracing::info!(restore = %restore.name_any(), %reason, "restore is canceled");
        cancel_downloads(&self.context, restore).await?;
        let patch = json!({
            "metadata": {"resourceVersion": restore.resource_version()},
            "status": {"failureReason": reason},
        });
        let restores: Api<Restore> = self.context.api();
        let name = restore.name_any();
        restores
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        // The write brings it back.
        Ok(Next::Done)
    }

    /// Where this controller writes how far a Restore is.
    async fn write(&self, restore: &Restore, step: &Step) -> Result<(), kube::Error> {
        let before = restore.status.clone().unwrap_or_default();
        let errors = errors_after(before.errors, before.restore_item_operations_failed, step.failed);
        let patch = json!({
            "metadata": {"resourceVersion": restore.resource_version()},
            "status": {
                "phase": step.phase,
                "errors": errors,
                "restoreItemOperationsCompleted": step.completed,
                "restoreItemOperationsFailed": step.failed,
            },
        });
        let restores: Api<Restore> = self.context.api();
        restores
            .patch(
                &restore.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&patch),
            )
            .await?;
        Ok(())
    }
}

/// `--default-item-operation-timeout`: the restore controller writes it into every Restore; this is for one that a
/// server of another make started.
const DEFAULT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(4 * 60 * 60);
