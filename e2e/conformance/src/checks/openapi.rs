//! OpenAPI v3, from which kubectl explains and validates.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::topic;
use crate::World;
use crate::expect::{eventually, holds};

topic![
    the_index_leads_to_a_document_for_each_group_and_version,
    built_in_kinds_are_described,
    custom_kinds_are_described_as_their_schema_says,
];

/// Follows the index; null when the group and version is not in it.
async fn document(world: &World, group_version: &str) -> Result<Value> {
    let index = world.read("/openapi/v3").await?;
    match index["paths"][group_version]["serverRelativeURL"].as_str() {
        None => Ok(Value::Null),
        Some(url) => world.read(url).await,
    }
}

async fn the_index_leads_to_a_document_for_each_group_and_version(world: World) -> Result<()> {
    let index = world.read("/openapi/v3").await?;
    for path in [
        "api/v1",
        "apis/apps/v1",
        "apis/batch/v1",
        "apis/storage.k8s.io/v1",
    ] {
        let url = index["paths"][path]["serverRelativeURL"]
            .as_str()
            .unwrap_or_default();
        ensure!(
            url.starts_with(&format!("/openapi/v3/{path}?hash=")),
            "{path} is at {url:?}"
        );
    }
    let apps = document(&world, "apis/apps/v1").await?;
    ensure!(
        apps["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.0")),
        "{}",
        apps["openapi"]
    );
    ensure!(
        apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"].is_object(),
        "no path of deployments"
    );
    Ok(())
}

async fn built_in_kinds_are_described(world: World) -> Result<()> {
    let apps = document(&world, "apis/apps/v1").await?;
    let schemas = &apps["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    holds(
        deployment,
        &json!({"type": "object", "x-kubernetes-group-version-kind": [{"group": "apps", "kind": "Deployment", "version": "v1"}]}),
    )?;
    ensure!(
        deployment["description"]
            .as_str()
            .is_some_and(|text| text.starts_with("Deployment enables")),
        "{deployment}"
    );
    let spec = &schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"];
    ensure!(
        spec["replicas"]["description"]
            .as_str()
            .is_some_and(|text| text.contains("pods")),
        "{}",
        spec["replicas"]
    );
    let container = &schemas["io.k8s.api.core.v1.Container"];
    holds(
        container,
        &json!({"required": ["name"], "properties": {"image": {"type": "string"}}}),
    )?;
    // Descriptions of patches: which lists have keys.
    holds(
        &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"],
        &json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge"}),
    )
}

async fn custom_kinds_are_described_as_their_schema_says(world: World) -> Result<()> {
    eventually("the OpenAPI document of widgets", || async {
        let document = document(&world, "apis/conformance.caravel.dev/v1").await?;
        let widget = &document["components"]["schemas"]["dev.caravel.conformance.v1.Widget"];
        Ok(holds(
            widget,
            &json!({
                "type": "object", "description": "A Widget has one field of everything.", "required": ["spec"],
                "x-kubernetes-group-version-kind": [{"group": "conformance.caravel.dev", "kind": "Widget", "version": "v1"}],
                "properties": {"spec": {"type": "object", "required": ["size"], "properties": {
                    "size": {"type": "integer", "description": "How large the widget is.", "minimum": 1},
                    "color": {"type": "string", "enum": ["red", "green"], "default": "red"}}}},
            }),
        )
        .map_err(|error| error.to_string()))
    })
    .await
}
