//! Commands that read: get, describe, wait, explain, api-resources, auth can-i.

use anyhow::{Result, bail};
use serde_json::json;

use super::super::{STAY, pod, topic};
use super::{has, kubectl, words};
use crate::World;
use crate::ask::patch;
use crate::expect::{equal, eventually};
use crate::widgets::widget;

topic![
    [Kubectl] get_prints_tables_and_what_is_asked_for,
    [Kubectl] get_says_what_it_does_not_find,
    [Kubectl] describe_tells_all_of_an_object_and_its_events,
    [Kubectl] wait_ends_with_the_condition_or_the_deletion,
    [Kubectl] api_resources_lists_every_kind,
    [Kubectl] explain_describes_fields,
    [Kubectl] auth_can_i_asks_the_api,
    [Kubectl] get_watches_rows,
];

async fn get_prints_tables_and_what_is_asked_for(world: World) -> Result<()> {
    world
        .made(
            &world.widgets(""),
            &widget("w", json!({"size": 3, "replicas": 4})),
        )
        .await?;
    let table = eventually("the widgets", || async {
        let said = kubectl(&world, &["get", "wid"]).await?;
        Ok(if said.ok { Ok(said.out) } else { Err(said.errors) })
    })
    .await?;
    let lines: Vec<&str> = table.lines().collect();
    equal(words(lines[0]), vec!["NAME", "SIZE", "PHASE", "AGE"])?;
    equal(&words(lines[1])[..2], &["w", "3"])?;
    let wide = kubectl(&world, &["get", "widgets/w", "-o", "wide", "--show-labels"])
        .await?
        .ok()?;
    has(&wide, &["COLOR", "red", "LABELS", "<none>"])?;
    let replicas = kubectl(&world, &["get", "widget", "w", "-o", "jsonpath={.spec.replicas}"])
        .await?
        .ok()?;
    equal(replicas.as_str(), "4")?;
    let names = kubectl(&world, &["get", "wid,sa", "-o", "name"]).await?.ok()?;
    equal(
        names.as_str(),
        "widget.conformance.caravel.dev/w\nserviceaccount/default\n",
    )?;
    let yaml = kubectl(
        &world,
        &[
            "get",
            "widgets.v1beta1.conformance.caravel.dev",
            "w",
            "-o",
            "yaml",
        ],
    )
    .await?
    .ok()?;
    has(
        &yaml,
        &["apiVersion: conformance.caravel.dev/v1beta1\n", "  size: 3\n"],
    )?;
    let columns = kubectl(
        &world,
        &[
            "get",
            "wid",
            "-A",
            "--field-selector",
            &format!("metadata.namespace={}", world.namespace),
            "-o",
            "custom-columns=N:.metadata.name,S:.spec.size",
            "--no-headers",
        ],
    )
    .await?
    .ok()?;
    equal(words(&columns), vec!["w", "3"])
}

async fn get_says_what_it_does_not_find(world: World) -> Result<()> {
    let said = kubectl(&world, &["get", "configmap", "nothing"])
        .await?
        .failed()?;
    equal(
        said.as_str(),
        "Error from server (NotFound): configmaps \"nothing\" not found\n",
    )?;
    let said = kubectl(&world, &["get", "nonsense"]).await?.failed()?;
    equal(
        said.as_str(),
        "error: the server doesn't have a resource type \"nonsense\"\n",
    )?;
    let said = kubectl(&world, &["get", "secrets"]).await?;
    equal(
        said.errors.as_str(),
        &format!("No resources found in {} namespace.\n", world.namespace),
    )
}

async fn describe_tells_all_of_an_object_and_its_events(world: World) -> Result<()> {
    let path = world.path("v1", "pods");
    let mut object = pod("p", "image", &STAY);
    object["spec"]["nodeSelector"] = json!({"caravel.dev/no": "such-node"});
    let made = world.made(&path, &object).await?;
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "p.1"}, "type": "Warning", "reason": "Tried",
        "message": "It was tried", "count": 1, "source": {"component": "conformance"},
        "firstTimestamp": made["metadata"]["creationTimestamp"], "lastTimestamp": made["metadata"]["creationTimestamp"],
        "involvedObject": {"kind": "Pod", "apiVersion": "v1", "name": "p", "namespace": world.namespace, "uid": made["metadata"]["uid"]},
    });
    world.made(&world.path("v1", "events"), &event).await?;
    let said = kubectl(&world, &["describe", "pod", "p"]).await?.ok()?;
    has(
        &said,
        &[
            "Name:             p\n",
            "Node-Selectors:",
            "caravel.dev/no=such-node",
            "Image:",
            "Tried",
            "It was tried",
        ],
    )?;
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 3})))
        .await?;
    let said = kubectl(&world, &["describe", "widgets", "w"]).await?.ok()?;
    has(
        &said,
        &[
            "API Version:  conformance.caravel.dev/v1\n",
            "Kind:         Widget\n",
            "  Size:      3\n",
            "Events:",
        ],
    )?;
    let claim = super::super::volumes::claim("c", "none");
    world
        .made(&world.path("v1", "persistentvolumeclaims"), &claim)
        .await?;
    let said = kubectl(&world, &["describe", "pvc", "c"]).await?.ok()?;
    has(
        &said,
        &["StorageClass:  none\n", "Status:        Pending\n", "Used By:"],
    )
}

