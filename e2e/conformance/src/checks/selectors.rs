//! Label and field selectors.

use anyhow::Result;
use serde_json::json;

use super::{config_map, pod, topic};
use crate::World;
use crate::expect::{equal, names};
use crate::widgets::widget;

topic![
    labels_are_selected_by_equality_sets_and_existence,
    a_malformed_label_selector_is_refused,
    every_kind_is_selected_by_its_name,
    pods_are_selected_by_node_and_phase,
    secrets_are_selected_by_type,
    custom_kinds_are_selected_by_the_fields_that_they_name,
    a_field_that_cannot_be_selected_by_is_refused,
];

async fn labels_are_selected_by_equality_sets_and_existence(world: World) -> Result<()> {
    let path = world.path("v1", "secrets");
    for (name, labels) in [
        ("a", json!({"app": "shop", "tier": "one"})),
        ("b", json!({"app": "shop"})),
        ("c", json!({"app": "other", "tier": "two"})),
        ("d", json!({})),
    ] {
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}});
        world.made(&path, &secret).await?;
    }
    for (selector, expected) in [
        ("app=shop", "a b"),
        ("app%3D%3Dshop,tier%3Done", "a"),
        ("app!=shop", "c d"),
        ("app+in+(shop,other)", "a b c"),
        ("tier+notin+(one)", "b c d"),
        ("tier", "a c"),
        ("%21tier", "b d"),
        ("app+in+(shop),tier", "a"),
        ("app=", ""),
    ] {
        let list = world.read(&format!("{path}?labelSelector={selector}")).await?;
        equal(
            (selector, names(&list).join(" ")),
            (selector, expected.to_owned()),
        )?;
    }
    Ok(())
}

async fn a_malformed_label_selector_is_refused(world: World) -> Result<()> {
    let path = world.path("v1", "secrets");
    world
        .get(&format!("{path}?labelSelector=a+b"))
        .await?
        .refused_saying(
            400,
            "BadRequest",
            &["unable to parse requirement: found 'b', expected:"],
        )?;
    world
        .get(&format!("{path}?labelSelector=a%3D-b"))
        .await?
        .refused_saying(
            400,
            "BadRequest",
            &["Invalid value: \"-b\": a valid label must be"],
        )?;
    Ok(())
}

async fn every_kind_is_selected_by_its_name(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    for name in ["a", "b"] {
        world.made(&path, &config_map(name, json!({}))).await?;
        world
            .made(&world.widgets(""), &widget(name, json!({"size": 1})))
            .await?;
    }
    for path in [path, world.widgets("")] {
        let list = world
            .read(&format!("{path}?fieldSelector=metadata.name%3Da"))
            .await?;
        equal(names(&list), vec!["a"])?;
        let list = world
            .read(&format!(
                "{path}?fieldSelector=metadata.name!=a,metadata.name!=kube-root-ca.crt"
            ))
            .await?;
        equal(names(&list), vec!["b"])?;
    }
    let list = world
        .read(&format!(
            "/api/v1/configmaps?fieldSelector=metadata.namespace={},metadata.name=b",
            world.namespace
        ))
        .await?;
    equal(names(&list), vec!["b"])
}

async fn pods_are_selected_by_node_and_phase(world: World) -> Result<()> {
    let path = world.path("v1", "pods");
    for (name, node) in [("here", "no-such-node"), ("there", "no-other-node")] {
        let mut object = pod(name, "image", &[]);
        object["spec"]["nodeName"] = node.into();
        world.made(&path, &object).await?;
    }
    for (selector, expected) in [
        ("spec.nodeName=no-such-node", "here"),
        ("status.phase=Pending", "here there"),
        ("status.phase!=Pending", ""),
        ("spec.restartPolicy=Never,metadata.name=there", "there"),
    ] {
        let list = world.read(&format!("{path}?fieldSelector={selector}")).await?;
        equal(
            (selector, names(&list).join(" ")),
            (selector, expected.to_owned()),
        )?;
    }
    Ok(())
}

async fn secrets_are_selected_by_type(world: World) -> Result<()> {
    let path = world.path("v1", "secrets");
    for (name, kind) in [("a", "Opaque"), ("b", "caravel.dev/other")] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind});
        world.made(&path, &secret).await?;
    }
    let list = world
        .read(&format!("{path}?fieldSelector=type%3Dcaravel.dev/other"))
        .await?;
    equal(names(&list), vec!["b"])
}

async fn custom_kinds_are_selected_by_the_fields_that_they_name(world: World) -> Result<()> {
    let path = world.widgets("");
    world
        .made(&path, &widget("a", json!({"size": 1, "color": "green"})))
        .await?;
    world.made(&path, &widget("b", json!({"size": 1}))).await?;
    let list = world
        .read(&format!("{path}?fieldSelector=spec.color%3Dred"))
        .await?;
    equal(names(&list), vec!["b"])
}

async fn a_field_that_cannot_be_selected_by_is_refused(world: World) -> Result<()> {
    world
        .get(&world.path("v1", "configmaps?fieldSelector=data.a%3Db"))
        .await?
        .refused(
            400,
            "BadRequest",
            "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        )?;
    world
        .get(&world.widgets("?fieldSelector=spec.size%3D1"))
        .await?
        .refused_saying(400, "BadRequest", &["field label not supported: spec.size"])?;
    Ok(())
}
