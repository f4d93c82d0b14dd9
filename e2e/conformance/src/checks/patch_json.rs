//! JSON patches (RFC 6902).

use anyhow::Result;
use serde_json::json;

use super::{config_map, topic};
use crate::World;
use crate::ask::{Ask, patch};
use crate::expect::{equal, holds};
use crate::widgets::widget;

topic![
    operations_are_done_in_order,
    a_test_that_fails_changes_nothing,
    a_path_that_is_not_there_is_refused,
    a_malformed_patch_is_refused,
    a_patch_of_unknown_kind_is_refused,
    a_stale_resource_version_in_a_patch_is_a_conflict,
];

async fn operations_are_done_in_order(world: World) -> Result<()> {
    world
        .made(
            &world.widgets(""),
            &widget("w", json!({"size": 1, "free": {"a/b~c": 1}, "steps": ["x", "z"]})),
        )
        .await?;
    let patched = world
        .patch(
            patch::JSON,
            &world.widgets("/w"),
            &json!([
                {"op": "test", "path": "/spec/size", "value": 1},
                {"op": "replace", "path": "/spec/size", "value": 2},
                {"op": "add", "path": "/spec/steps/1", "value": "y"},
                {"op": "add", "path": "/spec/steps/-", "value": "end"},
                {"op": "move", "from": "/spec/free/a~1b~0c", "path": "/spec/free/moved"},
                {"op": "copy", "from": "/spec/free/moved", "path": "/spec/free/copied"},
                {"op": "remove", "path": "/spec/steps/0"},
            ]),
        )
        .await?
        .ok()?;
    holds(
        &patched,
        &json!({"spec": {"size": 2, "steps": ["y", "z", "end"], "free": {"moved": 1, "copied": 1, "a/b~c": null}}}),
    )
}

async fn a_test_that_fails_changes_nothing(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world.made(&path, &config_map("a", json!({"k": "v"}))).await?;
    let operations = json!([
        {"op": "replace", "path": "/data/k", "value": "w"},
        {"op": "test", "path": "/data/k", "value": "v"},
    ]);
    world
        .patch(patch::JSON, &format!("{path}/a"), &operations)
        .await?
        .refused(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )?;
    equal(world.read(&format!("{path}/a")).await?, made)
}

async fn a_path_that_is_not_there_is_refused(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world.made(&path, &config_map("a", json!({"k": "v"}))).await?;
    for operation in [
        json!({"op": "remove", "path": "/data/other"}),
        json!({"op": "add", "path": "/binaryData/k", "value": "dg=="}),
    ] {
        world
            .patch(patch::JSON, &format!("{path}/a"), &json!([operation]))
            .await?
            .refused(
                422,
                "Invalid",
                "the server rejected our request due to an error in our request",
            )?;
    }
    Ok(())
}

async fn a_malformed_patch_is_refused(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let one = format!("{path}/a");
    world.made(&path, &config_map("a", json!({}))).await?;
    world
        .patch(patch::JSON, &one, &json!({"op": "remove", "path": "/data"}))
        .await?
        .refused_saying(400, "BadRequest", &["error decoding patch: "])?;
    let ask = Ask {
        method: http::Method::PATCH,
        content_type: patch::MERGE,
        body: b"{not json".to_vec(),
        ..Ask::get(&one)
    };
    world
        .ask(ask)
        .await?
        .refused_saying(400, "BadRequest", &["error decoding patch: "])?;
    Ok(())
}

async fn a_patch_of_unknown_kind_is_refused(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world.made(&path, &config_map("a", json!({}))).await?;
    world
        .patch("application/json", &format!("{path}/a"), &json!({}))
        .await?
        .refused(415, "UnsupportedMediaType", "415: Unsupported Media Type")?;
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 1})))
        .await?;
    world
        .patch(patch::STRATEGIC, &world.widgets("/w"), &json!({}))
        .await?
        .refused(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        )?;
    Ok(())
}

async fn a_stale_resource_version_in_a_patch_is_a_conflict(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let one = format!("{path}/a");
    let made = world.made(&path, &config_map("a", json!({}))).await?;
    world
        .patch(patch::MERGE, &one, &json!({"data": {"k": "v"}}))
        .await?
        .ok()?;
    let stale = &made["metadata"]["resourceVersion"];
    let words = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
                 changes to the latest version and try again";
    world
        .patch(
            patch::JSON,
            &one,
            &json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": stale}]),
        )
        .await?
        .refused(409, "Conflict", words)?;
    for kind in [patch::MERGE, patch::STRATEGIC] {
        world
            .patch(
                kind,
                &one,
                &json!({"metadata": {"resourceVersion": stale}, "data": {"k": "w"}}),
            )
            .await?
            .refused(409, "Conflict", words)?;
    }
    Ok(())
}
