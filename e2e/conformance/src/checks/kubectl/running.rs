//! Commands on what runs: logs, exec, rollout, scale.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::{STAY, deployment, pod, topic};
use super::{has, kubectl, kubectl_reading, words};
use crate::World;
use crate::expect::equal;
use crate::widgets::widget;

topic![
    [Kubectl, Nodes] logs_and_exec_reach_a_pod,
    [Kubectl, Nodes] rollout_and_scale_follow_a_deployment,
    [Kubectl, Nodes] get_all_lists_what_is_of_that_category,
];

async fn logs_and_exec_reach_a_pod(world: World) -> Result<()> {
    let object = pod("p", &world.image, &["/bin/sh", "-c", "echo hello; sleep 3600"]);
    world.made(&world.path("v1", "pods"), &object).await?;
    kubectl(
        &world,
        &["wait", "pod/p", "--for=condition=Ready", "--timeout=60s"],
    )
    .await?
    .ok()?;
    equal(kubectl(&world, &["logs", "p"]).await?.ok()?.as_str(), "hello\n")?;
    equal(
        kubectl(&world, &["logs", "pod/p", "-c", "main", "--tail=1"])
            .await?
            .ok()?
            .as_str(),
        "hello\n",
    )?;
    let said = kubectl(&world, &["exec", "p", "--", "/bin/sh", "-c", "echo inside"])
        .await?
        .ok()?;
    equal(said.as_str(), "inside\n")?;
    let said = kubectl_reading(&world, &["exec", "-i", "p", "--", "cat"], "through\n")
        .await?
        .ok()?;
    equal(said.as_str(), "through\n")?;
    let said = kubectl(&world, &["exec", "p", "--", "/bin/sh", "-c", "exit 7"])
        .await?
        .failed()?;
    has(&said, &["command terminated with exit code 7"])?;
    let said = kubectl(&world, &["exec", "p", "--", "/bin/sh", "-c", "cat /no/such"])
        .await?
        .failed()?;
    has(&said, &["can't open '/no/such'", "exit code 1"])?;
    let said = kubectl(&world, &["logs", "p", "-c", "other"]).await?.failed()?;
    equal(said.as_str(), "error: container other is not valid for pod p\n")?;
    let table = kubectl(&world, &["get", "pod", "p"]).await?.ok()?;
    let row: Vec<&str> = table.lines().nth(1).map(words).unwrap_or_default();
    equal(&row[..4], &["p", "1/1", "Running", "0"])?;
    let said = kubectl(&world, &["describe", "pod", "p"]).await?.ok()?;
    has(&said, &["Status:", "Running", "Scheduled", "Started"])?;
    kubectl(&world, &["delete", "pod", "p", "--timeout=60s"])
        .await?
        .ok()?;
    Ok(())
}

async fn rollout_and_scale_follow_a_deployment(world: World) -> Result<()> {
    let object = deployment("d", 1, &world.image, &STAY);
    kubectl_reading(&world, &["apply", "-f", "-"], &object.to_string())
        .await?
        .ok()?;
    let said = kubectl(&world, &["rollout", "status", "deployment/d", "--timeout=60s"])
        .await?
        .ok()?;
    has(&said, &["deployment \"d\" successfully rolled out"])?;
    let said = kubectl(&world, &["scale", "deployment/d", "--replicas=2"])
        .await?
        .ok()?;
    equal(said.as_str(), "deployment.apps/d scaled\n")?;
    kubectl(&world, &["rollout", "status", "deployment/d", "--timeout=60s"])
        .await?
        .ok()?;
    kubectl(&world, &["rollout", "restart", "deployment/d"])
        .await?
        .ok()?;
    kubectl(&world, &["rollout", "status", "deployment/d", "--timeout=60s"])
        .await?
        .ok()?;
    let table = kubectl(&world, &["get", "deploy", "d", "--no-headers"])
        .await?
        .ok()?;
    equal(&words(&table)[..4], &["d", "2/2", "2", "2"])?;
    let said = kubectl(&world, &["logs", "deployment/d", "--tail=1"]).await?;
    ensure!(said.ok, "{}", said.errors);
    Ok(())
}

async fn get_all_lists_what_is_of_that_category(world: World) -> Result<()> {
    let path = world.path("apps/v1", "deployments");
    world
        .made(&path, &deployment("d", 1, &world.image, &STAY))
        .await?;
    kubectl(
        &world,
        &[
            "wait",
            "deployment/d",
            "--for=condition=Available",
            "--timeout=60s",
        ],
    )
    .await?
    .ok()?;
    let names = kubectl(&world, &["get", "all", "-o", "name"]).await?.ok()?;
    has(&names, &["pod/d-", "deployment.apps/d\n", "replicaset.apps/d-"])?;
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 3})))
        .await?;
    let names = kubectl(&world, &["get", "conformance", "-o", "name"])
        .await?
        .ok()?;
    equal(names.as_str(), "widget.conformance.caravel.dev/w\n")
}
