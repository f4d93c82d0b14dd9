//! A backup whose snapshot is in the storage, and whose objects are in the cluster that made it and were synced into another
//! one (`--csi-snapshot-objects=keep`).

use caravel_backup_store::CsiSnapshotFiles;
use caravel_csi::{VolumeSnapshotContent, keep};

use super::*;
use crate::backup_sync::tests::sync_keeping;
use crate::in_memory::storage::{
    Controllers, DRIVER, Storage, add_class, add_objects, contents, eventually, snapshot_names,
};

/// The cluster that made `b1`, with its bucket and its storage.
struct Here {
    storage: Storage,
    bucket: Bucket,
    server: Server,
    _controllers: Controllers,
}

impl Here {
    async fn new() -> Self {
        let storage = Storage::default();
        storage.add("snap-1");
        let bucket = Bucket::default();
        let server = Server::new(&bucket).await;
        let controllers = storage.serve(&server.cluster).await;
        add_class(&server.cluster).await;
        let uid = server.uid().await;
        let labels = json!({"velero.io/backup-name": "b1", "velero.io/backup-uid": uid,
            "velero.io/exclude-from-backup": "true"});
        add_objects(&server.cluster, "snap-1", labels).await;
        let kept = keep::retain(&server.cluster.context.client, "content-x").await;
        save(&bucket, &uid, &kept.unwrap().unwrap()).await;
        Self {
            storage,
            bucket,
            server,
            _controllers: controllers,
        }
    }

    /// Another cluster, which reaches the same storage, and whose server has synced the backup.
    async fn elsewhere(&self) -> (Server, Controllers) {
        let server = Server::new(&self.bucket).await;
        let controllers = self.storage.serve(&server.cluster).await;
        add_class(&server.cluster).await;
        // As it comes from the bucket, not as `Server` makes it.
        let backups: Api<Backup> = server.cluster.context.api();
        backups.delete("b1", &DeleteParams::default()).await.unwrap();
        sync_keeping(&server.cluster.context).await;
        assert_eq!(contents(&server.cluster).await.len(), 1);
        (server, controllers)
    }

    fn assert_deleted_once(&self) {
        assert_eq!(self.storage.handles(), Vec::<String>::new());
        assert_eq!(self.storage.deletions(), ["snap-1"]);
        assert_eq!(self.bucket.objects.keys(), Vec::<String>::new());
    }
}

impl Server {
    async fn uid(&self) -> String {
        let backup = self.cluster.get::<Backup>("b1").await.unwrap();
        backup.uid().unwrap()
    }
}

/// The folder of the backup, as its finalizer leaves it.
async fn save(bucket: &Bucket, uid: &str, content: &VolumeSnapshotContent) {
    let metadata = json!({"apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": "b1", "namespace": NAMESPACE, "uid": uid}, "spec": {"storageLocation": "default"},
        "status": {"phase": "Completed", "startTimestamp": STARTED, "csiVolumeSnapshotsAttempted": 1}});
    bucket
        .objects
        .insert("backups/b1/velero-backup.json", metadata.to_string());
    let backups = bucket.backups();
    let files = CsiSnapshotFiles {
        contents: vec![serde_json::to_value(content).unwrap()],
        ..CsiSnapshotFiles::default()
    };
    backups.put_csi_snapshots("b1", &files).await.unwrap();
    let volume: BackupVolumeInfo = serde_json::from_value(json!({"pvcNamespace": "shop", "pvcName": "data",
        "backupMethod": "CSISnapshot", "snapshotDataMoved": false,
        "csiSnapshotInfo": {"snapshotHandle": "snap-1", "driver": DRIVER, "vscName": "content-x", "operationID": "o",
            "size": 1}}))
    .unwrap();
    backups.put_volume_info("b1", &[volume]).await.unwrap();
}

