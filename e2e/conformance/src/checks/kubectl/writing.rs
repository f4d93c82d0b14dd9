//! Commands that write: apply, create, edit, patch, label, annotate, delete, diff.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::{STAY, config_map, deployment, topic};
use super::{has, kubectl, kubectl_reading};
use crate::World;
use crate::ask::patch;
use crate::expect::{equal, holds};
use crate::widgets::widget;

topic![
    [Kubectl] apply_creates_then_configures_then_leaves_alone,
    [Kubectl] apply_on_the_server_tells_conflicts,
    [Kubectl] apply_refuses_unknown_fields,
    [Kubectl] create_says_what_exists_and_what_is_invalid,
    [Kubectl] create_makes_objects_from_flags,
    [Kubectl] edit_writes_what_the_editor_left,
    [Kubectl] patch_label_and_annotate_change_an_object,
    [Kubectl] delete_waits_for_the_end,
    [Kubectl] diff_shows_what_would_change,
];

async fn apply_creates_then_configures_then_leaves_alone(world: World) -> Result<()> {
    let apply = |object: serde_json::Value| {
        let world = world.clone();
        async move {
            kubectl_reading(&world, &["apply", "-f", "-"], &object.to_string())
                .await?
                .ok()
        }
    };
    let mut object = deployment("d", 0, "one", &STAY);
    equal(
        apply(object.clone()).await?.as_str(),
        "deployment.apps/d created\n",
    )?;
    equal(
        apply(object.clone()).await?.as_str(),
        "deployment.apps/d unchanged\n",
    )?;
    object["spec"]["template"]["spec"]["containers"][0]["image"] = "two".into();
    equal(apply(object).await?.as_str(), "deployment.apps/d configured\n")?;
    holds(
        &world.read(&world.path("apps/v1", "deployments/d")).await?,
        &json!({"spec": {"template": {"spec": {"containers": [{"image": "two", "name": "main"}]}}}}),
    )?;
    let apply_widget = |spec| apply(widget("w", spec));
    equal(
        apply_widget(json!({"size": 1, "code": "a"})).await?.as_str(),
        "widget.conformance.caravel.dev/w created\n",
    )?;
    equal(
        apply_widget(json!({"size": 2})).await?.as_str(),
        "widget.conformance.caravel.dev/w configured\n",
    )?;
    holds(
        &world.read(&world.widgets("/w")).await?,
        &json!({"spec": {"size": 2, "code": null}}),
    )
}

async fn apply_on_the_server_tells_conflicts(world: World) -> Result<()> {
    let object = |value: &str| config_map("a", json!({"k": value})).to_string();
    let flags = ["apply", "--server-side", "-f", "-"];
    let said = kubectl_reading(&world, &flags, &object("v")).await?.ok()?;
    equal(said.as_str(), "configmap/a serverside-applied\n")?;
    let other = [&flags[..], &["--field-manager", "other"]].concat();
    let said = kubectl_reading(&world, &other, &object("w")).await?.failed()?;
    has(
        &said,
        &[
            "Apply failed with 1 conflict: conflict with \"kubectl\": .data.k",
            "--force-conflicts",
        ],
    )?;
    let forced = [&other[..], &["--force-conflicts"]].concat();
    kubectl_reading(&world, &forced, &object("w")).await?.ok()?;
    holds(
        &world.read(&world.path("v1", "configmaps/a")).await?,
        &json!({"data": {"k": "w"}}),
    )
}

async fn apply_refuses_unknown_fields(world: World) -> Result<()> {
    let mut object = deployment("d", 0, "one", &STAY);
    object["spec"]["template"]["spec"]["contaners"] = json!([]);
    let said = kubectl_reading(&world, &["apply", "-f", "-"], &object.to_string())
        .await?
        .failed()?;
    has(
        &said,
        &["strict decoding error: unknown field \"spec.template.spec.contaners\""],
    )?;
    let said = kubectl_reading(
        &world,
        &["apply", "-f", "-"],
        &widget("w", json!({"size": 1, "sise": 2})).to_string(),
    )
    .await?
    .failed()?;
    has(&said, &["strict decoding error: unknown field \"spec.sise\""])
}

async fn create_says_what_exists_and_what_is_invalid(world: World) -> Result<()> {
    let object = config_map("a", json!({"k": "v"})).to_string();
    let create = ["create", "-f", "-"];
    equal(
        kubectl_reading(&world, &create, &object).await?.ok()?.as_str(),
        "configmap/a created\n",
    )?;
    let said = kubectl_reading(&world, &create, &object).await?.failed()?;
    equal(
        said.as_str(),
        "Error from server (AlreadyExists): error when creating \"STDIN\": configmaps \"a\" already exists\n",
    )?;
    let said = kubectl_reading(
        &world,
        &["create", "-f", "-"],
        &widget("w", json!({"size": 99})).to_string(),
    )
    .await?
    .failed()?;
    equal(
        said.as_str(),
        "The Widget \"w\" is invalid: spec.size: Invalid value: 99: spec.size in body should be less than or equal to 10\n",
    )
}

