//! Snapshots that a backup took and that nobody will ever remove, no DataUpload and no finalizer: the server was killed
//! between the two, or one of the requests was done without its answer being heard. Nobody else would look for them, and
//! storage charges for them.
//!
//! What is removed here goes from the storage, too: it is called only of a backup that is InProgress in this very process, or
//! has failed, and never of a snapshot that one of the backup's operations is for.

use std::collections::BTreeSet;
use std::time::Duration;

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_api::v2alpha1::DataUpload;
use caravel_csi::{VolumeSnapshot, snapshot};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::display_name;
use crate::context::Context;
use crate::reconcile::Error;

/// Between two tries.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Namespace and name of VolumeSnapshots.
type Names = BTreeSet<(String, String)>;

/// Removes them, but not those that are `kept` in the storage. To be called when nothing takes snapshots for this backup any
/// more. What cannot be removed for `timeout` is said, and left: it is no reason to give up a backup, or not to start a
/// server.
pub(super) async fn discard(context: &Context, backup: &Backup, kept: &Names, timeout: Duration) {
    let deadline = tokio::time::Instant::now() + timeout;
    while let Err(error) = try_discard(context, backup, kept).await {
        let (display, backup) = (backup, display_name(backup));
        if tokio::time::Instant::now() >= deadline {
            let selector = format!("{}={}", labels::BACKUP_UID, display.uid().unwrap_or_default());
            tracing::error!(
                %backup, %error,
                "snapshots of this backup that nothing uses may be left; look with: kubectl get volumesnapshots -A -l {selector}"
            );
            return;
        }
        tracing::warn!(%backup, %error, "cannot look for snapshots that nothing uses; tried again in {} s", RETRY_INTERVAL.as_secs());
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

async fn try_discard(context: &Context, backup: &Backup, kept: &Names) -> Result<(), Error> {
    // By UID, which only this version writes: a backup of the same name may have had snapshots that are to be kept.
    let Some(uid) = backup.uid().filter(|uid| !uid.is_empty()) else {
        return Ok(());
    };
    let of_backup = format!("{}={uid}", labels::BACKUP_UID);
    let of_backup = ListParams::default().labels(&of_backup);
    let snapshots = Api::<VolumeSnapshot>::all(context.client.clone());
    let taken = match snapshots.list(&of_backup).await {
        Ok(taken) => taken.items,
        // A cluster without snapshots.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if taken.is_empty() {
        return Ok(());
    }
    let uploads = context.list::<DataUpload>(&of_backup).await?;
    for orphan in orphans(&taken, &uploads, kept) {
        tracing::warn!(
            backup = %display_name(backup), volume_snapshot = %format!("{}/{}", orphan.0, orphan.1),
            "nothing of the backup uses this snapshot; it is deleted"
        );
        snapshot::delete_with_content(&context.client, &orphan.0, &orphan.1).await?;
    }
    Ok(())
}

/// Namespace and name of the snapshots that no upload names and that are not kept.
fn orphans(taken: &[VolumeSnapshot], uploads: &[DataUpload], kept: &Names) -> Names {
    let named: BTreeSet<(&str, &str)> = uploads
        .iter()
        .filter_map(|upload| {
            let snapshot = upload.spec.csi_snapshot.as_ref()?;
            Some((
                upload.spec.source_namespace.as_str(),
                snapshot.volume_snapshot.as_str(),
            ))
        })
        .collect();
    let names = taken
        .iter()
        .map(|snapshot| (snapshot.namespace().unwrap_or_default(), snapshot.name_any()));
    names
        .filter(|names| !kept.contains(names) && !named.contains(&(names.0.as_str(), names.1.as_str())))
        .collect()
}

#[cfg(test)]
mod tests {
    use caravel_api::v2alpha1::{CsiSnapshotSpec, DataUploadSpec};
    use caravel_csi::VolumeSnapshotSpec;
    use serde_json::json;

    use super::*;
    use crate::in_memory::storage::{Storage, add_objects, eventually, snapshot_names};
    use crate::in_memory::{Bucket, Cluster};

    fn taken(namespace: &str, name: &str) -> VolumeSnapshot {
        let mut snapshot = VolumeSnapshot::new(name, VolumeSnapshotSpec::default());
        snapshot.metadata.namespace = Some(namespace.to_owned());
        snapshot
    }

    fn upload(namespace: &str, snapshot: &str) -> DataUpload {
        let csi_snapshot = CsiSnapshotSpec {
            volume_snapshot: snapshot.to_owned(),
            ..CsiSnapshotSpec::default()
        };
        let spec = DataUploadSpec {
            csi_snapshot: Some(csi_snapshot),
            source_namespace: namespace.to_owned(),
            ..DataUploadSpec::default()
        };
        DataUpload::new("u", spec)
    }

    /// `--csi-snapshot-objects=keep`, while another backup of the namespace ends.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_objects_that_another_backup_keeps_in_the_cluster_are_nobody_elses_orphans() {
        let storage = Storage::default();
        storage.add("snap-1");
        let cluster = Cluster::new(&Bucket::default()).await;
        let _controllers = storage.serve(&cluster).await;
        let kept = json!({"velero.io/backup-name": "b1", "velero.io/backup-uid": "uid-1",
            "velero.io/exclude-from-backup": "true"});
        add_objects(&cluster, "snap-1", kept).await;
        let ends = async |uid: &str| {
            // The same name is another backup when it has another UID.
            let mut backup = Backup::new("b1", Default::default());
            backup.metadata.uid = Some(uid.to_owned());
            try_discard(&cluster.context, &backup, &Names::new())
                .await
                .unwrap();
        };
        ends("uid-2").await;
        assert_eq!(snapshot_names(&cluster).await, ["velero-data-x"]);
        assert_eq!(storage.handles(), ["snap-1"]);
        // What is looked for is found: of its own backup it would be an orphan, had that failed.
        ends("uid-1").await;
        eventually("the orphan goes", async || storage.handles().is_empty()).await;
    }

    #[test]
    fn only_a_snapshot_that_no_upload_names_and_that_does_not_stay_is_an_orphan() {
        let snapshots = [
            taken("shop", "a"),
            taken("shop", "b"),
            taken("desk", "a"),
            taken("desk", "kept"),
        ];
        let kept = [("desk".to_owned(), "kept".to_owned())].into();
        let found = orphans(&snapshots, &[upload("shop", "a")], &kept);
        let wanted = [("desk", "a"), ("shop", "b")];
        assert_eq!(
            found,
            wanted
                .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
                .into()
        );
    }
}
