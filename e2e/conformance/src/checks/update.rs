//! PUT.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{STAY, config_map, deployment, pod, topic};
use crate::World;
use crate::ask::patch;
use crate::expect::{equal, holds};
use crate::widgets::widget;

topic![
    a_stale_resource_version_is_a_conflict,
    without_resource_version_a_built_in_object_is_overwritten,
    without_resource_version_a_custom_object_is_not_updated,
    an_update_that_changes_nothing_keeps_the_resource_version,
    what_the_server_set_survives_an_update,
    generation_counts_changes_of_the_spec_only,
    an_object_that_is_not_there_is_not_made_by_an_update,
    the_name_in_the_body_must_be_that_of_the_path,
    another_uid_is_a_conflict,
    an_immutable_config_map_stays_as_it_is,
    a_claim_keeps_its_spec,
    a_pod_keeps_its_spec,
    a_deployment_keeps_its_selector,
    a_dry_run_changes_nothing,
];

async fn a_stale_resource_version_is_a_conflict(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let one = format!("{path}/a");
    let stale = world.made(&path, &config_map("a", json!({}))).await?;
    let mut fresh = stale.clone();
    fresh["data"] = json!({"k": "1"});
    world.put(&one, &fresh).await?.ok()?;
    let details = world.put(&one, &fresh).await?.refused(
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to \
         the latest version and try again",
    )?;
    equal(details, json!({"name": "a", "kind": "configmaps"}))?;
    let path = world.widgets("");
    let mut stale = world.made(&path, &widget("w", json!({"size": 1}))).await?;
    stale["spec"]["size"] = 2.into();
    world.put(&world.widgets("/w"), &stale).await?.ok()?;
    world.put(&world.widgets("/w"), &stale).await?.refused(
        409,
        "Conflict",
        "Operation cannot be fulfilled on widgets.conformance.caravel.dev \"w\": the object has been modified; please \
         apply your changes to the latest version and try again",
    )?;
    Ok(())
}

async fn without_resource_version_a_built_in_object_is_overwritten(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world.made(&path, &config_map("a", json!({"old": "1"}))).await?;
    let updated = world
        .put(&format!("{path}/a"), &config_map("a", json!({"new": "2"})))
        .await?
        .ok()?;
    equal(&updated["data"], &json!({"new": "2"}))
}

async fn without_resource_version_a_custom_object_is_not_updated(world: World) -> Result<()> {
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 1})))
        .await?;
    world
        .put(&world.widgets("/w"), &widget("w", json!({"size": 2})))
        .await?
        .refused(
            422,
            "Invalid",
            "widgets.conformance.caravel.dev \"w\" is invalid: metadata.resourceVersion: Invalid value: 0: must be \
             specified for an update",
        )?;
    Ok(())
}

async fn an_update_that_changes_nothing_keeps_the_resource_version(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world.made(&path, &config_map("a", json!({"k": "v"}))).await?;
    let updated = world.put(&format!("{path}/a"), &made).await?.ok()?;
    equal(
        &updated["metadata"]["resourceVersion"],
        &made["metadata"]["resourceVersion"],
    )?;
    let made = world
        .made(&world.widgets(""), &widget("w", json!({"size": 1})))
        .await?;
    let updated = world.put(&world.widgets("/w"), &made).await?.ok()?;
    equal(updated, made)
}

