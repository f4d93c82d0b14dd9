//! What a container finds: variables, files of ConfigMaps and Secrets, its ServiceAccount.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::pods::{in_phase, said, shell, start, waiting};
use super::{config_map, topic};
use crate::World;
use crate::expect::{equal, holds};

topic![
    [Nodes] a_pod_waits_for_what_its_environment_needs,
    [Nodes] environment_comes_from_config_maps_secrets_and_the_pod,
    [Nodes] config_maps_and_secrets_are_mounted_as_files,
    [Nodes] containers_of_a_pod_share_an_empty_dir,
    [Nodes] a_service_account_is_mounted,
];

async fn a_pod_waits_for_what_its_environment_needs(world: World) -> Result<()> {
    let mut object = shell(&world, "p", "echo $A");
    object["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "a"}}}]);
    let path = start(&world, &object).await?;
    let state = waiting(&world, &path, &["CreateContainerConfigError"]).await?;
    equal(state["message"].as_str(), Some("configmap \"late\" not found"))?;
    world
        .made(
            &world.path("v1", "configmaps"),
            &config_map("late", json!({"a": "now"})),
        )
        .await?;
    equal(said(&world, &path).await?.as_str(), "now\n")
}

async fn environment_comes_from_config_maps_secrets_and_the_pod(world: World) -> Result<()> {
    world
        .made(
            &world.path("v1", "configmaps"),
            &config_map("words", json!({"a": "one", "B": "two"})),
        )
        .await?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "secret"}, "stringData": {"s": "three"}});
    world.made(&world.path("v1", "secrets"), &secret).await?;
    let mut object = shell(&world, "p", "echo $A $B $S $NAME $NAMESPACE $(MORE) $NONE.");
    object["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "words"}}]);
    object["spec"]["containers"][0]["env"] = json!([
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "words", "key": "a"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "s"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "s", "optional": true}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "MORE", "value": "$(A)-and-$(S)"},
    ]);
    let path = start(&world, &object).await?;
    equal(
        said(&world, &path).await?,
        format!("one two three p {} one-and-three .\n", world.namespace),
    )
}

async fn config_maps_and_secrets_are_mounted_as_files(world: World) -> Result<()> {
    world
        .made(
            &world.path("v1", "configmaps"),
            &config_map("words", json!({"a": "one\n", "b": "two\n"})),
        )
        .await?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "secret"}, "stringData": {"s": "three\n"}});
    world.made(&world.path("v1", "secrets"), &secret).await?;
    let mut object = shell(
        &world,
        "p",
        "cat /words/a; cat /words/b; cat /secret/inner/renamed; cat /all/name",
    );
    object["spec"]["volumes"] = json!([
        {"name": "words", "configMap": {"name": "words"}},
        {"name": "secret", "secret": {"secretName": "secret", "items": [{"key": "s", "path": "inner/renamed"}]}},
        {"name": "all", "projected": {"sources": [
            {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}},
    ]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "words", "mountPath": "/words"}, {"name": "secret", "mountPath": "/secret", "readOnly": true},
        {"name": "all", "mountPath": "/all"},
    ]);
    let path = start(&world, &object).await?;
    equal(said(&world, &path).await?.as_str(), "one\ntwo\nthree\np")
}

async fn containers_of_a_pod_share_an_empty_dir(world: World) -> Result<()> {
    let mut object = shell(&world, "p", "sleep 2; cat /here/word");
    object["spec"]["volumes"] = json!([{"name": "shared", "emptyDir": {}}]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "shared", "mountPath": "/here"}]);
    let mut other = super::container(&world.image, &["/bin/sh", "-c", "echo told > /there/word"]);
    other["name"] = "other".into();
    other["volumeMounts"] = json!([{"name": "shared", "mountPath": "/there"}]);
    if let Some(containers) = object["spec"]["containers"].as_array_mut() {
        containers.push(other);
    }
    let path = start(&world, &object).await?;
    in_phase(&world, &path, "Succeeded").await?;
    equal(
        world.read(&format!("{path}/log?container=main")).await?.as_str(),
        Some("told\n"),
    )?;
    // Which one is meant must be said.
    world.get(&format!("{path}/log")).await?.refused(
        400,
        "BadRequest",
        "a container name must be specified for pod p, choose one of: [main other]",
    )?;
    Ok(())
}

async fn a_service_account_is_mounted(world: World) -> Result<()> {
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    let path = start(
        &world,
        &shell(
            &world,
            "p",
            &format!("cat {folder}/namespace; cat {folder}/token"),
        ),
    )
    .await?;
    let text = said(&world, &path).await?;
    let token = text
        .strip_prefix(&world.namespace)
        .context("the namespace is not in the file")?;
    equal(token.split('.').count(), 3)?;
    let pod = world.read(&path).await?;
    let volume = &pod["spec"]["volumes"][0];
    ensure!(
        volume["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("kube-api-access-")),
        "{volume}"
    );
    holds(
        &volume["projected"]["sources"][0],
        &json!({"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}),
    )
}
