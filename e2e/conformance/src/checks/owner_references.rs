//! The garbage collector.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{config_map, topic};
use crate::World;
use crate::ask::patch;
use crate::expect::{equal, eventually, holds};
use crate::widgets::widget;

topic![
    [Controllers] in_the_background_dependents_follow_their_owner,
    [Controllers] orphans_stay_without_the_reference,
    [Controllers] in_the_foreground_the_owner_waits_for_its_dependents,
    [Controllers] a_dependent_with_two_owners_needs_one,
    [Controllers] what_refers_to_an_owner_that_is_gone_goes,
    foreground_and_orphan_are_finalizers_until_somebody_acts,
];

fn owned_by(owner: &Value, name: &str, more: Value) -> Value {
    let mut object = config_map(name, json!({}));
    let mut reference = json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"],
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]});
    if let (Some(reference), Some(more)) = (reference.as_object_mut(), more.as_object()) {
        reference.extend(more.clone());
    }
    object["metadata"]["ownerReferences"] = json!([reference]);
    object
}

fn policy(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": name})
}

async fn in_the_background_dependents_follow_their_owner(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let owner = world
        .made(&world.widgets(""), &widget("w", json!({"size": 1})))
        .await?;
    let middle = world.made(&path, &owned_by(&owner, "middle", json!({}))).await?;
    world.made(&path, &owned_by(&middle, "leaf", json!({}))).await?;
    world
        .delete_with(&world.widgets("/w"), &policy("Background"))
        .await?
        .ok()?;
    equal(world.get(&world.widgets("/w")).await?.code, 404)?;
    world.until_gone(&format!("{path}/middle")).await?;
    world.until_gone(&format!("{path}/leaf")).await
}

async fn orphans_stay_without_the_reference(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let owner = world.made(&path, &config_map("owner", json!({}))).await?;
    world.made(&path, &owned_by(&owner, "child", json!({}))).await?;
    // The collector must know of the child before it can set it free.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    world
        .delete_with(&format!("{path}/owner"), &policy("Orphan"))
        .await?
        .ok()?;
    world.until_gone(&format!("{path}/owner")).await?;
    let orphan = world.read(&format!("{path}/child")).await?;
    holds(
        &orphan,
        &json!({"metadata": {"ownerReferences": null, "deletionTimestamp": null}}),
    )
}

async fn in_the_foreground_the_owner_waits_for_its_dependents(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let owner = world.made(&path, &config_map("owner", json!({}))).await?;
    let mut child = owned_by(&owner, "child", json!({"blockOwnerDeletion": true}));
    child["metadata"]["finalizers"] = json!(["caravel.dev/hold"]);
    world.made(&path, &child).await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    world
        .delete_with(&format!("{path}/owner"), &policy("Foreground"))
        .await?
        .ok()?;
    // The child is deleted first, and its finalizer holds both.
    eventually("the deletion of the child", || async {
        let child = world.read(&format!("{path}/child")).await?;
        let deleted = child["metadata"]["deletionTimestamp"].is_string();
        Ok(if deleted {
            Ok(())
        } else {
            Err("it has no deletionTimestamp".to_owned())
        })
    })
    .await?;
    holds(
        &world.read(&format!("{path}/owner")).await?,
        &json!({"metadata": {"finalizers": ["foregroundDeletion"]}}),
    )?;
    let change = json!({"metadata": {"finalizers": null}});
    world
        .patch(patch::MERGE, &format!("{path}/child"), &change)
        .await?
        .ok()?;
    world.until_gone(&format!("{path}/child")).await?;
    world.until_gone(&format!("{path}/owner")).await
}

async fn a_dependent_with_two_owners_needs_one(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let first = world.made(&path, &config_map("first", json!({}))).await?;
    let second = world.made(&path, &config_map("second", json!({}))).await?;
    let mut child = owned_by(&first, "child", json!({}));
    let other = owned_by(&second, "", json!({}))["metadata"]["ownerReferences"][0].clone();
    if let Some(references) = child["metadata"]["ownerReferences"].as_array_mut() {
        references.push(other);
    }
    world.made(&path, &child).await?;
    world.delete(&format!("{path}/first")).await?.ok()?;
    eventually("one owner of the child", || async {
        let child = world.read(&format!("{path}/child")).await?;
        let owners = child["metadata"]["ownerReferences"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Ok(match owners.as_slice() {
            [one] => Ok(ensure_is(one, "second")?),
            other => Err(format!("{other:?}")),
        })
    })
    .await?;
    world.delete(&format!("{path}/second")).await?.ok()?;
    world.until_gone(&format!("{path}/child")).await
}

fn ensure_is(reference: &Value, name: &str) -> Result<()> {
    ensure!(reference["name"] == name, "the owner left is {reference}");
    Ok(())
}

async fn what_refers_to_an_owner_that_is_gone_goes(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let mut owner = world.made(&path, &config_map("owner", json!({}))).await?;
    // Another object may have the name by now: the uid decides.
    owner["metadata"]["uid"] = "11111111-1111-1111-1111-111111111111".into();
    world.made(&path, &owned_by(&owner, "child", json!({}))).await?;
    world.until_gone(&format!("{path}/child")).await
}

async fn foreground_and_orphan_are_finalizers_until_somebody_acts(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    for (name, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        let mut object = config_map(&name.to_lowercase(), json!({}));
        object["metadata"]["finalizers"] = json!(["caravel.dev/hold"]);
        let made = world.made(&path, &object).await?;
        let one = format!("{path}/{}", made["metadata"]["name"].as_str().unwrap_or_default());
        let answer = world.delete_with(&one, &policy(name)).await?.ok()?;
        let finalizers = answer["metadata"]["finalizers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        ensure!(
            finalizers.iter().any(|one| one == finalizer),
            "{name}: {finalizers:?}"
        );
        ensure!(
            answer["metadata"]["deletionTimestamp"].is_string(),
            "{name}: no deletionTimestamp"
        );
        world
            .patch(patch::MERGE, &one, &json!({"metadata": {"finalizers": null}}))
            .await?;
    }
    Ok(())
}
