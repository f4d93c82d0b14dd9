//! Volumes handed from one claim to another, and shown to pods.

use caravel_sandbox::storage::PublishError;
use kube::api::DeleteParams;
use serde_json::json;

use crate::world::*;

/// What the exposer does after a restore: the filled volume goes from its own claim to the application's.
#[tokio::test]
async fn a_retained_volume_is_handed_to_a_claim_that_waits_for_it() {
    let world = World::new().await;
    let waits = json!({"selector": {"matchLabels": {"velero.io/dynamic-pv-restore": "shop.data.x"}}});
    world.claim("data", waits).await;
    world.claim("restored", json!({})).await;
    let folder = world.folder_of("restored", "mover").await;
    std::fs::write(folder.join("file"), "bytes").unwrap();
    let claim = world.bound("restored").await;
    let volume = world.volume_of(&claim).await;
    let name = volume.metadata.name.clone().unwrap();
    world.unpublish("restored", "mover").await;
    let policy = |policy: &str| json!({"spec": {"persistentVolumeReclaimPolicy": policy}});
    patch(&world.volumes(), &name, policy("Retain")).await;
    world
        .claims()
        .delete("restored", &DeleteParams::default())
        .await
        .unwrap();
    world.gone(&world.claims(), "restored").await;
    world
        .until(&world.volumes(), &name, |volume| {
            volume_phase(volume) == "Released"
        })
        .await;
    let offer = json!({
        "metadata": {
            "labels": {"velero.io/dynamic-pv-restore": "shop.data.x"},
            "annotations": {"pv.kubernetes.io/bound-by-controller": null},
        },
        "spec": {"claimRef": {"namespace": "shop", "name": "data", "uid": null, "resourceVersion": null}},
    });
    patch(&world.volumes(), &name, offer).await;
    let claim = world.bound("data").await;
    assert_eq!(claim.spec.unwrap().volume_name.as_deref(), Some(name.as_str()));
    patch(&world.volumes(), &name, policy("Delete")).await;
    world
        .until(&world.volumes(), &name, |volume| volume_phase(volume) == "Bound")
        .await;
    let folder = world.folder_of("data", "app").await;
    assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "bytes");
    world.unpublish("data", "app").await;
    world
        .claims()
        .delete("data", &DeleteParams::default())
        .await
        .unwrap();
    world.gone(&world.volumes(), &name).await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_volume_for_one_node_is_refused_on_a_second_one_until_the_first_lets_go() {
    let world = World::new().await;
    world.claim("data", json!({})).await;
    let claim = world.bound("data").await;
    let handle = handle(&world.volume_of(&claim).await);
    let volumes = &world.storage.volumes;
    let first = volumes.publish(&handle, "node-1", "p1", false).await.unwrap();
    let second = volumes.publish(&handle, "node-1", "p2", false).await.unwrap();
    assert_eq!(first, second);
    let refused = volumes.publish(&handle, "node-2", "p3", false).await;
    assert!(matches!(refused, Err(PublishError::MultiAttach { .. })));
    for pod in ["p1", "p2"] {
        volumes.unpublish(&handle, "node-1", pod).await.unwrap();
    }
    volumes.publish(&handle, "node-2", "p3", false).await.unwrap();
    assert!(matches!(
        volumes.publish("vol-none", "node-1", "p4", false).await,
        Err(PublishError::Unknown(_))
    ));
}

#[tokio::test]
async fn a_block_claim_shows_as_a_file_of_its_size() {
    let world = World::new().await;
    world.claim("disk", json!({"volumeMode": "Block"})).await;
    let disk = world.folder_of("disk", "p1").await;
    assert!(disk.is_file());
    assert_eq!(std::fs::metadata(disk).unwrap().len(), 64 << 20);
}
