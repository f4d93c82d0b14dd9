//! The `backup-sync` controller: the backups of a bucket become Backups of the cluster, and Backups whose folder is gone
//! go (velero-behaviour.md 2.7; upstream `pkg/controller/backup_sync_controller.go`). This is how another cluster, or a
//! new one after a disaster, sees what can be restored.
//!
//! A location whose listing fails is left alone as a whole: nothing is deleted because a bucket could not be read.
//!
//! With a backup come the VolumeSnapshotContents of its snapshots, where they are to be in the cluster ([`contents`]); with it
//! go all objects of its snapshots, and no snapshot: that is the business of whoever deletes a backup.

mod contents;
pub mod decide;
mod synced;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::v1::{Backup, BackupStorageLocation, Schedule};
use caravel_backup_store::BackupStore;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::contents::{Contents, Location};
use self::decide::{Found, Turn, found, orphans, turn};
use crate::context::Context;
use crate::reconcile::{Error, Key, Next, Reconciler, Source, chain, run};
use crate::snapshot_objects::{self, SnapshotObjects};

/// The server's flags, as far as the backups of buckets care.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--backup-sync-period`.
    pub default_period: Duration,
    pub snapshot_objects: SnapshotObjects,
}

/// Starts the controller.
pub fn spawn(context: Context, settings: Settings, shutdown: CancellationToken) -> JoinHandle<()> {
    let source = Source::objects(context.api::<BackupStorageLocation>(), watcher::Config::default());
    let sync = BackupSync::new(context, settings);
    tokio::spawn(run(sync, vec![source], 1, shutdown))
}

struct BackupSync {
    context: Context,
    settings: Settings,
    contents: Contents,
}

#[async_trait]
impl Reconciler for BackupSync {
    fn name(&self) -> &'static str {
        "backup-sync"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let api: Api<BackupStorageLocation> = self.context.api();
        let Some(location) = api.get_opt(&key.name).await? else {
            return Ok(Next::Done);
        };
        match turn(&location, self.settings.default_period, self.context.clock.now()) {
            Turn::Never => return Ok(Next::Done),
            Turn::In(left) => return Ok(Next::After(left)),
            Turn::Now => {}
        }
        self.sync(&location).await?;
        let patch = json!({"status": {"lastSyncedTime": self.context.now()}});
        api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(Next::After(self.settings.default_period))
    }
}

impl BackupSync {
    fn new(context: Context, settings: Settings) -> Self {
        Self {
            context,
            settings,
            contents: Contents::default(),
        }
    }

    async fn sync(&self, location: &BackupStorageLocation) -> Result<(), Error> {
        let name = location.name_any();
        let store = self.context.locations.backup_store(location).await?;
        let in_bucket: BTreeSet<String> = store.list_backups().await?.into_iter().collect();
        // Undecodable ones count as there: their names are taken.
        let backups: Api<Backup> = self.context.api();
        let listed = self.context.list::<Backup>(&ListParams::default()).await?;
        let in_cluster: BTreeSet<String> = listed.iter().map(ResourceExt::name_any).collect();
        let schedules = self.schedules().await?;
        let mut brought = BTreeSet::new();
        for missing in in_bucket.difference(&in_cluster) {
            // One that cannot be read must not hold the others back.
            match self.bring(&store, &backups, missing, &name, &schedules).await {
                Ok(()) => {
                    brought.insert(missing.clone());
                }
                Err(error) => {
                    tracing::warn!(backup = %missing, location = %name, error = %chain(&*error), "backup of the bucket is not synced, it is tried again");
                }
            }
        }
        for orphan in orphans(&listed, &name, &in_bucket) {
            // Listed and looked for again: the bucket was listed before the cluster was.
            if !store.backup_exists(&orphan.name_any()).await? {
                // Before the Backup: afterwards nobody would look for them.
                snapshot_objects::release(&self.context.client, orphan).await?;
                self.remove(&backups, orphan).await?;
            }
        }
        match self.settings.snapshot_objects {
            SnapshotObjects::Remove => Ok(()),
            SnapshotObjects::Keep => {
                let location = Location {
                    name: &name,
                    store: &store,
                    in_bucket: &in_bucket,
                    brought: &brought,
                };
                self.contents.sync(&self.context, &location).await
            }
        }
    }

    async fn schedules(&self) -> Result<BTreeSet<(String, String)>, kube::Error> {
        let schedules = self.context.list::<Schedule>(&ListParams::default()).await?;
        let ids = schedules
            .iter()
            .map(|schedule| (schedule.name_any(), schedule.uid().unwrap_or_default()));
        Ok(ids.collect())
    }

    async fn bring(
        &self,
        store: &BackupStore,
        api: &Api<Backup>,
        name: &str,
        location: &str,
        schedules: &BTreeSet<(String, String)>,
    ) -> Result<(), Error> {
        let saved = store.get_backup_metadata(name).await?;
        if saved.name_any() != name {
            return Err(format!(
                "backups/{name}/velero-backup.json is of backup {}: its folder was copied or renamed; rename it back",
                saved.name_any()
            )
            .into());
        }
        match found(
            saved,
            location,
            &self.context.namespace,
            schedules,
            self.context.clock.now(),
        ) {
            Found::Leave(why) => {
                tracing::debug!(backup = %name, location, why, "backup of the bucket is not synced")
            }
            Found::Sync(backup) => match api.create(&PostParams::default(), &backup).await {
                Ok(_) => tracing::info!(backup = %name, location, "backup of the bucket is synced"),
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
                Err(error) => return Err(error.into()),
            },
        }
        Ok(())
    }

    async fn remove(&self, api: &Api<Backup>, orphan: &Backup) -> Result<(), kube::Error> {
        let same = DeleteParams {
            preconditions: Some(Preconditions {
                uid: orphan.uid(),
                resource_version: orphan.resource_version(),
            }),
            ..DeleteParams::default()
        };
        match api.delete(&orphan.name_any(), &same).await {
            Ok(_) => {
                tracing::info!(backup = %orphan.name_any(), "backup is no longer in its bucket, its Backup goes");
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
