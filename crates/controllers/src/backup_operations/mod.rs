//! The `backup-operations` controller: follows what the item actions left running (the DataUploads, and the snapshots that
//! stay in the storage), and moves the backup on when all of it has ended. Upstream:
//! `pkg/controller/backup_operations_controller.go`, which asks every 10 s; here every change of a DataUpload or
//! VolumeSnapshot wakes its backup.

pub mod decide;
mod snapshots;

use std::collections::BTreeMap;

use async_trait::async_trait;
use caravel_api::labels;
use caravel_api::v1::{Backup, BackupPhase, BackupStorageLocation, BackupStorageLocationAccessMode};
use caravel_api::v2alpha1::DataUpload;
use caravel_backup::item_actions::pvc::progress_of;
use caravel_backup_store::item_operations::BackupOperation;
use caravel_backup_store::{BackupStore, encode_metadata};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::watcher;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::decide::{Decision, Observed, counters, decide, errors_after};
use crate::backup::status::StatusWriter;
use crate::cancel;
use crate::context::Context;
use crate::reconcile::{Error, Key, Next, Reconciler, Source, run};

/// How often progress alone is saved in the bucket: Velero's `--item-operation-sync-frequency`.
pub const DEFAULT_SYNC_FREQUENCY: std::time::Duration = std::time::Duration::from_secs(10);

/// The server's flags, as far as operations care.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--item-operation-sync-frequency`: at least this long between two saves of mere progress.
    pub sync_frequency: std::time::Duration,
    /// `--default-item-operation-timeout`.
    pub item_operation_timeout: std::time::Duration,
}

/// Starts the controller.
pub fn spawn(context: Context, settings: Settings, shutdown: CancellationToken) -> JoinHandle<()> {
    let namespace = context.namespace.clone();
    let uploads = Source::watch(
        context.api::<DataUpload>(),
        watcher::Config::default(),
        move |upload: &DataUpload| {
            owner(upload)
                .map(|backup| Key::new(&namespace, backup))
                .into_iter()
                .collect()
        },
    );
    let backups = Source::objects(context.api::<Backup>(), watcher::Config::default());
    let snapshots = snapshots::source(&context);
    let controller = BackupOperations {
        context,
        settings,
        saved: Mutex::default(),
    };
    tokio::spawn(run(controller, vec![uploads, snapshots, backups], 4, shutdown))
}

/// The Backup's own name: the label's may be shortened.
fn owner(upload: &DataUpload) -> Option<String> {
    let owners = upload.owner_references().iter();
    owners
        .filter(|owner| owner.kind == "Backup")
        .map(|owner| owner.name.clone())
        .next()
}

struct BackupOperations {
    context: Context,
    settings: Settings,
    /// What the bucket has, by Backup UID; read once, ours from then on.
    saved: Mutex<BTreeMap<String, Saved>>,
}

#[derive(Clone)]
struct Saved {
    operations: Vec<BackupOperation>,
    at: Timestamp,
}

#[async_trait]
impl Reconciler for BackupOperations {
    fn name(&self) -> &'static str {
        "backup-operations"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(backup) = self.context.api::<Backup>().get_opt(&key.name).await? else {
            return Ok(Next::Done);
        };
        let uid = backup.uid().unwrap_or_default();
        if !is_waiting(&backup.phase()) {
            self.saved.lock().remove(&uid);
            return Ok(Next::Done);
        }
        if let Some(who) = to_cancel(&backup) {
            return self.end(backup, &who).await;
        }
        let location = self.location(&backup).await?;
        let store = match &location {
            Ok(location) => Some(self.context.locations.backup_store(location).await?),
            Err(_) => None,
        };
        let saved = self.saved(&backup, store.as_ref()).await?;
        let mut progress = self.progress(&uid).await?;
        let client = &self.context.client;
        let of_snapshots = snapshots::progress(client, &backup, &saved.operations, self.context.clock.now());
        progress.extend(of_snapshots.await?);
        let observed = Observed {
            phase: backup.phase(),
            operations: saved.operations.clone(),
            progress,
            timeout: backup
                .spec
                .item_operation_timeout
                .unwrap_or_default()
                .or(self.settings.item_operation_timeout),
            location_error: location.err(),
        };
        let decision = decide(&observed, self.context.clock.now());
        tracing::debug!(backup = %key, ?decision, "operations looked at");
        self.act(backup, store, saved, decision).await
    }
}

