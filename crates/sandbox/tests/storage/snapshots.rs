//! Snapshots: cut, restored from, found by their handle, moved between contents, deleted.

use caravel_csi::{VolumeSnapshot, VolumeSnapshotContent};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::world::*;

fn of_claim(name: &str) -> Value {
    json!({"persistentVolumeClaimName": name})
}

fn from_snapshot(name: &str) -> Value {
    json!({"dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name}})
}

fn bound_content(snapshot: &VolumeSnapshot) -> String {
    let status = snapshot.status.as_ref().unwrap();
    status.bound_volume_snapshot_content_name.clone().unwrap()
}

fn snapshot_error(snapshot: &VolumeSnapshot) -> &str {
    let error = snapshot.status.as_ref().and_then(|status| status.error.as_ref());
    error
        .and_then(|error| error.message.as_deref())
        .unwrap_or_default()
}

async fn claim_with_file(world: &World, name: &str, content: &str) {
    world.claim(name, json!({})).await;
    let folder = world.folder_of(name, "writer").await;
    std::fs::write(folder.join("file"), content).unwrap();
}

#[tokio::test]
async fn a_claim_from_a_snapshot_has_the_bytes_of_then() {
    let world = World::new().await;
    claim_with_file(&world, "data", "before").await;
    world.snapshot("s", of_claim("data")).await;
    let snapshot = world.ready("s").await;
    let status = snapshot.status.as_ref().unwrap();
    assert_eq!(status.restore_size.as_ref().unwrap().0, "64Mi");
    assert!(status.creation_time.is_some() && status.error.is_none());
    assert_eq!(
        snapshot.spec.volume_snapshot_class_name.as_deref(),
        Some("sandbox-csi-snapshot")
    );
    let folder = world.folder_of("data", "writer").await;
    std::fs::write(folder.join("file"), "after").unwrap();
    world.claim("copy", from_snapshot("s")).await;
    let copy = world.folder_of("copy", "reader").await;
    assert_eq!(std::fs::read_to_string(copy.join("file")).unwrap(), "before");
    let content = world.contents().get(&bound_content(&snapshot)).await.unwrap();
    assert_eq!(content.spec.volume_snapshot_ref.uid, snapshot.metadata.uid);
    assert!(
        !content
            .metadata
            .annotations
            .unwrap_or_default()
            .contains_key("snapshot.storage.kubernetes.io/volumesnapshot-being-created")
    );
}

#[tokio::test]
async fn a_claim_from_another_claim_has_its_bytes() {
    let world = World::new().await;
    claim_with_file(&world, "data", "here").await;
    let source = json!({"dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "data"}});
    let claim = world.claim("copy", source).await;
    assert_eq!(claim.spec.unwrap().data_source.unwrap().name, "data");
    let copy = world.folder_of("copy", "reader").await;
    assert_eq!(std::fs::read_to_string(copy.join("file")).unwrap(), "here");
}

#[tokio::test]
async fn deleting_a_snapshot_deletes_content_and_storage_snapshot_or_with_retain_neither() {
    let world = World::new().await;
    claim_with_file(&world, "data", "x").await;
    for name in ["gone", "kept"] {
        world.snapshot(name, of_claim("data")).await;
    }
    let (gone, kept) = (world.ready("gone").await, world.ready("kept").await);
    let (gone, kept) = (bound_content(&gone), bound_content(&kept));
    patch(
        &world.contents(),
        &kept,
        json!({"spec": {"deletionPolicy": "Retain"}}),
    )
    .await;
    let stored = |content: &VolumeSnapshotContent| {
        let handle = content.status.as_ref().unwrap().snapshot_handle.clone().unwrap();
        world.folder.path().join("storage/snapshots").join(handle)
    };
    let (gone_folder, kept_folder) = (
        stored(&world.contents().get(&gone).await.unwrap()),
        stored(&world.contents().get(&kept).await.unwrap()),
    );
    for name in ["gone", "kept"] {
        world
            .snapshots()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
        world.gone(&world.snapshots(), name).await;
    }
    world.gone(&world.contents(), &gone).await;
    assert!(!gone_folder.exists());
    assert!(world.contents().get_opt(&kept).await.unwrap().is_some() && kept_folder.exists());
}

/// The exposer takes a snapshot over: a content of its own by handle, and the first one goes without the storage's.
#[tokio::test]
async fn a_storage_snapshot_moves_to_a_content_in_another_namespace() {
    let world = World::new().await;
    world.namespace("velero").await;
    claim_with_file(&world, "data", "x").await;
    world.snapshot("s", of_claim("data")).await;
    let first = bound_content(&world.ready("s").await);
    let content = world.contents().get(&first).await.unwrap();
    let handle = content.status.unwrap().snapshot_handle.unwrap();
    patch(
        &world.contents(),
        &first,
        json!({"spec": {"deletionPolicy": "Retain"}}),
    )
    .await;
    let own = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent", "metadata": {"name": "du-1"},
        "spec": {
            "deletionPolicy": "Delete", "driver": "csi.sandbox.caravel.dev", "source": {"snapshotHandle": handle},
            "volumeSnapshotRef": {
                "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
                "namespace": "velero", "name": "du-1",
            },
        },
    });
    create(&world.contents(), own).await;
    let theirs: kube::Api<VolumeSnapshot> = kube::Api::namespaced(world.client.clone(), "velero");
    let snapshot = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {"name": "du-1", "namespace": "velero"},
        "spec": {"source": {"volumeSnapshotContentName": "du-1"}, "volumeSnapshotClassName": "sandbox-csi-snapshot"},
    });
    create(&theirs, snapshot).await;
    // Content first: it waits for its snapshot.
    world
        .contents()
        .delete(&first, &DeleteParams::default())
        .await
        .unwrap();
    world
        .snapshots()
        .delete("s", &DeleteParams::default())
        .await
        .unwrap();
    world.gone(&world.contents(), &first).await;
    world.gone(&world.snapshots(), "s").await;
    world
        .until(&theirs, "du-1", |snapshot: &VolumeSnapshot| {
            snapshot
                .status
                .as_ref()
                .is_some_and(|s| s.ready_to_use == Some(true))
        })
        .await;
    let stored = world.folder.path().join("storage/snapshots").join(&handle);
    assert!(stored.exists());
    theirs.delete("du-1", &DeleteParams::default()).await.unwrap();
    world.gone(&world.contents(), "du-1").await;
    assert!(!stored.exists());
}

