//! Tables, as kubectl prints them, and metadata alone, as the garbage collector reads it.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{STAY, config_map, deployment, pod, topic};
use crate::World;
use crate::ask::{Ask, patch};
use crate::expect::{equal, holds};
use crate::widgets::widget;

topic![
    pods_are_printed_with_their_columns,
    config_maps_secrets_and_claims_are_printed,
    deployments_namespaces_and_nodes_are_printed,
    custom_kinds_are_printed_by_their_printer_columns,
    rows_hold_as_much_of_the_object_as_asked,
    a_watch_is_printed_row_by_row,
    metadata_can_be_asked_for_alone,
];

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

async fn table(world: &World, path: &str) -> Result<Value> {
    let table = world
        .ask(Ask {
            accept: TABLE,
            ..Ask::get(path)
        })
        .await?
        .ok()?;
    holds(&table, &json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1"}))?;
    Ok(table)
}

/// `Name Ready Status`: the columns that are always shown, and those of `-o wide` in brackets.
fn columns(table: &Value) -> String {
    let names = table["columnDefinitions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|column| {
            let name = column["name"].as_str().unwrap_or_default().replace(' ', "-");
            if column["priority"] == 0 {
                name
            } else {
                format!("({name})")
            }
        });
    names.collect::<Vec<_>>().join(" ")
}

/// The first row's cells.
fn cells(table: &Value) -> Vec<Value> {
    table["rows"][0]["cells"].as_array().cloned().unwrap_or_default()
}

async fn pods_are_printed_with_their_columns(world: World) -> Result<()> {
    let path = world.path("v1", "pods");
    let mut object = pod("p", "image", &STAY);
    object["spec"]["nodeName"] = "no-such-node".into();
    world.made(&path, &object).await?;
    let table = table(&world, &path).await?;
    equal(
        columns(&table).as_str(),
        "Name Ready Status Restarts Age (IP) (Node) (Nominated-Node) (Readiness-Gates)",
    )?;
    let row = cells(&table);
    equal(
        &row[..4],
        &[json!("p"), json!("0/1"), json!("Pending"), json!("0")],
    )?;
    ensure!(
        row[4].as_str().is_some_and(|age| age.ends_with('s')),
        "age {}",
        row[4]
    );
    equal(
        &row[5..],
        &[
            json!("<none>"),
            json!("no-such-node"),
            json!("<none>"),
            json!("<none>"),
        ],
    )?;
    holds(
        &table["rows"][0]["object"],
        &json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "p"}, "spec": null}),
    )?;
    ensure!(
        table["metadata"]["resourceVersion"].is_string(),
        "{}",
        table["metadata"]
    );
    holds(
        &table["columnDefinitions"][0],
        &json!({"name": "Name", "type": "string", "format": "name", "priority": 0}),
    )
}

async fn config_maps_secrets_and_claims_are_printed(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world
        .made(&path, &config_map("a", json!({"k": "v", "l": "v"})))
        .await?;
    let printed = table(&world, &format!("{path}/a")).await?;
    equal(columns(&printed).as_str(), "Name Data Age")?;
    equal(&cells(&printed)[..2], &[json!("a"), json!(2)])?;
    let path = world.path("v1", "secrets");
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}});
    world.made(&path, &secret).await?;
    let printed = table(&world, &format!("{path}/s")).await?;
    equal(columns(&printed).as_str(), "Name Type Data Age")?;
    equal(&cells(&printed)[..3], &[json!("s"), json!("Opaque"), json!(1)])?;
    let path = world.path("v1", "persistentvolumeclaims");
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}});
    world.made(&path, &claim).await?;
    let printed = table(&world, &format!("{path}/c")).await?;
    equal(
        columns(&printed).as_str(),
        "Name Status Volume Capacity Access-Modes StorageClass VolumeAttributesClass Age (VolumeMode)",
    )?;
    let row = cells(&printed);
    equal(
        &row[..7],
        &[
            json!("c"),
            json!("Pending"),
            json!(""),
            json!(""),
            json!(""),
            json!("none"),
            json!("<unset>"),
        ],
    )?;
    equal(&row[8], &json!("Filesystem"))
}