async fn what_the_server_set_survives_an_update(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world.made(&path, &config_map("a", json!({}))).await?;
    let mut object = config_map("a", json!({"k": "v"}));
    object["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    let updated = world.put(&format!("{path}/a"), &object).await?.ok()?;
    let kept = |name: &str| equal(&updated["metadata"][name], &made["metadata"][name]);
    kept("uid")?;
    kept("creationTimestamp")?;

    ensure!(
        updated["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"],
        "no new version"
    );
    object["metadata"]["deletionTimestamp"] = "2001-01-01T00:00:00Z".into();
    world.put(&format!("{path}/a"), &object).await?.refused(
        422,
        "Invalid",
        "ConfigMap \"a\" is invalid: metadata.deletionTimestamp: Invalid value: \"2001-01-01T00:00:00Z\": field is immutable",
    )?;
    Ok(())
}

async fn generation_counts_changes_of_the_spec_only(world: World) -> Result<()> {
    let path = world.path("apps/v1", "deployments");
    let one = format!("{path}/d");
    let generation = |object: &Value| object["metadata"]["generation"].as_i64();
    let made = world.made(&path, &deployment("d", 0, "image", &STAY)).await?;
    equal(generation(&made), Some(1))?;
    let change = json!({"metadata": {"labels": {"k": "v"}}});
    equal(
        generation(&world.patch(patch::MERGE, &one, &change).await?.ok()?),
        Some(1),
    )?;
    let change = json!({"spec": {"revisionHistoryLimit": 3}});
    equal(
        generation(&world.patch(patch::MERGE, &one, &change).await?.ok()?),
        Some(2),
    )?;

    let mut object = world
        .made(&world.widgets(""), &widget("w", json!({"size": 1})))
        .await?;
    equal(generation(&object), Some(1))?;
    object["metadata"]["labels"] = json!({"k": "v"});
    let mut object = world.put(&world.widgets("/w"), &object).await?.ok()?;
    equal(generation(&object), Some(1))?;
    object["spec"]["size"] = 2.into();
    equal(
        generation(&world.put(&world.widgets("/w"), &object).await?.ok()?),
        Some(2),
    )
}

async fn an_object_that_is_not_there_is_not_made_by_an_update(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps/a");
    world.put(&path, &config_map("a", json!({}))).await?.refused(
        404,
        "NotFound",
        "configmaps \"a\" not found",
    )?;
    Ok(())
}

async fn the_name_in_the_body_must_be_that_of_the_path(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world.made(&path, &config_map("a", json!({}))).await?;
    world
        .put(&format!("{path}/a"), &config_map("b", json!({})))
        .await?
        .refused(
            400,
            "BadRequest",
            "the name of the object (b) does not match the name on the URL (a)",
        )?;
    Ok(())
}

async fn another_uid_is_a_conflict(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world.made(&path, &config_map("a", json!({}))).await?;
    let mut object = config_map("a", json!({}));
    object["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000".into();
    let uid = made["metadata"]["uid"].as_str().unwrap_or_default();
    world.put(&format!("{path}/a"), &object).await?.refused_saying(
        409,
        "Conflict",
        &[
            "Operation cannot be fulfilled on configmaps \"a\": ",
            "Precondition failed: UID in precondition: 00000000-0000-0000-0000-000000000000, UID in object meta: ",
            uid,
        ],
    )?;
    Ok(())
}

async fn an_immutable_config_map_stays_as_it_is(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let mut object = config_map("a", json!({"k": "v"}));
    object["immutable"] = true.into();
    world.made(&path, &object).await?;
    object["data"] = json!({"k": "w"});
    let details = world.put(&format!("{path}/a"), &object).await?.refused(
        422,
        "Invalid",
        "ConfigMap \"a\" is invalid: data: Forbidden: field is immutable when `immutable` is set",
    )?;
    holds(
        &details,
        &json!({"causes": [{"reason": "FieldValueForbidden", "field": "data"}]}),
    )
}

async fn a_claim_keeps_its_spec(world: World) -> Result<()> {
    let path = world.path("v1", "persistentvolumeclaims");
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}});
    let mut made = world.made(&path, &claim).await?;
    made["spec"]["accessModes"] = json!(["ReadWriteMany"]);
    world.put(&format!("{path}/c"), &made).await?.refused_saying(
        422,
        "Invalid",
        &["PersistentVolumeClaim \"c\" is invalid: spec: Forbidden: spec is immutable after creation except \
           resources.requests and volumeAttributesClassName for bound claims"],
    )?;
    Ok(())
}

async fn a_pod_keeps_its_spec(world: World) -> Result<()> {
    let path = world.path("v1", "pods");
    let mut object = pod("p", "image", &STAY);
    object["spec"]["nodeSelector"] = json!({"no": "node"});
    let mut made = world.made(&path, &object).await?;
    // Without resourceVersion, since the scheduler writes to the pod's status meanwhile.
    made["metadata"]["resourceVersion"] = Value::Null;
    let mut changed = made.clone();
    changed["spec"]["containers"][0]["command"] = json!(["other"]);
    world
        .put(&format!("{path}/p"), &changed)
        .await?
        .refused_saying(
            422,
            "Invalid",
            &["Pod \"p\" is invalid: spec: Forbidden: pod updates may not change fields other than \
               `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` \
               (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it \
               was previously negative)"],
        )?;
    made["spec"]["containers"][0]["image"] = "other".into();
    made["metadata"]["labels"] = json!({"k": "v"});
    holds(
        &world.put(&format!("{path}/p"), &made).await?.ok()?,
        &json!({"spec": {"containers": [{"image": "other"}]}, "metadata": {"labels": {"k": "v", "app": null}}}),
    )
}

async fn a_deployment_keeps_its_selector(world: World) -> Result<()> {
    let path = world.path("apps/v1", "deployments");
    let mut made = world.made(&path, &deployment("d", 0, "image", &STAY)).await?;
    made["spec"]["selector"]["matchLabels"] = json!({"app": "e"});
    made["spec"]["template"]["metadata"]["labels"] = json!({"app": "e"});
    made["metadata"]["resourceVersion"] = serde_json::Value::Null;
    world.put(&format!("{path}/d"), &made).await?.refused(
        422,
        "Invalid",
        "Deployment.apps \"d\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"e\"}}: field is immutable",
    )?;
    Ok(())
}

async fn a_dry_run_changes_nothing(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world.made(&path, &config_map("a", json!({}))).await?;
    let updated = world
        .put(
            &format!("{path}/a?dryRun=All"),
            &config_map("a", json!({"k": "v"})),
        )
        .await?
        .ok()?;
    equal(&updated["data"], &json!({"k": "v"}))?;
    equal(world.read(&format!("{path}/a")).await?, made)
}
