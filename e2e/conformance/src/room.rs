//! What each check has to itself: a namespace, and what it makes outside of it under its label.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use crate::expect::names;
use crate::{Check, World};

/// Label on what checks make outside their namespace; its value is the check's namespace.
pub const MADE_BY: &str = "conformance.caravel.dev/made-by";
/// Label of the checks' own namespaces.
const ROOM: &str = "conformance.caravel.dev/room";

/// Emptying 250 namespaces takes a real cluster about two minutes.
const EARLIER: Duration = Duration::from_secs(400);

/// Makes a namespace, and waits for what a namespace gets by itself.
pub async fn make(world: &World, number: usize, check: &Check) -> Result<String> {
    let start = format!("{}-{number}-", check.topic.replace("::", "-").replace('_', "-"));
    let object = json!({"apiVersion": "v1", "kind": "Namespace",
                        "metadata": {"generateName": start, "labels": {ROOM: "true"}}});
    let namespace = world.made("/api/v1/namespaces", &object).await?;
    let name = namespace["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let path = format!("/api/v1/namespaces/{name}");
    if world.controllers {
        world
            .until(&format!("{path}/serviceaccounts/default"), &json!({}))
            .await?;
        world
            .until(&format!("{path}/configmaps/kube-root-ca.crt"), &json!({}))
            .await?;
    } else {
        // Pods need one.
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        world.made(&format!("{path}/serviceaccounts"), &account).await?;
    }
    Ok(name)
}

/// Deletes what the check made outside of its namespace.
pub async fn clear(world: &World) -> Result<()> {
    let selector = format!("?labelSelector={MADE_BY}%3D{}", world.namespace);
    for kinds in [
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        "/api/v1/persistentvolumes",
    ] {
        let answer = world.delete(&format!("{kinds}{selector}")).await?;
        // 404: a kind that this API does not have, so nothing was made of it.
        if answer.code != 404 {
            answer.ok()?;
        }
    }
    delete_namespaces(world, &selector).await
}

/// Deletes the namespaces of all checks, of this run and of runs that were broken off. Their end is not waited for: with
/// controllers it comes, without them there is nothing that would empty them. Not after each check, because emptying a
/// namespace keeps the namespace controller busy, and some checks wait for it.
pub async fn give_back(world: &World) -> Result<()> {
    delete_namespaces(world, &format!("?labelSelector={ROOM}")).await
}

/// Waits until the namespaces of an earlier run are gone: as long as the namespace controller empties those, it does not
/// come to the ones that checks wait for.
pub async fn wait_for_earlier(world: &World) -> Result<()> {
    give_back(world).await?;
    if !world.controllers {
        return Ok(());
    }
    let begun = Instant::now();
    loop {
        let left = world
            .read(&format!("/api/v1/namespaces?labelSelector={ROOM}"))
            .await?;
        let left = names(&left);
        if left.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > EARLIER {
            bail!("namespaces of an earlier run do not go: {}", left.join(", "));
        }
        if begun.elapsed().as_secs().is_multiple_of(30) {
            println!("{} namespaces of an earlier run are still going", left.len());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Namespaces are the one kind that cannot be deleted as a collection.
async fn delete_namespaces(world: &World, query: &str) -> Result<()> {
    let list = world.read(&format!("/api/v1/namespaces{query}")).await?;
    for name in names(&list) {
        let answer = world.delete(&format!("/api/v1/namespaces/{name}")).await?;
        // 404: it went meanwhile. 409: it is changing just now, because it is being deleted already.
        if !matches!(answer.code, 404 | 409) {
            answer.ok()?;
        }
    }
    Ok(())
}
