//! JSON merge patches (RFC 7386).

use anyhow::Result;
use serde_json::json;

use super::{config_map, topic};
use crate::World;
use crate::ask::patch;
use crate::expect::{equal, holds};
use crate::widgets::widget;

topic![
    null_removes_and_lists_are_replaced,
    a_patch_that_changes_nothing_keeps_the_resource_version,
    an_object_that_is_not_there_cannot_be_patched,
    the_name_cannot_be_patched,
    what_a_patch_makes_is_validated,
    a_dry_run_of_a_patch_changes_nothing,
    the_manager_of_a_patch_is_told_in_managed_fields,
];

async fn null_removes_and_lists_are_replaced(world: World) -> Result<()> {
    let spec = json!({"size": 1, "steps": ["a", "b"], "free": {"a": {"b": 1, "c": 2}, "d": 3}});
    world.made(&world.widgets(""), &widget("w", spec)).await?;
    let change = json!({"spec": {"steps": ["c"], "free": {"a": {"b": null, "e": null}, "d": {"f": 4}}}});
    let patched = world
        .patch(patch::MERGE, &world.widgets("/w"), &change)
        .await?
        .ok()?;
    equal(&patched["spec"]["free"], &json!({"a": {"c": 2}, "d": {"f": 4}}))?;
    holds(&patched, &json!({"spec": {"size": 1, "steps": ["c"]}}))?;
    let path = world.path("v1", "configmaps");
    world
        .made(&path, &config_map("a", json!({"a": "1", "b": "2"})))
        .await?;
    let patched = world
        .patch(
            patch::MERGE,
            &format!("{path}/a"),
            &json!({"data": {"a": null, "c": "3"}}),
        )
        .await?
        .ok()?;
    equal(&patched["data"], &json!({"b": "2", "c": "3"}))
}

async fn a_patch_that_changes_nothing_keeps_the_resource_version(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world.made(&path, &config_map("a", json!({"k": "v"}))).await?;
    let patched = world
        .patch(patch::MERGE, &format!("{path}/a"), &json!({"data": {"k": "v"}}))
        .await?
        .ok()?;
    equal(patched, made)
}

async fn an_object_that_is_not_there_cannot_be_patched(world: World) -> Result<()> {
    for kind in [patch::MERGE, patch::STRATEGIC] {
        world
            .patch(kind, &world.path("v1", "configmaps/a"), &json!({"data": {}}))
            .await?
            .refused(404, "NotFound", "configmaps \"a\" not found")?;
    }
    Ok(())
}

async fn the_name_cannot_be_patched(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world.made(&path, &config_map("a", json!({}))).await?;
    world
        .patch(
            patch::MERGE,
            &format!("{path}/a"),
            &json!({"metadata": {"name": "b"}}),
        )
        .await?
        .refused(
            400,
            "BadRequest",
            "the name of the object (b) does not match the name on the URL (a)",
        )?;
    Ok(())
}

async fn what_a_patch_makes_is_validated(world: World) -> Result<()> {
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 1})))
        .await?;
    world
        .patch(patch::MERGE, &world.widgets("/w"), &json!({"spec": {"size": 11}}))
        .await?
        .refused(
            422,
            "Invalid",
            "Widget.conformance.caravel.dev \"w\" is invalid: spec.size: Invalid value: 11: spec.size in body should be \
             less than or equal to 10",
        )?;
    let path = world.path("v1", "configmaps");
    world.made(&path, &config_map("a", json!({}))).await?;
    world
        .patch(patch::MERGE, &format!("{path}/a"), &json!({"data": {"k": 1}}))
        .await?
        .refused_saying(
            422,
            "Invalid",
            &[
                " \"\" is invalid: patch: Invalid value: ",
                "cannot unmarshal number into Go struct field ConfigMap.data of type string",
            ],
        )?;
    Ok(())
}

async fn a_dry_run_of_a_patch_changes_nothing(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world.made(&path, &config_map("a", json!({}))).await?;
    let patched = world
        .patch(
            patch::MERGE,
            &format!("{path}/a?dryRun=All"),
            &json!({"data": {"k": "v"}}),
        )
        .await?
        .ok()?;
    equal(&patched["data"], &json!({"k": "v"}))?;
    equal(world.read(&format!("{path}/a")).await?, made)
}

async fn the_manager_of_a_patch_is_told_in_managed_fields(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let first = config_map("a", json!({"a": "1", "b": "2"}));
    world.made(&format!("{path}?fieldManager=first"), &first).await?;
    let change = json!({"data": {"b": "3", "c": "4"}});
    let patched = world
        .patch(patch::MERGE, &format!("{path}/a?fieldManager=second"), &change)
        .await?
        .ok()?;
    holds(
        &patched["metadata"],
        &json!({"managedFields": [
            {"manager": "first", "operation": "Update", "fieldsV1": {"f:data": {".": {}, "f:a": {}, "f:b": null}}},
            {"manager": "second", "operation": "Update", "fieldsV1": {"f:data": {"f:a": null, "f:b": {}, "f:c": {}}}},
        ]}),
    )
}
