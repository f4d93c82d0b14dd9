//! What a server that ended left of its backups (docs/decisions/0007).
//!
//! Before anything else, the applications that a pre-hook froze are set going again ([`super::owed_hooks`]). What is found
//! `InProgress` begins again, by the controller; before that, what nobody would look for any more goes ([`tidy`]).
//! `Waiting…` and `Finalizing…` backups go on by themselves.

use std::collections::BTreeSet;
use std::time::Duration;

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_api::v2alpha1::DataUpload;
use caravel_hooks::exec::KubeExecutor;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::{display_name, orphans, owed_hooks};
use crate::context::Context;
use crate::reconcile::Error;

/// A backup that begins again waits no longer for snapshots to be removed.
const SNAPSHOTS_WITHIN: Duration = Duration::from_secs(60);

/// Runs the post-hooks that a former server owes. To be called once, before the controllers start.
///
/// # Errors
/// The API server cannot be asked or told; the server should not start then.
pub async fn recover(context: &Context) -> Result<(), Error> {
    for backup in context.list::<Backup>(&ListParams::default()).await? {
        pay(context, &backup).await?;
    }
    Ok(())
}

/// Takes away what an attempt left that its server did not end: frozen applications, and snapshots that no DataUpload
/// names, because nobody knows whether their moment is one that hooks froze.
pub(super) async fn tidy(context: &Context, backup: &Backup) -> Result<(), Error> {
    pay(context, backup).await?;
    orphans::discard(context, backup, &BTreeSet::new(), SNAPSHOTS_WITHIN).await;
    Ok(())
}

async fn pay(context: &Context, backup: &Backup) -> Result<(), Error> {
    if owed_hooks::owed(backup).is_empty() {
        return Ok(());
    }
    let executor = KubeExecutor::new(context.client.clone());
    owed_hooks::pay(&context.client, &executor, backup).await
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