async fn nothing_is_left(server: &Server) {
    let cluster = &server.cluster;
    let gone = async || contents(cluster).await.is_empty() && snapshot_names(cluster).await.is_empty();
    eventually("VolumeSnapshot and contents go", gone).await;
    assert!(!server.has_backup().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kept_objects_of_a_snapshot_go_with_their_backup_and_the_snapshot_too() {
    let here = Here::new().await;
    assert_eq!(here.server.delete("d1").await, none());
    here.assert_deleted_once();
    nothing_is_left(&here.server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_content_goes_with_its_snapshot_although_its_namespace_was_lost() {
    let here = Here::new().await;
    let client = &here.server.cluster.context.client;
    caravel_csi::snapshot::delete(client, "shop", "velero-data-x")
        .await
        .unwrap();
    let cluster = &here.server.cluster;
    eventually("the VolumeSnapshot goes", async || {
        snapshot_names(cluster).await.is_empty()
    })
    .await;
    assert_eq!(here.storage.handles(), ["snap-1"], "it was kept");
    assert_eq!(here.server.delete("d1").await, none());
    here.assert_deleted_once();
    nothing_is_left(&here.server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_deletes_the_snapshot_by_its_synced_content() {
    let here = Here::new().await;
    let (there, _controllers) = here.elsewhere().await;
    assert_eq!(there.delete("d1").await, none());
    here.assert_deleted_once();
    nothing_is_left(&there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_clusters_with_one_snapshot_the_second_expires_cleanly_when_it_is_gone_already() {
    // The bucket has forgotten the backup, too.
    let here = Here::new().await;
    let (there, _controllers) = here.elsewhere().await;
    assert_eq!(here.server.delete("d1").await, none());
    assert_eq!(there.delete("d1").await, none());
    here.assert_deleted_once();
    nothing_is_left(&here.server).await;
    nothing_is_left(&there).await;

    // Both in the same moment: the snapshot is gone, and the bucket still has the backup.
    for (synced_first, name) in [(true, "there first"), (false, "after it was gone")] {
        let here = Here::new().await;
        if !synced_first {
            here.storage.remove("snap-1");
        }
        let (there, _controllers) = here.elsewhere().await;
        here.storage.remove("snap-1");
        assert_eq!(there.delete("d1").await, none(), "{name}");
        nothing_is_left(&there).await;
        assert_eq!(here.bucket.objects.keys(), Vec::<String>::new());
        // The other one has its own objects still.
        assert_eq!(here.server.delete("d1").await, none(), "{name}");
        nothing_is_left(&here.server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restore_has_made_of_the_snapshot_is_not_taken_for_the_backups_own_object() {
    let here = Here::new().await;
    let uid = here.server.uid().await;
    let client = here.server.cluster.context.client.clone();
    let restored: VolumeSnapshotContent = serde_json::from_value(json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
        "metadata": {"name": "a-restored", "labels": {"velero.io/backup-name": "b1", "velero.io/backup-uid": uid,
            "velero.io/restore-name": "r1"}},
        "spec": {"driver": DRIVER, "deletionPolicy": "Retain", "source": {"snapshotHandle": "snap-1"},
            "volumeSnapshotRef": {"namespace": "shop", "name": "restored"}}}))
    .unwrap();
    Api::<VolumeSnapshotContent>::all(client)
        .create(&Default::default(), &restored)
        .await
        .unwrap();
    assert_eq!(here.server.delete("d1").await, none());
    here.assert_deleted_once();
    let cluster = &here.server.cluster;
    eventually("only the restored content is left", async || {
        let left = contents(cluster).await;
        left.len() == 1 && left[0].name_any() == "a-restored"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_only_says_that_it_is_the_backups_takes_no_snapshot_with_it() {
    let here = Here::new().await;
    here.storage.add("users");
    let uid = here.server.uid().await;
    let claims_it: VolumeSnapshotContent = serde_json::from_value(json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
        "metadata": {"name": "labelled", "labels": {"velero.io/backup-name": "b1", "velero.io/backup-uid": uid,
            "velero.io/exclude-from-backup": "true"}},
        "spec": {"driver": DRIVER, "deletionPolicy": "Retain", "source": {"snapshotHandle": "users"},
            "volumeSnapshotRef": {"namespace": "shop", "name": "users"}}}))
    .unwrap();
    Api::<VolumeSnapshotContent>::all(here.server.cluster.context.client.clone())
        .create(&Default::default(), &claims_it)
        .await
        .unwrap();
    assert_eq!(here.server.delete("d1").await, none());
    assert_eq!(here.storage.handles(), ["users"]);
}
