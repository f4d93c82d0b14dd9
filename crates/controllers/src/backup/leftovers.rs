//! What a backup that ended too early leaves in the cluster: uploads that nobody waits for, and snapshots that no upload
//! has taken over. Best effort: the backup has failed already, and its own reason is the one that counts.

use std::collections::BTreeSet;
use std::time::Duration;

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_api::v2alpha1::DataUpload;
use caravel_csi::{VolumeSnapshot, snapshot};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::display_name;
use crate::context::Context;

/// A request that was on its way when the run was dropped arrives within this time.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// Ends the uploads of a backup, and deletes its snapshots that no upload owns.
pub(super) async fn remove(context: &Context, backup: &Backup) {
    for last in [false, true] {
        cancel_uploads(context, backup).await;
        if let Err(error) = delete_snapshots(context, backup).await {
            tracing::warn!(backup = %display_name(backup), %error, "snapshots of a failed backup may stay behind; look for VolumeSnapshots with its label velero.io/backup-name");
        }
        if !last {
            tokio::time::sleep(ON_THE_WAY).await;
        }
    }
}

async fn delete_snapshots(
    context: &Context,
    backup: &Backup,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let client = &context.client;
    let of_backup = format!(
        "{}={}",
        labels::BACKUP_NAME,
        labels::label_value(&backup.name_any())
    );
    let api: Api<VolumeSnapshot> = Api::all(client.clone());
    let found = match api.list(&ListParams::default().labels(&of_backup)).await {
        Ok(found) => found.items,
        // A cluster that has no snapshots.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if found.is_empty() {
        return Ok(());
    }
    let selector = format!("{}={}", labels::BACKUP_UID, backup.uid().unwrap_or_default());
    let uploads = context
        .list::<DataUpload>(&ListParams::default().labels(&selector))
        .await?;
    for name in nobodys(&found, &uploads, started(backup)) {
        tracing::info!(backup = %display_name(backup), snapshot = %format!("{}/{}", name.0, name.1), "snapshot of a backup that ended too early is deleted");
        snapshot::delete_with_content(client, &name.0, &name.1).await?;
    }
    Ok(())
}

fn started(backup: &Backup) -> Option<Timestamp> {
    let status = backup.status.as_ref()?;
    status.start_timestamp.as_ref().map(|time| time.0)
}

/// (namespace, name) of the snapshots that no upload has, and that were not there when the backup began: an older one
/// with its label belongs to a former backup of this name, or to a restore.
fn nobodys(
    snapshots: &[VolumeSnapshot],
    uploads: &[DataUpload],
    started: Option<Timestamp>,
) -> Vec<(String, String)> {
    let Some(started) = started else {
        return Vec::new();
    };
    let owned: BTreeSet<(String, String)> = uploads
        .iter()
        .filter_map(|upload| {
            let csi = upload.spec.csi_snapshot.as_ref()?;
            Some((upload.spec.source_namespace.clone(), csi.volume_snapshot.clone()))
        })
        .collect();
    snapshots
        .iter()
        .filter(|snapshot| {
            snapshot
                .creation_timestamp()
                .is_some_and(|time| time.0 >= started)
        })
        .map(|snapshot| (snapshot.namespace().unwrap_or_default(), snapshot.name_any()))
        .filter(|name| !owned.contains(name))
        .collect()
}

async fn cancel_uploads(context: &Context, backup: &Backup) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_snapshots_of_this_run_that_no_upload_has_are_nobodys() {
        let snapshot = |name: &str, created: &str| -> VolumeSnapshot {
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "shop", "creationTimestamp": created},
                "spec": {"source": {"persistentVolumeClaimName": "data"}},
            }))
            .unwrap()
        };
        let upload: DataUpload = serde_json::from_value(json!({"metadata": {"name": "u"},
            "spec": {"sourceNamespace": "shop", "csiSnapshot": {"volumeSnapshot": "owned"}}}))
        .unwrap();
        let snapshots = [
            snapshot("owned", "2026-11-21T10:00:01Z"),
            snapshot("left", "2026-11-21T10:00:00Z"),
            snapshot("older", "2026-11-21T09:59:59Z"),
        ];
        let started = "2026-11-21T10:00:00Z".parse().ok();
        let left = [("shop".to_owned(), "left".to_owned())];
        assert_eq!(nobodys(&snapshots, &[upload], started), left);
        assert!(
            nobodys(&snapshots, &[], None).is_empty(),
            "a backup that did not begin has none"
        );
    }
}
