//! What belongs to nobody goes.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::world::World;

async fn owner_and_dependent(world: &World, blocks: bool) {
    let owner: ConfigMap = world.create(json!({"metadata": {"name": "owner"}})).await;
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid(),
        "blockOwnerDeletion": blocks});
    world
        .create::<ConfigMap>(json!({"metadata": {
            "name": "dependent", "ownerReferences": [reference], "finalizers": ["test.example/hold"],
        }}))
        .await;
}

async fn release(world: &World, name: &str) {
    let none = json!({"metadata": {"finalizers": []}});
    world
        .of::<ConfigMap>()
        .patch(name, &PatchParams::default(), &Patch::Merge(none))
        .await
        .unwrap();
}

#[tokio::test]
async fn in_the_background_the_owner_goes_first() {
    let world = World::start().await;
    owner_and_dependent(&world, true).await;
    let maps = world.of::<ConfigMap>();
    maps.delete("owner", &DeleteParams::background()).await.unwrap();
    world.until_gone(&maps, "owner").await;
    world
        .until(&maps, "dependent", |it| it.metadata.deletion_timestamp.is_some())
        .await;
    release(&world, "dependent").await;
    world.until_gone(&maps, "dependent").await;
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn in_the_foreground_the_owner_waits_for_what_blocks_it() {
    let world = World::start().await;
    owner_and_dependent(&world, true).await;
    let maps = world.of::<ConfigMap>();
    maps.delete("owner", &DeleteParams::foreground()).await.unwrap();
    world
        .until(&maps, "dependent", |it| it.metadata.deletion_timestamp.is_some())
        .await;
    let owner = maps.get("owner").await.unwrap();
    assert_eq!(owner.finalizers(), ["foregroundDeletion"]);
    release(&world, "dependent").await;
    world.until_gone(&maps, "dependent").await;
    world.until_gone(&maps, "owner").await;
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn orphans_stay_and_forget_their_owner() {
    let world = World::start().await;
    owner_and_dependent(&world, true).await;
    let maps = world.of::<ConfigMap>();
    maps.delete("owner", &DeleteParams::orphan()).await.unwrap();
    world.until_gone(&maps, "owner").await;
    let dependent = maps.get("dependent").await.unwrap();
    assert!(dependent.owner_references().is_empty());
    assert!(dependent.metadata.deletion_timestamp.is_none());
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn what_is_made_for_an_owner_that_never_was_goes() {
    let world = World::start().await;
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "0000"});
    world
        .create::<ConfigMap>(json!({"metadata": {"name": "lost", "ownerReferences": [reference]}}))
        .await;
    world.until_gone(&world.of::<ConfigMap>(), "lost").await;
    world.sandbox.shutdown().await;
}
