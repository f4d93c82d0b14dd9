//! What belongs to nobody goes.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use kube::runtime::wait::{Condition, conditions};
use serde_json::{Value, json};

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

/// Defines a kind that group `ship.example` has in this version only; gives the objects in namespace `default`.
async fn define(world: &World, kind: &str, plural: &str, version: &str) -> Api<DynamicObject> {
    let name = format!("{plural}.ship.example");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
        "spec": {
            "group": "ship.example", "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{
                "name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    let definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    definitions
        .create(&PostParams::default(), &definition)
        .await
        .unwrap();
    let is_established =
        |it: &CustomResourceDefinition| conditions::is_crd_established().matches_object(Some(it));
    world.until(&definitions, &name, is_established).await;
    let kind = GroupVersionKind::gvk("ship.example", version, kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, plural);
    Api::namespaced_with(world.client.clone(), "default", &resource)
}

async fn make(api: &Api<DynamicObject>, object: Value) -> DynamicObject {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap()
}

// As `velero.io`: DataUpload is v2alpha1, and the preferred version, v1, has other kinds.
#[tokio::test(start_paused = true)]
async fn what_belongs_to_a_kind_that_only_another_version_of_its_group_has_goes_with_it() {
    let world = World::still(1).await;
    let voyages = define(&world, "Voyage", "voyages", "v1").await;
    let cargoes = define(&world, "Cargo", "cargoes", "v2alpha1").await;
    let voyage = make(
        &voyages,
        json!({"apiVersion": "ship.example/v1", "kind": "Voyage", "metadata": {"name": "west"}}),
    )
    .await;
    let reference =
        json!({"apiVersion": "ship.example/v1", "kind": "Voyage", "name": "west", "uid": voyage.uid()});
    let cargo = make(
        &cargoes,
        json!({"apiVersion": "ship.example/v2alpha1", "kind": "Cargo", "metadata": {
            "name": "tea", "ownerReferences": [reference],
        }}),
    )
    .await;
    let reference =
        json!({"apiVersion": "ship.example/v2alpha1", "kind": "Cargo", "name": "tea", "uid": cargo.uid()});
    world
        .create::<ConfigMap>(json!({"metadata": {"name": "list", "ownerReferences": [reference]}}))
        .await;
    let maps = world.of::<ConfigMap>();

    // Longer than the collector waits before it asks again for an owner of an unknown kind.
    tokio::time::sleep(Duration::from_secs(90)).await;
    maps.get("list").await.unwrap();
    cargoes.get("tea").await.unwrap();

    // Both as an owner and as a dependent.
    voyages.delete("west", &DeleteParams::background()).await.unwrap();
    world.until_gone(&cargoes, "tea").await;
    world.until_gone(&maps, "list").await;
    world.sandbox.shutdown().await;
}
