//! Backups that a server was running when it ended (velero-behaviour.md 3.7, "server restart").
//!
//! This version starts no backup again: what is found `InProgress` becomes `Failed` with the reason, and its
//! DataUploads are told to stop. `Waiting…` and `Finalizing…` backups go on by themselves. Before anything else, the
//! applications that a pre-hook froze are set going again ([`super::owed_hooks`]).

use std::time::Duration;

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupPhase};
use caravel_api::v2alpha1::DataUpload;
use caravel_hooks::exec::KubeExecutor;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::status::StatusWriter;
use super::{display_name, orphans, owed_hooks};
use crate::context::Context;
use crate::reconcile::Error;

/// A server that starts waits no longer for snapshots to be removed.
const SNAPSHOTS_WITHIN: Duration = Duration::from_secs(60);

/// Fails the backups that a former server left `InProgress`. To be called once, before the controllers start.
///
/// # Errors
/// The API server cannot be asked or told; the server should not start then.
pub async fn recover(context: &Context) -> Result<(), Error> {
    let backups = context.list::<Backup>(&ListParams::default()).await?;
    let executor = KubeExecutor::new(context.client.clone());
    for backup in backups
        .iter()
        .filter(|backup| !owed_hooks::owed(backup).is_empty())
    {
        owed_hooks::pay(&context.client, &executor, backup).await?;
    }
    for backup in backups {
        if backup.phase() != BackupPhase::InProgress {
            continue;
        }
        tracing::warn!(backup = %display_name(&backup), "backup was running when the server ended; it is marked Failed");
        cancel_uploads(context, &backup).await;
        orphans::discard(context, &backup, SNAPSHOTS_WITHIN).await;
        let reason =
            "found a backup with status \"InProgress\" during the server starting, mark it as \"Failed\"";
        let status = json!({"phase": BackupPhase::Failed, "failureReason": reason, "completionTimestamp": context.now()});
        StatusWriter::new(&context.client, backup)
            .write(json!({"status": status}))
            .await?;
    }
    Ok(())
}

/// Tells the DataUploads of a backup to stop. Best effort: the backup has failed already.
pub(super) async fn cancel_uploads(context: &Context, backup: &Backup) {
    let api: Api<DataUpload> = context.api();
    let selector = format!("{}={}", labels::BACKUP_UID, backup.uid().unwrap_or_default());
    let uploads = match context
        .list::<DataUpload>(&ListParams::default().labels(&selector))
        .await
    {
        Ok(uploads) => uploads,
        Err(error) => {
            tracing::warn!(backup = %display_name(backup), %error, "cannot list the DataUploads of a failed backup");
            return;
        }
    };
    for upload in uploads.into_iter().filter(|upload| !upload.phase().is_finished()) {
        let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
        if let Err(error) = api
            .patch(&upload.name_any(), &PatchParams::default(), &patch)
            .await
        {
            tracing::warn!(data_upload = %upload.name_any(), %error, "cannot cancel the DataUpload of a failed backup");
        }
    }
}