async fn wait_ends_with_the_condition_or_the_deletion(world: World) -> Result<()> {
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 3})))
        .await?;
    let later = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let change =
            json!({"status": {"phase": "Done", "conditions": [{"type": "Ready", "status": "True"}]}});
        world
            .patch(patch::MERGE, &world.widgets("/w/status"), &change)
            .await?
            .ok()
    };
    let wait = ["wait", "widget/w", "--for=condition=Ready", "--timeout=30s"];
    let (said, changed) = tokio::join!(kubectl(&world, &wait), later);
    changed?;
    equal(
        said?.ok()?.as_str(),
        "widget.conformance.caravel.dev/w condition met\n",
    )?;
    kubectl(
        &world,
        &[
            "wait",
            "widget/w",
            "--for=jsonpath={.status.phase}=Done",
            "--timeout=30s",
        ],
    )
    .await?
    .ok()?;
    let later = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        world.delete(&world.widgets("/w")).await?.ok()
    };
    let wait = ["wait", "widget/w", "--for=delete", "--timeout=30s"];
    let (said, deleted) = tokio::join!(kubectl(&world, &wait), later);
    deleted?;
    said?.ok()?;
    world
        .made(&world.widgets(""), &widget("v", json!({"size": 3})))
        .await?;
    let said = kubectl(
        &world,
        &["wait", "widget/v", "--for=condition=Ready", "--timeout=1s"],
    )
    .await?
    .failed()?;
    equal(
        said.as_str(),
        "error: timed out waiting for the condition on widgets/v\n",
    )
}

async fn api_resources_lists_every_kind(world: World) -> Result<()> {
    let table = eventually("widgets among the resources", || async {
        let table = kubectl(&world, &["api-resources", "-o", "wide"]).await?.ok()?;
        Ok(if table.contains("conformance.caravel.dev") {
            Ok(table)
        } else {
            Err(table)
        })
    })
    .await?;
    let row = |name: &str| {
        table
            .lines()
            .map(words)
            .find(|row| row.first() == Some(&name))
            .unwrap_or_default()
    };
    equal(
        &row("configmaps")[..5],
        &["configmaps", "cm", "v1", "true", "ConfigMap"],
    )?;
    equal(
        &row("persistentvolumeclaims")[..2],
        &["persistentvolumeclaims", "pvc"],
    )?;
    equal(
        row("widgets"),
        vec![
            "widgets",
            "wid",
            "conformance.caravel.dev/v1",
            "true",
            "Widget",
            "delete,deletecollection,get,list,patch,create,update,watch",
            "conformance",
        ],
    )?;
    let names = kubectl(&world, &["api-resources", "--api-group=apps", "-o", "name"])
        .await?
        .ok()?;
    has(
        &names,
        &[
            "deployments.apps\n",
            "statefulsets.apps\n",
            "daemonsets.apps\n",
            "replicasets.apps\n",
        ],
    )?;
    let versions = kubectl(&world, &["api-versions"]).await?.ok()?;
    has(
        &versions,
        &["apps/v1\n", "conformance.caravel.dev/v1beta1\n", "\nv1\n"],
    )
}

async fn explain_describes_fields(world: World) -> Result<()> {
    let said = eventually("the description of widgets", || async {
        let said = kubectl(&world, &["explain", "widget.spec"]).await?;
        Ok(if said.ok { Ok(said.out) } else { Err(said.errors) })
    })
    .await?;
    has(
        &said,
        &[
            "KIND:       Widget\n",
            "VERSION:    v1\n",
            "size\t<integer> -required-\n",
            "How large the widget is.",
        ],
    )?;
    let said = kubectl(&world, &["explain", "widget.spec.color"]).await?.ok()?;
    has(&said, &["FIELD: color <string>", "ENUM:", "red", "green"])?;
    let said = kubectl(
        &world,
        &["explain", "deployment.spec.template.spec.containers.image"],
    )
    .await?
    .ok()?;
    has(
        &said,
        &[
            "GROUP:      apps\n",
            "KIND:       Deployment\n",
            "FIELD: image <string>",
            "Container image name",
        ],
    )?;
    let said = kubectl(&world, &["explain", "pod.spec.nonsense"])
        .await?
        .failed()?;
    equal(said.as_str(), "error: field \"nonsense\" does not exist\n")
}

async fn auth_can_i_asks_the_api(world: World) -> Result<()> {
    let said = kubectl(&world, &["auth", "can-i", "delete", "pods"])
        .await?
        .ok()?;
    equal(said.as_str(), "yes\n")
}

async fn get_watches_rows(world: World) -> Result<()> {
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 3})))
        .await?;
    let later = async {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let change = json!({"status": {"phase": "Done"}});
        world
            .patch(patch::MERGE, &world.widgets("/w/status"), &change)
            .await?
            .ok()?;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        world.delete(&world.widgets("/w")).await?.ok()
    };
    let watch = [
        "get",
        "widgets",
        "-w",
        "--output-watch-events",
        "--request-timeout=5s",
    ];
    let (said, changed) = tokio::join!(kubectl(&world, &watch), later);
    changed?;
    let out = said?.out;
    let rows: Vec<Vec<&str>> = out.lines().map(words).collect();
    let Some(rest) = rows.get(1..4) else {
        bail!("too few rows:\n{out}");
    };
    equal(&rows[0][..3], &["EVENT", "NAME", "SIZE"])?;
    equal(&rest[0][..3], &["ADDED", "w", "3"])?;
    equal(&rest[1][..4], &["MODIFIED", "w", "3", "Done"])?;
    equal(&rest[2][..2], &["DELETED", "w"])
}
