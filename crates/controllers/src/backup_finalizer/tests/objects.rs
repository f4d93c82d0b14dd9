//! The objects of a snapshot that stays in the storage, at the end of its backup: gone, or kept in the cluster.

use caravel_csi::DeletionPolicy;
use kube::api::{Patch, PatchParams};

use super::*;
use crate::in_memory::storage::{
    Controllers, Storage, add_class, add_objects, contents, eventually, snapshot_names,
};

/// A server with the snapshot `snap-1` of its backup, whose operation has ended like this.
struct WithSnapshot {
    server: Server,
    storage: Storage,
    _controllers: Controllers,
}

impl WithSnapshot {
    async fn new(objects: SnapshotObjects, phase: OperationPhase) -> Self {
        let mut server = Server::new(&[]).await;
        server.controller.settings.snapshot_objects = objects;
        let storage = Storage::default();
        storage.add("snap-1");
        let controllers = storage.serve(&server.cluster).await;
        add_class(&server.cluster).await;
        let backup: Backup = server.cluster.get("b1").await.unwrap();
        let labels = json!({labels::BACKUP_NAME: "b1", labels::BACKUP_UID: backup.uid()});
        add_objects(&server.cluster, "snap-1", labels).await;
        let store = server.bucket.backups();
        store
            .put_item_operations("b1", &[operation(phase)])
            .await
            .unwrap();
        Self {
            server,
            storage,
            _controllers: controllers,
        }
    }

    async fn finalize(&self) {
        assert_eq!(self.server.finalize().await.unwrap(), Next::Done);
    }

    async fn merge(&self, patch: Value) {
        let backups = self.server.cluster.context.api::<Backup>();
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        backups.patch("b1", &params, &patch).await.unwrap();
    }

    /// Nothing of the snapshot is in the cluster, and it is in the storage.
    async fn assert_released(&self) {
        let cluster = &self.server.cluster;
        let gone = async || contents(cluster).await.is_empty() && snapshot_names(cluster).await.is_empty();
        eventually("VolumeSnapshot and content go", gone).await;
        assert_eq!(self.storage.handles(), ["snap-1"]);
    }

    /// The objects are in the cluster, kept and marked; what a restore would make has no mark.
    async fn assert_kept(&self) {
        let content = contents(&self.server.cluster).await.remove(0);
        assert_eq!(content.spec.deletion_policy, DeletionPolicy::Retain);
        assert_eq!(content.labels()[labels::EXCLUDE_FROM_BACKUP], "true");
        assert_eq!(snapshot_names(&self.server.cluster).await, ["velero-data-x"]);
        let files = self
            .server
            .bucket
            .backups()
            .get_csi_snapshots("b1")
            .await
            .unwrap();
        assert_eq!((files.snapshots.len(), files.contents.len()), (1, 1));
        assert_eq!(files.contents[0]["spec"]["deletionPolicy"], "Retain");
        for object in files.snapshots.iter().chain(&files.contents) {
            let labelled = &object["metadata"]["labels"];
            assert_eq!(labelled[labels::BACKUP_NAME], "b1");
            assert!(labelled.get(labels::EXCLUDE_FROM_BACKUP).is_none(), "{object}");
        }
    }
}

fn operation(phase: OperationPhase) -> BackupOperation {
    let id = |resource: &str, namespace: &str, name: &str| ResourceIdentifier {
        group: "snapshot.storage.k8s.io".into(),
        resource: resource.into(),
        namespace: namespace.into(),
        name: name.into(),
    };
    let mut operation = BackupOperation::default();
    operation.spec.backup_item_action = caravel_backup::item_actions::snapshots::NAME.to_owned();
    operation.spec.operation_id = "shop/velero-data-x/2026-11-21T22:00:00Z".to_owned();
    operation.spec.resource_identifier = id("volumesnapshots", "shop", "velero-data-x");
    operation.spec.post_operation_items = vec![
        id("volumesnapshots", "shop", "velero-data-x"),
        id("volumesnapshotcontents", "", "content-x"),
    ];
    if phase == OperationPhase::Failed {
        operation.status.error = "the driver hangs".to_owned();
    }
    operation.status.phase = phase;
    operation
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keep_the_objects_of_a_snapshot_stay_with_retain_out_of_other_backups_also_when_it_is_done_again()
 {
    let world = WithSnapshot::new(SnapshotObjects::Keep, OperationPhase::Completed).await;
    world.finalize().await;
    assert_eq!(world.server.ended().await, (BackupPhase::Completed, 0));
    world.assert_kept().await;
    // A server that died before it could say Completed.
    world.merge(json!({"status": {"phase": "Finalizing"}})).await;
    world.finalize().await;
    world.assert_kept().await;
    assert!(world.storage.deletions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_remove_the_objects_of_a_snapshot_go_and_it_stays_in_the_storage() {
    let world = WithSnapshot::new(SnapshotObjects::Remove, OperationPhase::Completed).await;
    world.finalize().await;
    assert_eq!(world.server.ended().await.0, BackupPhase::Completed);
    world.assert_released().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keep_the_objects_of_a_snapshot_that_failed_go() {
    let world = WithSnapshot::new(SnapshotObjects::Keep, OperationPhase::Failed).await;
    world.finalize().await;
    assert_eq!(world.server.ended().await.0, BackupPhase::PartiallyFailed);
    world.assert_released().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keep_nothing_of_a_canceled_backup_is_left_in_the_cluster() {
    let world = WithSnapshot::new(SnapshotObjects::Keep, OperationPhase::Completed).await;
    world
        .merge(json!({"metadata": {"annotations": {cancel::CANCEL: "alice"}}}))
        .await;
    world.finalize().await;
    world.assert_released().await;
}
