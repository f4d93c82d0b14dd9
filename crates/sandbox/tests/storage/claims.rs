//! Claims: provisioned, bound to what is there, waiting for a node, lost, protected, grown.

use kube::api::DeleteParams;
use serde_json::json;

use crate::world::*;

#[tokio::test]
async fn a_claim_without_a_class_gets_the_default_one_and_a_volume_of_its_own() {
    let world = World::new().await;
    world.claim("data", json!({})).await;
    let claim = world.bound("data").await;
    let uid = claim.metadata.uid.clone().unwrap();
    let spec = claim.spec.as_ref().unwrap();
    assert_eq!(spec.storage_class_name.as_deref(), Some("sandbox-csi"));
    assert_eq!(spec.volume_name.as_deref(), Some(format!("pvc-{uid}").as_str()));
    let annotations = claim.metadata.annotations.clone().unwrap();
    for key in [
        "pv.kubernetes.io/bind-completed",
        "pv.kubernetes.io/bound-by-controller",
    ] {
        assert_eq!(annotations[key], "yes");
    }
    assert_eq!(
        annotations["volume.kubernetes.io/storage-provisioner"],
        "csi.sandbox.caravel.dev"
    );
    assert_eq!(claim.status.unwrap().capacity.unwrap()["storage"].0, "64Mi");
    assert_eq!(
        claim.metadata.finalizers.unwrap(),
        ["kubernetes.io/pvc-protection"]
    );
    let volume = world.volumes().get(&format!("pvc-{uid}")).await.unwrap();
    assert_eq!(volume_phase(&volume), "Bound");
    let claim_ref = volume.spec.as_ref().unwrap().claim_ref.as_ref().unwrap();
    assert_eq!(
        (claim_ref.uid.as_ref(), claim_ref.name.as_deref()),
        (Some(&uid), Some("data"))
    );
    world
        .said(&format!("Successfully provisioned volume pvc-{uid}"))
        .await;
}

#[tokio::test]
async fn with_wait_for_first_consumer_nothing_is_made_before_a_node_is_chosen() {
    let world = World::new().await;
    world
        .class("late", json!({"volumeBindingMode": "WaitForFirstConsumer"}))
        .await;
    world.claim("data", json!({"storageClassName": "late"})).await;
    world
        .said("waiting for first consumer to be created before binding")
        .await;
    let claim = world.claims().get("data").await.unwrap();
    assert_eq!(phase(&claim), "Pending");
    let node = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-1"}}});
    patch(&world.claims(), "data", node).await;
    world.bound("data").await;
}

#[tokio::test]
async fn deleting_a_claim_deletes_its_volume_or_with_retain_releases_it() {
    let world = World::new().await;
    world.class("kept", json!({"reclaimPolicy": "Retain"})).await;
    world.claim("a", json!({})).await;
    world.claim("b", json!({"storageClassName": "kept"})).await;
    let (a, b) = (world.bound("a").await, world.bound("b").await);
    let (a, b) = (world.volume_of(&a).await, world.volume_of(&b).await);
    let folder = |name: &str| world.folder.path().join("storage/volumes").join(name);
    let (a_name, b_name) = (a.metadata.name.clone().unwrap(), b.metadata.name.clone().unwrap());
    assert!(folder(&handle(&a)).exists() && folder(&handle(&b)).exists());
    for name in ["a", "b"] {
        world
            .claims()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
    world.gone(&world.volumes(), &a_name).await;
    assert!(!folder(&handle(&a)).exists());
    world
        .until(&world.volumes(), &b_name, |volume| {
            volume_phase(volume) == "Released"
        })
        .await;
    assert!(folder(&handle(&b)).exists());
}

#[tokio::test]
async fn a_claim_binds_to_the_smallest_existing_volume_that_its_selector_chooses() {
    let world = World::new().await;
    for (name, size, zone) in [("big", "9Gi", "a"), ("small", "1Gi", "a"), ("tiny", "1Gi", "b")] {
        let volume = json!({
            "metadata": {"name": name, "labels": {"zone": zone}},
            "spec": {
                "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "manual",
                "csi": {"driver": "csi.sandbox.caravel.dev", "volumeHandle": name},
            },
        });
        create(&world.volumes(), volume).await;
    }
    let selector = json!({"matchLabels": {"zone": "a"}});
    world
        .claim(
            "data",
            json!({"storageClassName": "manual", "selector": selector}),
        )
        .await;
    let claim = world.bound("data").await;
    assert_eq!(claim.spec.unwrap().volume_name.as_deref(), Some("small"));
    world
        .until(&world.volumes(), "big", |volume| {
            volume_phase(volume) == "Available"
        })
        .await;
}

#[tokio::test]
async fn a_claim_whose_volume_disappears_is_lost() {
    let world = World::new().await;
    world.claim("data", json!({})).await;
    let claim = world.bound("data").await;
    let name = claim.spec.unwrap().volume_name.unwrap();
    patch(&world.volumes(), &name, json!({"metadata": {"finalizers": null}})).await;
    let retained = json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}});
    patch(&world.volumes(), &name, retained).await;
    world
        .volumes()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    patch(&world.volumes(), &name, json!({"metadata": {"finalizers": null}})).await;
    world
        .until(&world.claims(), "data", |claim| phase(claim) == "Lost")
        .await;
    world
        .said("ClaimLost: Bound claim has lost its PersistentVolume")
        .await;
}

#[tokio::test]
async fn a_claim_that_a_placed_pod_uses_stays_until_the_pod_is_gone() {
    let world = World::new().await;
    world.claim("data", json!({})).await;
    world.bound("data").await;
    let pod = json!({
        "metadata": {"name": "web"},
        "spec": {
            "nodeName": "node-1", "containers": [{"name": "c", "image": "shop"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    });
    create(&world.pods(), pod).await;
    world
        .claims()
        .delete("data", &DeleteParams::default())
        .await
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(world.claims().get_opt("data").await.unwrap().is_some());
    world
        .pods()
        .delete("web", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    world.gone(&world.claims(), "data").await;
}

#[tokio::test]
async fn a_bound_claim_that_asks_for_more_is_grown_with_its_volume() {
    let world = World::new().await;
    world.claim("data", json!({})).await;
    let claim = world.bound("data").await;
    let more = json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}});
    patch(&world.claims(), "data", more).await;
    world
        .until(&world.claims(), "data", |claim| {
            let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
            capacity.is_some_and(|capacity| capacity["storage"].0 == "1Gi")
        })
        .await;
    let volume = world.volume_of(&claim).await;
    assert_eq!(volume.spec.unwrap().capacity.unwrap()["storage"].0, "1Gi");
}

#[tokio::test]
async fn what_cannot_be_provisioned_says_why_in_an_event() {
    let world = World::new().await;
    world.claim("a", json!({"storageClassName": "nowhere"})).await;
    world
        .said("ProvisioningFailed: storageclass.storage.k8s.io \"nowhere\" not found")
        .await;
    world.claim("b", json!({"accessModes": ["ReadWriteMany"]})).await;
    world
        .said("failed to provision volume with StorageClass \"sandbox-csi\": rpc error: code = InvalidArgument desc = access mode")
        .await;
    let source = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "none"});
    world.claim("c", json!({"dataSource": source})).await;
    world.said("snapshot none from api server").await;
    // A class that comes later is enough.
    world.class("nowhere", json!({})).await;
    world.bound("a").await;
}
