//! Backups that a server was running when it ended (velero-behaviour.md 3.7, "server restart").
//!
//! This version starts no backup again: what is found `InProgress` becomes `Failed` with the reason, and its
//! DataUploads are told to stop. `Waiting…` and `Finalizing…` backups go on by themselves.

use caravel_api::v1::{Backup, BackupPhase};
use kube::api::ListParams;
use serde_json::json;

use super::status::StatusWriter;
use super::{display_name, leftovers};
use crate::context::Context;
use crate::reconcile::Error;

/// Fails the backups that a former server left `InProgress`. To be called once, before the controllers start.
///
/// # Errors
/// The API server cannot be asked or told; the server should not start then.
pub async fn recover(context: &Context) -> Result<(), Error> {
    for backup in context.list::<Backup>(&ListParams::default()).await? {
        if backup.phase() != BackupPhase::InProgress {
            continue;
        }
        tracing::warn!(backup = %display_name(&backup), "backup was running when the server ended; it is marked Failed");
        leftovers::remove(context, &backup).await;
        let reason =
            "found a backup with status \"InProgress\" during the server starting, mark it as \"Failed\"";
        let status = json!({"phase": BackupPhase::Failed, "failureReason": reason, "completionTimestamp": context.now()});
        StatusWriter::new(&context.client, backup)
            .write(json!({"status": status}))
            .await?;
    }
    Ok(())
}
