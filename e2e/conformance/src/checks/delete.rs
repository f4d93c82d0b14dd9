//! DELETE.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{STAY, config_map, pod, topic};
use crate::World;
use crate::expect::{equal, holds, names};
use crate::widgets::widget;

topic![
    a_deletion_answers_with_what_was_deleted,
    what_is_not_there_cannot_be_deleted,
    preconditions_must_hold,
    a_collection_is_deleted_by_selector,
    a_dry_run_deletes_nothing,
    a_pod_of_no_node_goes_at_once,
    a_pod_of_a_node_has_its_grace_period,
    an_unknown_propagation_policy_is_refused,
];

async fn a_deletion_answers_with_what_was_deleted(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world.made(&path, &config_map("a", json!({}))).await?;
    let answer = world.delete(&format!("{path}/a")).await?.ok()?;
    equal(
        answer,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
               "details": {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}}),
    )?;
    let made = world
        .made(&world.widgets(""), &widget("w", json!({"size": 1})))
        .await?;
    let answer = world.delete(&world.widgets("/w")).await?.ok()?;
    holds(
        &answer,
        &json!({"kind": "Status", "status": "Success", "details": {
            "name": "w", "group": "conformance.caravel.dev", "kind": "widgets", "uid": made["metadata"]["uid"]}}),
    )
}

async fn what_is_not_there_cannot_be_deleted(world: World) -> Result<()> {
    world.delete(&world.path("v1", "configmaps/a")).await?.refused(
        404,
        "NotFound",
        "configmaps \"a\" not found",
    )?;
    Ok(())
}

async fn preconditions_must_hold(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let one = format!("{path}/a");
    let made = world.made(&path, &config_map("a", json!({}))).await?;
    let options =
        |preconditions| json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
    let uid = made["metadata"]["uid"].as_str().unwrap_or_default();
    world.delete_with(&one, &options(json!({"uid": "other"}))).await?.refused(
        409,
        "Conflict",
        &format!(
            "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (other) does not match the \
             UID in record ({uid}). The object might have been deleted and then recreated"
        ),
    )?;
    let version = made["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    world.delete_with(&one, &options(json!({"resourceVersion": "1"}))).await?.refused(
        409,
        "Conflict",
        &format!(
            "Operation cannot be fulfilled on ConfigMap \"a\": the ResourceVersion in the precondition (1) does not \
             match the ResourceVersion in record ({version}). The object might have been modified"
        ),
    )?;
    world
        .delete_with(&one, &options(json!({"uid": uid, "resourceVersion": version})))
        .await?
        .ok()?;
    Ok(())
}

async fn a_collection_is_deleted_by_selector(world: World) -> Result<()> {
    let path = world.path("v1", "secrets");
    for (name, group) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": {"group": group}}});
        world.made(&path, &secret).await?;
    }
    let deleted = world
        .delete(&format!("{path}?labelSelector=group%3Dx"))
        .await?
        .ok()?;
    holds(&deleted, &json!({"kind": "SecretList"}))?;
    equal(names(&deleted), vec!["a", "b"])?;
    equal(names(&world.read(&path).await?), vec!["c"])?;
    for name in ["v", "w"] {
        world
            .made(&world.widgets(""), &widget(name, json!({"size": 1})))
            .await?;
    }
    let deleted = world
        .delete(&world.widgets("?fieldSelector=metadata.name%3Dv"))
        .await?
        .ok()?;
    equal(names(&deleted), vec!["v"])?;
    equal(names(&world.read(&world.widgets("")).await?), vec!["w"])
}

async fn a_dry_run_deletes_nothing(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world.made(&path, &config_map("a", json!({}))).await?;
    world.delete(&format!("{path}/a?dryRun=All")).await?.ok()?;
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"]});
    world.delete_with(&format!("{path}/a"), &options).await?.ok()?;
    equal(world.read(&format!("{path}/a")).await?, made)
}

async fn a_pod_of_no_node_goes_at_once(world: World) -> Result<()> {
    let path = world.path("v1", "pods");
    let mut object = pod("p", "image", &STAY);
    object["spec"]["nodeSelector"] = json!({"no": "node"});
    world.made(&path, &object).await?;
    let answer = world.delete(&format!("{path}/p")).await?.ok()?;
    holds(
        &answer,
        &json!({"kind": "Pod", "metadata": {"name": "p", "deletionGracePeriodSeconds": 0}}),
    )?;
    world
        .get(&format!("{path}/p"))
        .await?
        .refused(404, "NotFound", "pods \"p\" not found")?;
    Ok(())
}

async fn a_pod_of_a_node_has_its_grace_period(world: World) -> Result<()> {
    // A node that does not exist, so that no kubelet ends the pod.
    let path = world.path("v1", "pods");
    let mut object = pod("p", "image", &STAY);
    object["spec"]["nodeName"] = "no-such-node".into();
    object["spec"]["terminationGracePeriodSeconds"] = 77.into();
    world.made(&path, &object).await?;
    let one = format!("{path}/p");
    let answer = world.delete(&one).await?.ok()?;
    let metadata = json!({"metadata": {"deletionGracePeriodSeconds": 77}});
    holds(&answer, &metadata)?;
    let at = |object: &serde_json::Value| {
        object["metadata"]["deletionTimestamp"]
            .as_str()
            .unwrap_or_default()
            .parse::<jiff::Timestamp>()
    };
    let left = at(&answer)?.duration_since(jiff::Timestamp::now()).as_secs();
    ensure!(
        (60..=77).contains(&left),
        "deletionTimestamp is {left} s away, not 77"
    );
    // The pod collector may take pods of nodes that do not exist, but not within the grace period.
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    world.delete_with(&one, &options).await?.ok()?;
    world
        .get(&one)
        .await?
        .refused(404, "NotFound", "pods \"p\" not found")?;
    Ok(())
}

async fn an_unknown_propagation_policy_is_refused(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world.made(&path, &config_map("a", json!({}))).await?;
    world
        .delete(&format!("{path}/a?propagationPolicy=Sideways"))
        .await?
        .refused_saying(
            422,
            "Invalid",
            &["DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Sideways\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""],
        )?;
    Ok(())
}