impl BackupOperations {
    async fn act(
        &self,
        backup: Backup,
        store: Option<BackupStore>,
        saved: Saved,
        decision: Decision,
    ) -> Result<Next, Error> {
        let Some(store) = store else {
            let Decision::GiveUp { reason } = decision else {
                return Err("the backup has no location".into());
            };
            return self.give_up(backup, &reason).await;
        };
        let (operations, cancel, phase, next) = match decision {
            Decision::GiveUp { reason } => return self.give_up(backup, &reason).await,
            Decision::Wait {
                operations,
                next_deadline,
            } => {
                let next_deadline = next_deadline.min(snapshots::look_again(&operations));
                let wait = self.save_progress(&backup, &store, saved, operations).await?;
                return Ok(Next::After(
                    wait.map_or(next_deadline, |wait| wait.min(next_deadline)),
                ));
            }
            Decision::Update {
                operations,
                cancel,
                phase,
                next_deadline,
            } => {
                let next = next_deadline.min(snapshots::look_again(&operations));
                (operations, cancel, phase, Next::After(next))
            }
            Decision::Finalize {
                operations,
                cancel,
                phase,
            } => (operations, cancel, phase, Next::Done),
        };
        self.cancel(&backup, &cancel).await?;
        let (attempted, completed, failed) = counters(&operations);
        let before = backup.status.clone().unwrap_or_default();
        let errors = errors_after(before.errors, before.backup_item_operations_failed, failed);
        let status = json!({
            "phase": phase,
            "errors": errors,
            "backupItemOperationsAttempted": attempted,
            "backupItemOperationsCompleted": completed,
            "backupItemOperationsFailed": failed,
        });
        let mut later = backup.clone();
        let later_status = later.status.get_or_insert_default();
        later_status.phase = Some(phase.clone());
        later_status.errors = errors;
        later_status.backup_item_operations_attempted = i32::try_from(attempted)?;
        later_status.backup_item_operations_completed = i32::try_from(completed)?;
        later_status.backup_item_operations_failed = i32::try_from(failed)?;
        self.save(&backup, &store, operations).await?;
        if next != Next::Done {
            // At the end the finalizer writes it, a moment later.
            store
                .put_backup_metadata(&backup.name_any(), &encode_metadata(&later)?)
                .await?;
        }
        tracing::info!(backup = %backup.name_any(), %phase, completed, failed, attempted, "operations of a backup ended");
        StatusWriter::new(&self.context.client, backup)
            .write(json!({"status": status}))
            .await?;
        Ok(next)
    }

    /// Saves mere progress if the last save is old enough; else says when it will be. None: nothing to save.
    async fn save_progress(
        &self,
        backup: &Backup,
        store: &BackupStore,
        saved: Saved,
        operations: Vec<BackupOperation>,
    ) -> Result<Option<std::time::Duration>, Error> {
        if saved.operations == operations {
            return Ok(None);
        }
        let age = self.context.clock.now().duration_since(saved.at);
        let age = std::time::Duration::try_from(age).unwrap_or_default();
        match self.settings.sync_frequency.checked_sub(age) {
            Some(wait) if !wait.is_zero() => Ok(Some(wait)),
            _ => {
                self.save(backup, store, operations).await?;
                Ok(None)
            }
        }
    }

    async fn save(
        &self,
        backup: &Backup,
        store: &BackupStore,
        operations: Vec<BackupOperation>,
    ) -> Result<(), Error> {
        store.put_item_operations(&backup.name_any(), &operations).await?;
        self.remember(backup, operations);
        Ok(())
    }

    fn remember(&self, backup: &Backup, operations: Vec<BackupOperation>) -> Saved {
        let saved = Saved {
            operations,
            at: self.context.clock.now(),
        };
        self.saved
            .lock()
            .insert(backup.uid().unwrap_or_default(), saved.clone());
        saved
    }

    async fn saved(&self, backup: &Backup, store: Option<&BackupStore>) -> Result<Saved, Error> {
        let known = self.saved.lock().get(&backup.uid().unwrap_or_default()).cloned();
        match (known, store) {
            (Some(saved), _) => Ok(saved),
            (None, Some(store)) => {
                let operations = store.get_item_operations(&backup.name_any()).await?;
                Ok(self.remember(backup, operations))
            }
            (None, None) => Ok(Saved {
                operations: Vec::new(),
                at: self.context.clock.now(),
            }),
        }
    }