async fn deployments_namespaces_and_nodes_are_printed(world: World) -> Result<()> {
    let path = world.path("apps/v1", "deployments");
    let mut object = deployment("d", 2, "image", &STAY);
    object["spec"]["paused"] = true.into();
    world.made(&path, &object).await?;
    let printed = table(&world, &format!("{path}/d")).await?;
    equal(
        columns(&printed).as_str(),
        "Name Ready Up-to-date Available Age (Containers) (Images) (Selector)",
    )?;
    let row = cells(&printed);
    equal(&row[..4], &[json!("d"), json!("0/2"), json!(0), json!(0)])?;
    equal(&row[5..], &[json!("main"), json!("image"), json!("app=d")])?;
    let printed = table(&world, &format!("/api/v1/namespaces/{}", world.namespace)).await?;
    equal(columns(&printed).as_str(), "Name Status Age")?;
    equal(&cells(&printed)[1], &json!("Active"))?;
    let printed = table(&world, "/api/v1/nodes").await?;
    equal(
        columns(&printed).as_str(),
        "Name Status Roles Age Version (Internal-IP) (External-IP) (OS-Image) (Kernel-Version) (Container-Runtime)",
    )
}

async fn custom_kinds_are_printed_by_their_printer_columns(world: World) -> Result<()> {
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 3})))
        .await?;
    let printed = table(&world, &world.widgets("")).await?;
    equal(columns(&printed).as_str(), "Name Size Phase (Color) Age")?;
    let row = cells(&printed);
    equal(&row[..4], &[json!("w"), json!(3), Value::Null, json!("red")])?;
    ensure!(
        row[4].as_str().is_some_and(|age| age.ends_with('s')),
        "age {}",
        row[4]
    );
    holds(
        &printed["columnDefinitions"][1],
        &json!({"name": "Size", "type": "integer", "description": "How large it is", "priority": 0}),
    )?;
    let change = json!({"status": {"phase": "Done"}});
    world
        .patch(patch::MERGE, &world.widgets("/w/status"), &change)
        .await?
        .ok()?;
    equal(
        &cells(&table(&world, &world.widgets("/w")).await?)[2],
        &json!("Done"),
    )
}

async fn rows_hold_as_much_of_the_object_as_asked(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world.made(&path, &config_map("a", json!({"k": "v"}))).await?;
    let whole = table(&world, &format!("{path}/a?includeObject=Object")).await?;
    holds(
        &whole["rows"][0]["object"],
        &json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"k": "v"}}),
    )?;
    let none = table(&world, &format!("{path}/a?includeObject=None")).await?;
    equal(&none["rows"][0]["object"], &Value::Null)
}

async fn a_watch_is_printed_row_by_row(world: World) -> Result<()> {
    let path = world.path("v1", "secrets");
    let mut watch = world.watch_as(&path, TABLE).await?;
    let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    world.made(&path, &secret("a")).await?;
    world.made(&path, &secret("b")).await?;
    let first = watch.event("ADDED").await?;
    holds(&first, &json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1"}))?;
    equal(columns(&first).as_str(), "Name Type Data Age")?;
    equal(&cells(&first)[0], &json!("a"))?;
    // Later events do not repeat the columns.
    let second = watch.event("ADDED").await?;
    equal(second["columnDefinitions"].as_array().map_or(0, Vec::len), 0)?;
    equal(&cells(&second)[0], &json!("b"))
}

async fn metadata_can_be_asked_for_alone(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world.made(&path, &config_map("a", json!({"k": "v"}))).await?;
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let one = world
        .ask(Ask {
            accept,
            ..Ask::get(&format!("{path}/a"))
        })
        .await?
        .ok()?;
    equal(
        one,
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": made["metadata"]}),
    )?;
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let query = format!("{path}?fieldSelector=metadata.name%3Da");
    let list = world
        .ask(Ask {
            accept,
            ..Ask::get(&query)
        })
        .await?
        .ok()?;
    holds(
        &list,
        &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "items": [{"metadata": {"name": "a"}, "data": null}]}),
    )
}
