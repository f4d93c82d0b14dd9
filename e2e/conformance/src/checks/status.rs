//! The status subresource.

use anyhow::Result;
use serde_json::json;

use super::{STAY, deployment, pod, topic};
use crate::World;
use crate::ask::patch;
use crate::expect::{equal, holds};
use crate::widgets::widget;

topic![
    status_is_not_written_with_the_object,
    only_status_is_written_through_its_subresource,
    status_does_not_count_as_a_generation,
    status_is_validated,
    a_new_pod_is_pending,
    a_built_in_status_is_patched_apart,
    a_kind_without_status_has_no_such_subresource,
];

async fn status_is_not_written_with_the_object(world: World) -> Result<()> {
    let mut object = widget("w", json!({"size": 1}));
    object["status"] = json!({"phase": "Done"});
    let mut made = world.made(&world.widgets(""), &object).await?;
    holds(&made, &json!({"status": null}))?;
    made["status"] = json!({"phase": "Done"});
    holds(
        &world.put(&world.widgets("/w"), &made).await?.ok()?,
        &json!({"status": null}),
    )?;
    let change = json!({"status": {"phase": "Done"}});
    let after = world
        .patch(patch::MERGE, &world.widgets("/w"), &change)
        .await?
        .ok()?;
    holds(&after, &json!({"status": null}))?;
    equal(
        &after["metadata"]["resourceVersion"],
        &made["metadata"]["resourceVersion"],
    )
}

async fn only_status_is_written_through_its_subresource(world: World) -> Result<()> {
    let path = world.widgets("/w/status");
    let mut object = world
        .made(&world.widgets(""), &widget("w", json!({"size": 1})))
        .await?;
    object["status"] = json!({"phase": "Done"});
    object["spec"]["size"] = 5.into();
    object["metadata"]["labels"] = json!({"k": "v"});
    let expected = json!({"spec": {"size": 1}, "status": {"phase": "Done"}, "metadata": {"labels": null}});
    holds(&world.put(&path, &object).await?.ok()?, &expected)?;
    holds(&world.read(&path).await?, &expected)?;
    let change = json!({"spec": {"size": 5}, "status": {"replicas": 2}});
    let after = world.patch(patch::MERGE, &path, &change).await?.ok()?;
    holds(
        &after,
        &json!({"spec": {"size": 1}, "status": {"phase": "Done", "replicas": 2}}),
    )?;
    world
        .put(&path, &object)
        .await?
        .refused_saying(409, "Conflict", &["the object has been modified"])?;
    Ok(())
}

async fn status_does_not_count_as_a_generation(world: World) -> Result<()> {
    let made = world
        .made(&world.widgets(""), &widget("w", json!({"size": 1})))
        .await?;
    let change = json!({"status": {"phase": "Done"}});
    let after = world
        .patch(patch::MERGE, &world.widgets("/w/status"), &change)
        .await?
        .ok()?;
    equal(&after["metadata"]["generation"], &made["metadata"]["generation"])?;
    holds(
        &after,
        &json!({"metadata": {"managedFields": [{"operation": "Update"}, {"operation": "Update", "subresource": "status"}]}}),
    )
}

async fn status_is_validated(world: World) -> Result<()> {
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 1})))
        .await?;
    world
        .patch(patch::MERGE, &world.widgets("/w/status"), &json!({"status": {"phase": "Gone"}}))
        .await?
        .refused(
            422,
            "Invalid",
            "Widget.conformance.caravel.dev \"w\" is invalid: status.phase: Unsupported value: \"Gone\": supported \
             values: \"New\", \"Done\"",
        )?;
    Ok(())
}

async fn a_new_pod_is_pending(world: World) -> Result<()> {
    let mut object = pod("p", "image", &STAY);
    object["spec"]["nodeSelector"] = json!({"no": "node"});
    object["status"] = json!({"phase": "Running"});
    let made = world.made(&world.path("v1", "pods"), &object).await?;
    equal(
        &made["status"],
        &json!({"phase": "Pending", "qosClass": "BestEffort"}),
    )
}

async fn a_built_in_status_is_patched_apart(world: World) -> Result<()> {
    let path = world.path("apps/v1", "deployments");
    let mut object = deployment("d", 0, "image", &STAY);
    object["spec"]["paused"] = true.into();
    let made = world.made(&path, &object).await?;
    let condition = json!({"type": "Mine", "status": "True", "reason": "Said", "message": "so"});
    let change = json!({"status": {"conditions": [condition]}, "spec": {"replicas": 3}});
    let after = world
        .patch(patch::MERGE, &format!("{path}/d/status"), &change)
        .await?
        .ok()?;
    holds(
        &after,
        &json!({"spec": {"replicas": 0}, "metadata": {"generation": made["metadata"]["generation"]}}),
    )?;
    let conditions = after["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    equal(conditions.iter().any(|one| one["type"] == "Mine"), true)
}

async fn a_kind_without_status_has_no_such_subresource(world: World) -> Result<()> {
    let path = world.path("v1", "secrets");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    world.made(&path, &secret).await?;
    world.get(&format!("{path}/a/status")).await?.refused(
        404,
        "NotFound",
        "the server could not find the requested resource",
    )?;
    Ok(())
}