async fn create_makes_objects_from_flags(world: World) -> Result<()> {
    let create = ["create", "configmap", "a", "--from-literal=k=v"];
    equal(
        kubectl(&world, &create).await?.ok()?.as_str(),
        "configmap/a created\n",
    )?;
    holds(
        &world.read(&world.path("v1", "configmaps/a")).await?,
        &json!({"data": {"k": "v"}}),
    )?;
    let said = kubectl(&world, &create).await?.failed()?;
    equal(
        said.as_str(),
        "error: failed to create configmap: configmaps \"a\" already exists\n",
    )?;
    let create = ["create", "secret", "generic", "s", "--from-literal=k=v"];
    kubectl(&world, &create).await?.ok()?;
    holds(
        &world.read(&world.path("v1", "secrets/s")).await?,
        &json!({"data": {"k": "dg=="}, "type": "Opaque"}),
    )
}

async fn edit_writes_what_the_editor_left(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world
        .made(&path, &config_map("a", json!({"k": "before"})))
        .await?;
    let said = kubectl(&world, &["edit", "configmap", "a"]).await?.ok()?;
    equal(said.as_str(), "configmap/a edited\n")?;
    holds(
        &world.read(&format!("{path}/a")).await?,
        &json!({"data": {"k": "after"}}),
    )?;
    let said = kubectl(&world, &["edit", "configmap", "a"]).await?;
    has(
        &format!("{}{}", said.out, said.errors),
        &["Edit cancelled, no changes made."],
    )?;
    world
        .made(
            &world.widgets(""),
            &widget("w", json!({"size": 3, "code": "x", "steps": ["before"]})),
        )
        .await?;
    let said = kubectl(&world, &["edit", "widget", "w"]).await?.ok()?;
    equal(said.as_str(), "widget.conformance.caravel.dev/w edited\n")?;
    holds(
        &world.read(&world.widgets("/w")).await?,
        &json!({"spec": {"steps": ["after"], "size": 3}}),
    )
}

async fn patch_label_and_annotate_change_an_object(world: World) -> Result<()> {
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 3})))
        .await?;
    let said = kubectl(
        &world,
        &[
            "patch",
            "widget",
            "w",
            "--type=merge",
            "-p",
            r#"{"spec":{"size":4}}"#,
        ],
    )
    .await?
    .ok()?;
    equal(said.as_str(), "widget.conformance.caravel.dev/w patched\n")?;
    kubectl(
        &world,
        &[
            "patch",
            "widget",
            "w",
            "--type=json",
            "-p",
            r#"[{"op":"add","path":"/spec/code","value":"x"}]"#,
        ],
    )
    .await?
    .ok()?;
    let said = kubectl(
        &world,
        &[
            "patch",
            "widget",
            "w",
            "--type=merge",
            "--subresource=status",
            "-p",
            r#"{"status":{"phase":"Done"}}"#,
        ],
    )
    .await?
    .ok()?;
    equal(said.as_str(), "widget.conformance.caravel.dev/w patched\n")?;
    kubectl(&world, &["label", "widget", "w", "a=b"]).await?.ok()?;
    kubectl(&world, &["annotate", "widget", "w", "c=d"]).await?.ok()?;
    holds(
        &world.read(&world.widgets("/w")).await?,
        &json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": {"size": 4, "code": "x"}, "status": {"phase": "Done"}}),
    )?;
    let said = kubectl(&world, &["label", "widget", "w", "a=c"])
        .await?
        .failed()?;
    has(&said, &["'a' already has a value (b), and --overwrite is false"])?;
    kubectl(&world, &["label", "widget", "w", "a-"]).await?.ok()?;
    holds(
        &world.read(&world.widgets("/w")).await?,
        &json!({"metadata": {"labels": null}}),
    )
}

async fn delete_waits_for_the_end(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let mut object = config_map("a", json!({}));
    object["metadata"]["finalizers"] = json!(["caravel.dev/hold"]);
    world.made(&path, &object).await?;
    let said = kubectl(&world, &["delete", "configmap", "a", "--wait=false"])
        .await?
        .ok()?;
    has(&said, &["configmap \"a\" deleted"])?;
    let releasing = async {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let change = json!({"metadata": {"finalizers": null}});
        world
            .patch(patch::MERGE, &format!("{path}/a"), &change)
            .await?
            .ok()
    };
    let (said, released) = tokio::join!(
        kubectl(&world, &["delete", "configmap/a", "--timeout=30s"]),
        releasing
    );
    released?;
    has(&said?.ok()?, &["configmap \"a\" deleted"])?;
    equal(world.get(&format!("{path}/a")).await?.code, 404)?;
    for name in ["b", "c"] {
        let mut object = config_map(name, json!({}));
        object["metadata"]["labels"] = json!({"app": "x"});
        world.made(&path, &object).await?;
    }
    let said = kubectl(&world, &["delete", "configmaps", "-l", "app=x"])
        .await?
        .ok()?;
    equal(said.lines().count(), 2)?;
    let said = kubectl(&world, &["delete", "configmap", "b"]).await?.failed()?;
    equal(
        said.as_str(),
        "Error from server (NotFound): configmaps \"b\" not found\n",
    )
}

async fn diff_shows_what_would_change(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world.made(&path, &config_map("a", json!({"k": "v"}))).await?;
    let said = kubectl_reading(
        &world,
        &["diff", "-f", "-"],
        &config_map("a", json!({"k": "w"})).to_string(),
    )
    .await?;
    ensure!(!said.ok, "diff ends with 1 when there is a difference");
    has(&said.out, &["-  k: v\n", "+  k: w\n"])?;
    holds(
        &world.read(&format!("{path}/a")).await?,
        &json!({"data": {"k": "v"}}),
    )
}