#[tokio::test]
async fn errors_are_in_the_status_and_go_when_their_cause_goes() {
    let world = World::new().await;
    world.snapshot("early", of_claim("data")).await;
    let waiting = world
        .until(&world.snapshots(), "early", |s: &VolumeSnapshot| {
            !snapshot_error(s).is_empty()
        })
        .await;
    assert!(
        snapshot_error(&waiting).contains("cannot get claim from snapshot"),
        "{}",
        snapshot_error(&waiting)
    );
    world
        .snapshot("lost", json!({"volumeSnapshotContentName": "none"}))
        .await;
    world
        .until(&world.snapshots(), "lost", |s: &VolumeSnapshot| {
            snapshot_error(s) == "VolumeSnapshotContent is missing"
        })
        .await;
    claim_with_file(&world, "data", "x").await;
    let ready = world.ready("early").await;
    assert_eq!(snapshot_error(&ready), "");
}

#[tokio::test]
async fn a_content_whose_handle_the_storage_does_not_know_shows_the_drivers_answer() {
    let world = World::new().await;
    let content = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent", "metadata": {"name": "stale"},
        "spec": {
            "deletionPolicy": "Retain", "driver": "csi.sandbox.caravel.dev", "source": {"snapshotHandle": "snap-none"},
            "volumeSnapshotRef": {"namespace": "shop", "name": "stale"},
        },
    });
    create(&world.contents(), content).await;
    world
        .snapshot("stale", json!({"volumeSnapshotContentName": "stale"}))
        .await;
    world
        .until(&world.snapshots(), "stale", |s: &VolumeSnapshot| {
            snapshot_error(s).contains("can not find snapshot for snapshotID snap-none")
        })
        .await;
}