    /// The backup's location, or why nothing can be saved there any more. One that is only unavailable is waited for.
    async fn location(&self, backup: &Backup) -> Result<Result<BackupStorageLocation, String>, Error> {
        let name = &backup.spec.storage_location;
        let found = self.context.api::<BackupStorageLocation>().get_opt(name).await?;
        Ok(match found {
            None => Err(format!("BackupStorageLocation {name} does not exist any more")),
            Some(location)
                if location.spec.access_mode == Some(BackupStorageLocationAccessMode::ReadOnly) =>
            {
                Err(format!("BackupStorageLocation {name} is read-only now"))
            }
            Some(location) => Ok(location),
        })
    }

    async fn progress(
        &self,
        uid: &str,
    ) -> Result<BTreeMap<String, caravel_item_action::OperationProgress>, Error> {
        let selector = format!("{}={uid}", labels::BACKUP_UID);
        let uploads = self
            .context
            .list::<DataUpload>(&ListParams::default().labels(&selector))
            .await?;
        let by_id = uploads.iter().filter_map(|upload| {
            let id = upload.labels().get(labels::ASYNC_OPERATION_ID)?;
            Some((id.clone(), progress_of(upload)))
        });
        Ok(by_id.collect())
    }

    async fn cancel(&self, backup: &Backup, operation_ids: &[String]) -> Result<(), Error> {
        let api: Api<DataUpload> = self.context.api();
        // Whatever else an id stands for cannot be canceled: CSI has no way to end the making of a snapshot.
        let of_uploads = operation_ids
            .iter()
            .filter(|id| id.starts_with(labels::DATA_UPLOAD_OPERATION_PREFIX));
        for id in of_uploads {
            tracing::warn!(backup = %backup.name_any(), operation = %id, "operation timed out, its DataUpload is canceled");
            let selector = format!("{}={id}", labels::ASYNC_OPERATION_ID);
            let operation = ListParams::default().labels(&selector);
            for upload in self.context.list::<DataUpload>(&operation).await? {
                let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
                api.patch(&upload.name_any(), &PatchParams::default(), &patch)
                    .await?;
            }
        }
        Ok(())
    }

    /// Somebody changed their mind: the uploads are told to end, which ends the operations, and the Backup says why.
    async fn end(&self, backup: Backup, who: &str) -> Result<Next, Error> {
        let what = "the data of its volumes was still being moved, and what was not there yet is not saved";
        let reason = cancel::reason(who, self.context.clock.now(), what);
        tracing::info!(backup = %backup.name_any(), %reason, "backup is canceled");
        let selector = format!("{}={}", labels::BACKUP_UID, backup.uid().unwrap_or_default());
        let api: Api<DataUpload> = self.context.api();
        for upload in self
            .context
            .list::<DataUpload>(&ListParams::default().labels(&selector))
            .await?
        {
            if !upload.phase().is_finished() {
                let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
                api.patch(&upload.name_any(), &PatchParams::default(), &patch)
                    .await?;
            }
        }
        StatusWriter::new(&self.context.client, backup)
            .write(json!({"status": {"failureReason": reason}}))
            .await?;
        // The write brings it back.
        Ok(Next::Done)
    }

    async fn give_up(&self, backup: Backup, reason: &str) -> Result<Next, Error> {
        tracing::error!(backup = %backup.name_any(), reason, "operations of a backup cannot be saved, it ends here");
        let errors = backup.status.as_ref().map_or(0, |status| status.errors);
        let status = json!({
            "phase": BackupPhase::PartiallyFailed,
            "failureReason": reason,
            "errors": errors.saturating_add(1),
            "completionTimestamp": self.context.now(),
        });
        StatusWriter::new(&self.context.client, backup)
            .write(json!({"status": status}))
            .await?;
        Ok(Next::Done)
    }
}

/// Who wishes that a backup ends, as long as that was not acted on.
fn to_cancel(backup: &Backup) -> Option<String> {
    let said = backup
        .status
        .as_ref()
        .is_some_and(|status| cancel::is_said(&status.failure_reason));
    cancel::wished_by(backup).filter(|_| !said)
}

fn is_waiting(phase: &BackupPhase) -> bool {
    matches!(
        phase,
        BackupPhase::WaitingForPluginOperations | BackupPhase::WaitingForPluginOperationsPartiallyFailed
    )
}
