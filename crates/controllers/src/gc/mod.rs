//! The `gc` controller: asks for the deletion of backups whose time is over (velero-behaviour.md 3.9; upstream
//! `pkg/controller/gc_controller.go`). `backup_deletion` deletes.
//!
//! Looked at when a backup changes, when it expires, and every `--garbage-collection-frequency`.

pub mod decide;

use std::time::Duration;

use async_trait::async_trait;
use caravel_api::labels;
use caravel_api::v1::{Backup, BackupStorageLocation, DeleteBackupRequest};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::decide::{Decision, Observed, decide};
use crate::context::Context;
use crate::reconcile::{Error, Key, Next, Reconciler, Source, run};

/// Starts the controller. `frequency`: `--garbage-collection-frequency`.
pub fn spawn(context: Context, frequency: Duration, shutdown: CancellationToken) -> JoinHandle<()> {
    let source = Source::objects(context.api::<Backup>(), watcher::Config::default());
    tokio::spawn(run(Gc { context, frequency }, vec![source], 1, shutdown))
}

struct Gc {
    context: Context,
    frequency: Duration,
}

#[async_trait]
impl Reconciler for Gc {
    fn name(&self) -> &'static str {
        "gc"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(backup) = self.context.api::<Backup>().get_opt(&key.name).await? else {
            return Ok(Next::Done);
        };
        let now = self.context.clock.now();
        if let Some(left) = decide::left(&backup, now) {
            return Ok(Next::After(left.min(self.frequency)));
        }
        let location = &backup.spec.storage_location;
        let observed = Observed {
            location: self
                .context
                .api::<BackupStorageLocation>()
                .get_opt(location)
                .await?,
            requests: self.requests(&backup).await?,
            backup,
            frequency: self.frequency,
        };
        let decision = decide(&observed, now);
        match &decision {
            Decision::Nothing => return Ok(Next::Done),
            Decision::Pending => {}
            Decision::Wait(failure) => {
                tracing::warn!(backup = %key, ?failure, "backup has expired and cannot be deleted: see its location");
                self.label(&observed.backup, failure.map(|failure| failure.to_string()))
                    .await?;
            }
            Decision::Request => {
                self.label(&observed.backup, None).await?;
                self.request(&observed.backup).await?;
                tracing::info!(backup = %key, "backup has expired, its deletion is requested");
            }
        }
        Ok(Next::After(self.frequency))
    }
}

impl Gc {
    async fn requests(&self, backup: &Backup) -> Result<Vec<DeleteBackupRequest>, kube::Error> {
        let uid = backup.uid().unwrap_or_default();
        let name = labels::label_value(&backup.name_any());
        let selector = format!("{}={name},{}={uid}", labels::BACKUP_NAME, labels::BACKUP_UID);
        self.context.list(&ListParams::default().labels(&selector)).await
    }

    /// Says on the Backup why it stays, or takes that off.
    async fn label(&self, backup: &Backup, failure: Option<String>) -> Result<(), kube::Error> {
        if backup.labels().get(decide::GC_FAILURE) == failure.as_ref() {
            return Ok(());
        }
        let patch = json!({"metadata": {"labels": {decide::GC_FAILURE: failure}}});
        let api: Api<Backup> = self.context.api();
        api.patch(&backup.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map(drop)
    }

    async fn request(&self, backup: &Backup) -> Result<(), kube::Error> {
        let request = decide::request_for(backup, &self.context.namespace);
        let api: Api<DeleteBackupRequest> = self.context.api();
        api.create(&PostParams::default(), &request).await.map(drop)
    }
}
