//! VolumeSnapshotContents that come and go with the backups of a bucket, over clusters, a bucket and a storage in memory.

use caravel_backup_store::CsiSnapshotFiles;
use caravel_csi::{DeletionPolicy, keep};
use serde_json::Value;

use super::*;
use crate::in_memory::storage::{
    DRIVER, Storage, add_class, add_objects, contents, eventually, snapshot_names,
};
use crate::in_memory::{Bucket, Cluster};

/// What a server with `--csi-snapshot-objects=keep` makes of the location `default` when it looks at it once.
pub(crate) async fn sync_keeping(context: &Context) {
    look(&server(context, SnapshotObjects::Keep)).await;
}

fn server(context: &Context, snapshot_objects: SnapshotObjects) -> BackupSync {
    let settings = Settings {
        default_period: Duration::from_secs(60),
        snapshot_objects,
    };
    BackupSync::new(context.clone(), settings)
}

async fn look(server: &BackupSync) {
    let locations = server.context.api::<BackupStorageLocation>();
    let location = locations.get("default").await.unwrap();
    server.sync(&location).await.unwrap();
}

/// A content of the backup `b1`, whose UID was `there`, as its file has it; `labels`: beside the backup's name.
fn saved(name: &str, handle: &str, labels: Value) -> Value {
    let mut content = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {"velero.io/backup-name": "b1"}},
        "spec": {"driver": DRIVER, "deletionPolicy": "Delete", "source": {"volumeHandle": "volume-1"},
            "volumeSnapshotRef": {"namespace": "shop", "name": format!("velero-{name}"), "uid": "vs"}},
        "status": {"snapshotHandle": handle, "readyToUse": true}});
    let own = content["metadata"]["labels"].as_object_mut().unwrap();
    own.extend(labels.as_object().unwrap().clone());
    content
}

/// A bucket with the backup `b1`, made elsewhere, and the file of its contents.
async fn bucket(uid: &str, contents: Vec<Value>) -> Bucket {
    let bucket = Bucket::default();
    let metadata = json!({"apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": "b1", "namespace": "velero", "uid": uid}, "spec": {"storageLocation": "default"},
        "status": {"phase": "Completed", "csiVolumeSnapshotsAttempted": contents.len()}});
    bucket
        .objects
        .insert("backups/b1/velero-backup.json", metadata.to_string());
    let files = CsiSnapshotFiles {
        contents,
        ..CsiSnapshotFiles::default()
    };
    bucket.backups().put_csi_snapshots("b1", &files).await.unwrap();
    bucket
}

async fn one_snapshot() -> (Bucket, Storage) {
    let storage = Storage::default();
    storage.add("snap-1");
    let contents = vec![saved(
        "content-1",
        "snap-1",
        json!({"velero.io/backup-uid": "there"}),
    )];
    (bucket("there", contents).await, storage)
}

async fn backup_uid(cluster: &Cluster) -> String {
    cluster.get::<Backup>("b1").await.unwrap().uid().unwrap()
}

