//! Namespaces: their birth and their end.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{config_map, topic};
use crate::World;
use crate::ask::patch;
use crate::expect::{condition, eventually, holds};
use crate::room::MADE_BY;

topic![
    a_namespace_is_active_and_labelled_with_its_name,
    a_namespace_goes_when_its_finalizers_are_finalized,
    what_is_terminating_takes_nothing_new,
    the_default_namespace_may_not_be_deleted,
    [Controllers] a_namespace_gets_a_service_account_and_the_authority,
    [Controllers] a_namespace_takes_what_is_in_it_along,
    [Controllers] a_namespace_waits_for_what_is_held_in_it,
];

/// A namespace beside the check's own; its path.
async fn another(world: &World, finalizers: &[&str]) -> Result<String> {
    let name = format!("{}-b", world.namespace);
    let object = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {MADE_BY: world.namespace}}, "spec": {"finalizers": finalizers}});
    world.made("/api/v1/namespaces", &object).await?;
    Ok(format!("/api/v1/namespaces/{name}"))
}

/// Takes the finalizers of a namespace that is being deleted away, as its controllers would, until it is gone.
async fn finalize(world: &World, path: &str) -> Result<()> {
    eventually("the end of the namespace", || async {
        let mut namespace = match world.get(path).await? {
            answer if answer.code == 404 => return Ok(Ok(())),
            answer => answer.ok()?,
        };
        namespace["spec"]["finalizers"] = json!([]);
        let answer = world.put(&format!("{path}/finalize"), &namespace).await?;
        Ok(Err(format!("{} {}", answer.code, answer.body)))
    })
    .await
}

async fn a_namespace_is_active_and_labelled_with_its_name(world: World) -> Result<()> {
    let namespace = world
        .read(&format!("/api/v1/namespaces/{}", world.namespace))
        .await?;
    holds(
        &namespace,
        &json!({"metadata": {"labels": {"kubernetes.io/metadata.name": world.namespace}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}),
    )
}

async fn a_namespace_goes_when_its_finalizers_are_finalized(world: World) -> Result<()> {
    let path = another(&world, &["caravel.dev/hold"]).await?;
    holds(
        &world.read(&path).await?,
        &json!({"spec": {"finalizers": ["caravel.dev/hold", "kubernetes"]}}),
    )?;
    let answer = world.delete(&path).await?.ok()?;
    holds(
        &answer,
        &json!({"kind": "Namespace", "status": {"phase": "Terminating"}}),
    )?;
    finalize(&world, &path).await
}

async fn what_is_terminating_takes_nothing_new(world: World) -> Result<()> {
    let path = another(&world, &["caravel.dev/hold"]).await?;
    let name = format!("{}-b", world.namespace);
    world.delete(&path).await?.ok()?;
    let details = world.post(&format!("{path}/configmaps"), &config_map("a", json!({}))).await?.refused(
        403,
        "Forbidden",
        &format!(
            "configmaps \"a\" is forbidden: unable to create new content in namespace {name} because it is being terminated"
        ),
    )?;
    holds(
        &details,
        &json!({"name": "a", "kind": "configmaps", "causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace",
                "message": format!("namespace {name} is being terminated")}]}),
    )?;
    finalize(&world, &path).await
}

async fn the_default_namespace_may_not_be_deleted(world: World) -> Result<()> {
    world
        .delete("/api/v1/namespaces/default?dryRun=All")
        .await?
        .refused(
            403,
            "Forbidden",
            "namespaces \"default\" is forbidden: this namespace may not be deleted",
        )?;
    Ok(())
}

async fn a_namespace_gets_a_service_account_and_the_authority(world: World) -> Result<()> {
    let path = another(&world, &[]).await?;
    world
        .until(
            &format!("{path}/serviceaccounts/default"),
            &json!({"kind": "ServiceAccount"}),
        )
        .await?;
    let authority = world
        .until(&format!("{path}/configmaps/kube-root-ca.crt"), &json!({}))
        .await?;
    let pem = authority["data"]["ca.crt"].as_str().unwrap_or_default();
    ensure!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem:?}");
    Ok(())
}

async fn a_namespace_takes_what_is_in_it_along(world: World) -> Result<()> {
    let path = another(&world, &[]).await?;
    world
        .made(&format!("{path}/configmaps"), &config_map("a", json!({})))
        .await?;
    let widgets = path.replace("/api/v1", "/apis/conformance.caravel.dev/v1");
    let widget = crate::widgets::widget("w", json!({"size": 1}));
    world.made(&format!("{widgets}/widgets"), &widget).await?;
    world.delete(&path).await?.ok()?;
    world.until_gone(&path).await?;
    world
        .get(&format!("{path}/configmaps/a"))
        .await?
        .refused_saying(404, "NotFound", &["not found"])?;
    world
        .get(&format!("{widgets}/widgets/w"))
        .await?
        .refused_saying(404, "NotFound", &["not found"])?;
    Ok(())
}

async fn a_namespace_waits_for_what_is_held_in_it(world: World) -> Result<()> {
    let path = another(&world, &[]).await?;
    let mut held = config_map("a", json!({}));
    held["metadata"]["finalizers"] = json!(["caravel.dev/hold"]);
    world.made(&format!("{path}/configmaps"), &held).await?;
    world.delete(&path).await?.ok()?;
    let (waiting, ()) = world
        .until_it(&path, |namespace| {
            let remaining = condition(namespace, "NamespaceFinalizersRemaining");
            if remaining["status"] == "True" {
                Ok(())
            } else {
                Err(format!("NamespaceFinalizersRemaining is {remaining}"))
            }
        })
        .await?;
    holds(
        condition(&waiting, "NamespaceFinalizersRemaining"),
        &json!({"reason": "SomeFinalizersRemain",
                "message": "Some content in the namespace has finalizers remaining: caravel.dev/hold in 1 resource instances"}),
    )?;
    holds(
        condition(&waiting, "NamespaceContentRemaining"),
        &json!({"reason": "SomeResourcesRemain",
                "message": "Some resources are remaining: configmaps. has 1 resource instances"}),
    )?;
    let change = json!({"metadata": {"finalizers": null}});
    world
        .patch(patch::MERGE, &format!("{path}/configmaps/a"), &change)
        .await?
        .ok()?;
    world.until_gone(&path).await
}
