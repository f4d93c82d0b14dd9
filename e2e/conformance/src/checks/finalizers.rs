//! Finalizers: an object that is being deleted stays until nobody holds it.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{config_map, topic};
use crate::World;
use crate::ask::patch;
use crate::expect::{equal, holds};
use crate::widgets::widget;

topic![
    an_object_with_a_finalizer_stays_with_a_deletion_timestamp,
    a_second_deletion_changes_nothing,
    the_object_goes_with_its_last_finalizer,
    no_finalizer_can_be_added_to_what_is_being_deleted,
    a_deletion_cannot_be_taken_back,
    the_name_of_what_is_being_deleted_is_taken,
    a_finalizer_must_be_qualified,
    what_is_being_deleted_can_still_change,
];

fn held(name: &str, finalizers: &[&str]) -> Value {
    let mut object = config_map(name, json!({}));
    object["metadata"]["finalizers"] = json!(finalizers);
    object
}

/// Lets the object go at the end of a check.
async fn release(world: &World, path: &str) -> Result<()> {
    world
        .patch(patch::MERGE, path, &json!({"metadata": {"finalizers": null}}))
        .await?
        .ok()?;
    Ok(())
}

async fn an_object_with_a_finalizer_stays_with_a_deletion_timestamp(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let one = format!("{path}/a");
    let made = world.made(&path, &held("a", &["caravel.dev/hold"])).await?;
    let answer = world.delete(&one).await?.ok()?;
    // Kinds that are deleted at once answer with the object, when it is still there.
    holds(
        &answer,
        &json!({"kind": "ConfigMap", "metadata": {"name": "a", "deletionGracePeriodSeconds": 0}}),
    )?;
    let deleted = world.read(&one).await?;
    holds(
        &deleted,
        &json!({"metadata": {"uid": made["metadata"]["uid"], "finalizers": ["caravel.dev/hold"]}}),
    )?;
    let at: jiff::Timestamp = deleted["metadata"]["deletionTimestamp"]
        .as_str()
        .unwrap_or_default()
        .parse()?;
    ensure!(
        at.duration_since(jiff::Timestamp::now()).as_secs().abs() < 30,
        "deletionTimestamp {at}"
    );
    ensure!(
        deleted["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"],
        "no new version"
    );
    release(&world, &one).await
}

async fn a_second_deletion_changes_nothing(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let one = format!("{path}/a");
    world.made(&path, &held("a", &["caravel.dev/hold"])).await?;
    let first = world.delete(&one).await?.ok()?;
    let second = world.delete(&one).await?.ok()?;
    equal(second, first)?;
    release(&world, &one).await
}

async fn the_object_goes_with_its_last_finalizer(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let one = format!("{path}/a");
    world
        .made(&path, &held("a", &["caravel.dev/one", "caravel.dev/two"]))
        .await?;
    world.delete(&one).await?.ok()?;
    let change = json!([{"op": "remove", "path": "/metadata/finalizers/0"}]);
    holds(
        &world.patch(patch::JSON, &one, &change).await?.ok()?,
        &json!({"metadata": {"finalizers": ["caravel.dev/two"]}}),
    )?;
    let mut last = world.read(&one).await?;
    let mut watch = world
        .watch(&format!(
            "{path}?resourceVersion={}",
            last["metadata"]["resourceVersion"].as_str().unwrap_or_default()
        ))
        .await?;
    last["metadata"]["finalizers"] = json!([]);
    let answer = world.put(&one, &last).await?.ok()?;
    holds(&answer, &json!({"kind": "ConfigMap", "metadata": {"name": "a"}}))?;
    world
        .get(&one)
        .await?
        .refused(404, "NotFound", "configmaps \"a\" not found")?;
    // Nobody sees it without finalizers: the next event is its end.
    equal(watch.events(1).await?, vec!["DELETED a".to_owned()])?;
    world
        .made(&world.widgets(""), &{
            let mut object = widget("w", json!({"size": 1}));
            object["metadata"]["finalizers"] = json!(["caravel.dev/hold"]);
            object
        })
        .await?;
    world.delete(&world.widgets("/w")).await?.ok()?;
    release(&world, &world.widgets("/w")).await?;
    world
        .get(&world.widgets("/w"))
        .await?
        .refused_saying(404, "NotFound", &["not found"])?;
    Ok(())
}

async fn no_finalizer_can_be_added_to_what_is_being_deleted(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let one = format!("{path}/a");
    world.made(&path, &held("a", &["caravel.dev/hold"])).await?;
    world.delete(&one).await?.ok()?;
    let change = json!({"metadata": {"finalizers": ["caravel.dev/hold", "caravel.dev/late"]}});
    world.patch(patch::MERGE, &one, &change).await?.refused(
        422,
        "Invalid",
        "ConfigMap \"a\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is \
         being deleted, found new finalizers []string{\"caravel.dev/late\"}",
    )?;
    release(&world, &one).await
}

async fn a_deletion_cannot_be_taken_back(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let one = format!("{path}/a");
    world.made(&path, &held("a", &["caravel.dev/hold"])).await?;
    let deleted = world.delete(&one).await?.ok()?;
    let change = json!({"metadata": {"deletionTimestamp": null, "deletionGracePeriodSeconds": null}, "data": {"k": "v"}});
    let after = world.patch(patch::MERGE, &one, &change).await?.ok()?;
    equal(
        &after["metadata"]["deletionTimestamp"],
        &deleted["metadata"]["deletionTimestamp"],
    )?;
    release(&world, &one).await
}

async fn the_name_of_what_is_being_deleted_is_taken(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let one = format!("{path}/a");
    world.made(&path, &held("a", &["caravel.dev/hold"])).await?;
    world.delete(&one).await?.ok()?;
    world.post(&path, &config_map("a", json!({}))).await?.refused(
        409,
        "AlreadyExists",
        "object is being deleted: configmaps \"a\" already exists",
    )?;
    release(&world, &one).await
}

async fn a_finalizer_must_be_qualified(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world.post(&path, &held("a", &["not valid"])).await?.refused_saying(
        422,
        "Invalid",
        &["ConfigMap \"a\" is invalid: [metadata.finalizers: Invalid value: \"not valid\": name part must consist of", "metadata.finalizers[0]: Invalid value: \"not valid\": name is neither a standard finalizer name nor is it fully qualified]"],
    )?;
    Ok(())
}

async fn what_is_being_deleted_can_still_change(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let one = format!("{path}/a");
    world.made(&path, &held("a", &["caravel.dev/hold"])).await?;
    world.delete(&one).await?.ok()?;
    let change = json!({"data": {"progress": "half"}, "metadata": {"annotations": {"k": "v"}}});
    holds(&world.patch(patch::MERGE, &one, &change).await?.ok()?, &change)?;
    release(&world, &one).await
}