async fn names(cluster: &Cluster) -> Vec<String> {
    contents(cluster)
        .await
        .iter()
        .map(ResourceExt::name_any)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_the_bucket_brings_a_content_of_each_snapshot_once_and_none_of_somebody_elses() {
    let storage = Storage::default();
    storage.add("snap-1");
    let of = |uid: &str| json!({"velero.io/backup-uid": uid});
    let contents_of = vec![
        saved("content-1", "snap-1", of("there")),
        saved("content-2", "snap-2", of("there")),
        saved("earlier", "snap-3", of("before")),
        saved("users", "snap-4", json!({"velero.io/backup-name": "nightly"})),
    ];
    let bucket = bucket("there", contents_of).await;
    let cluster = Cluster::new(&bucket).await;
    let _controllers = storage.serve(&cluster).await;
    add_class(&cluster).await;
    let server = server(&cluster.context, SnapshotObjects::Keep);
    look(&server).await;
    let made = contents(&cluster).await;
    let handles: BTreeSet<_> = made.iter().filter_map(|content| content.handle()).collect();
    assert_eq!(handles, ["snap-1", "snap-2"].into());
    let uid = backup_uid(&cluster).await;
    for content in &made {
        assert_eq!(content.spec.deletion_policy, DeletionPolicy::Retain);
        assert_eq!(
            content.spec.volume_snapshot_ref.namespace.as_deref(),
            Some("shop")
        );
        assert_eq!(content.labels()[caravel_api::labels::BACKUP_NAME], "b1");
        assert_eq!(content.labels()[caravel_api::labels::BACKUP_UID], uid);
    }
    let before = names(&cluster).await;
    look(&server).await;
    // Another server, which remembers nothing.
    sync_keeping(&cluster.context).await;
    assert_eq!(names(&cluster).await, before);
    assert!(storage.deletions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_content_comes_with_remove_or_into_a_cluster_without_snapshots_and_the_backup_comes_all_the_same()
{
    let (bucket, storage) = one_snapshot().await;
    let cluster = Cluster::new(&bucket).await;
    let _controllers = storage.serve(&cluster).await;
    add_class(&cluster).await;
    look(&server(&cluster.context, SnapshotObjects::Remove)).await;
    assert_eq!(names(&cluster).await, Vec::<String>::new());
    backup_uid(&cluster).await;

    let without = Cluster::new(&bucket).await;
    sync_keeping(&without.context).await;
    backup_uid(&without).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_comes_when_its_driver_gets_a_class_and_not_before() {
    let (bucket, storage) = one_snapshot().await;
    let cluster = Cluster::new(&bucket).await;
    let _controllers = storage.serve(&cluster).await;
    let server = server(&cluster.context, SnapshotObjects::Keep);
    look(&server).await;
    look(&server).await;
    assert_eq!(names(&cluster).await, Vec::<String>::new());
    add_class(&cluster).await;
    look(&server).await;
    assert_eq!(names(&cluster).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_does_not_count_its_snapshots_gets_its_contents_at_the_look_that_can_make_them() {
    let (bucket, storage) = one_snapshot().await;
    // As a Velero that did not count them wrote it, with a file that cannot be read yet.
    let metadata = json!({"apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": "b1", "namespace": "velero", "uid": "there"}, "spec": {"storageLocation": "default"},
        "status": {"phase": "Completed"}});
    let objects = &bucket.objects;
    objects.insert("backups/b1/velero-backup.json", metadata.to_string());
    objects.insert("backups/b1/b1-csi-volumesnapshotcontents.json.gz", "cut off");
    let cluster = Cluster::new(&bucket).await;
    let _controllers = storage.serve(&cluster).await;
    let server = server(&cluster.context, SnapshotObjects::Keep);
    look(&server).await;
    backup_uid(&cluster).await;

    let contents = vec![saved(
        "content-1",
        "snap-1",
        json!({"velero.io/backup-uid": "there"}),
    )];
    let files = CsiSnapshotFiles {
        contents,
        ..CsiSnapshotFiles::default()
    };
    bucket.backups().put_csi_snapshots("b1", &files).await.unwrap();
    look(&server).await;
    assert_eq!(
        names(&cluster).await,
        Vec::<String>::new(),
        "the driver has no class"
    );
    add_class(&cluster).await;
    look(&server).await;
    assert_eq!(names(&cluster).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_has_the_objects_of_its_backup_gets_no_other_content() {
    let storage = Storage::default();
    storage.add("snap-1");
    let empty = Bucket::default();
    let mut cluster = Cluster::new(&empty).await;
    let _controllers = storage.serve(&cluster).await;
    add_class(&cluster).await;
    let uid = backup_here(&cluster).await;
    let contents_of = vec![saved("content-x", "snap-1", json!({"velero.io/backup-uid": uid}))];
    cluster.reach(&bucket(&uid, contents_of).await);
    add_objects(&cluster, "snap-1", kept_labels(&uid)).await;
    sync_keeping(&cluster.context).await;
    assert_eq!(names(&cluster).await, ["content-x"]);
}

/// The Backup `b1`, made in this cluster.
async fn backup_here(cluster: &Cluster) -> String {
    let made: Backup = cluster
        .create(
            json!({"metadata": {"name": "b1"}, "spec": {"storageLocation": "default"},
            "status": {"phase": "Completed", "csiVolumeSnapshotsAttempted": 1}}),
        )
        .await;
    made.uid().unwrap()
}

fn kept_labels(uid: &str) -> Value {
    json!({"velero.io/backup-name": "b1", "velero.io/backup-uid": uid, "velero.io/exclude-from-backup": "true"})
}

#[tokio::test(flavor = "multi_thread")]
async fn synced_contents_go_with_a_backup_that_the_bucket_has_no_more_and_the_snapshot_stays() {
    // A server that removes objects of its own cleans up what one that kept them has synced.
    for objects in [SnapshotObjects::Keep, SnapshotObjects::Remove] {
        let (bucket, storage) = one_snapshot().await;
        let cluster = Cluster::new(&bucket).await;
        let _controllers = storage.serve(&cluster).await;
        add_class(&cluster).await;
        sync_keeping(&cluster.context).await;
        assert_eq!(names(&cluster).await.len(), 1);
        bucket.backups().delete_backup("b1").await.unwrap();
        look(&server(&cluster.context, objects)).await;
        assert!(cluster.get::<Backup>("b1").await.is_none());
        let empty = async || contents(&cluster).await.is_empty();
        eventually("the synced content goes", empty).await;
        assert_eq!(storage.handles(), ["snap-1"], "{objects:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_objects_go_with_a_backup_that_the_bucket_has_no_more_and_the_snapshot_stays() {
    let storage = Storage::default();
    storage.add("snap-1");
    let cluster = Cluster::new(&Bucket::default()).await;
    let _controllers = storage.serve(&cluster).await;
    let uid = backup_here(&cluster).await;
    add_objects(&cluster, "snap-1", kept_labels(&uid)).await;
    // Somebody has taken the policy back: the snapshot is not this cluster's to delete all the same.
    sync_keeping(&cluster.context).await;
    assert!(cluster.get::<Backup>("b1").await.is_none());
    let gone = async || contents(&cluster).await.is_empty() && snapshot_names(&cluster).await.is_empty();
    eventually("VolumeSnapshot and content go", gone).await;
    assert_eq!(storage.handles(), ["snap-1"]);
    assert!(storage.deletions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_snapshot_stays_when_the_bucket_has_its_backup_no_more() {
    let storage = Storage::default();
    storage.add("snap-1");
    let cluster = Cluster::new(&Bucket::default()).await;
    let _controllers = storage.serve(&cluster).await;
    let uid = backup_here(&cluster).await;
    // As a restore makes it of what the backup has: with its labels, but not with the mark.
    let labels =
        json!({"velero.io/backup-name": "b1", "velero.io/backup-uid": uid, "velero.io/restore-name": "r1"});
    add_objects(&cluster, "snap-1", labels).await;
    keep::retain(&cluster.context.client, "content-x").await.unwrap();
    sync_keeping(&cluster.context).await;
    assert!(cluster.get::<Backup>("b1").await.is_none());
    assert_eq!(names(&cluster).await, ["content-x"]);
    assert_eq!(snapshot_names(&cluster).await, ["velero-data-x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_comes_again_has_its_content_again_and_one_that_does_not_come_leaves_none() {
    let (bucket, storage) = one_snapshot().await;
    let cluster = Cluster::new(&bucket).await;
    let _controllers = storage.serve(&cluster).await;
    add_class(&cluster).await;
    let server = server(&cluster.context, SnapshotObjects::Keep);
    look(&server).await;
    let (first, before) = (backup_uid(&cluster).await, names(&cluster).await);
    let backups: Api<Backup> = cluster.context.api();
    backups.delete("b1", &DeleteParams::default()).await.unwrap();
    look(&server).await;
    let again = backup_uid(&cluster).await;
    assert_ne!(first, again);
    let made = contents(&cluster).await;
    assert_eq!(names(&cluster).await, before);
    assert_eq!(made[0].labels()[caravel_api::labels::BACKUP_UID], again);

    backups.delete("b1", &DeleteParams::default()).await.unwrap();
    bucket.backups().delete_backup("b1").await.unwrap();
    look(&server).await;
    let empty = async || contents(&cluster).await.is_empty();
    eventually("the content without a backup goes", empty).await;
    assert_eq!(storage.handles(), ["snap-1"]);
}
