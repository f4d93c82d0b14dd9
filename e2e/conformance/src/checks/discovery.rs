//! What the API says it serves.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::topic;
use crate::World;
use crate::ask::Ask;
use crate::expect::{equal, eventually, holds};

topic![
    versions_and_groups_are_told,
    resources_are_told_with_verbs_and_short_names,
    custom_kinds_are_told_with_their_subresources,
    all_is_told_at_once_to_who_asks_so,
    the_server_tells_its_version_and_health,
];

/// The one of this name.
fn named<'a>(list: &'a Value, name: &str) -> Result<&'a Value> {
    let found = list
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["name"] == name);
    found.with_context(|| format!("there is no {name}"))
}

async fn versions_and_groups_are_told(world: World) -> Result<()> {
    holds(
        &world.read("/api").await?,
        &json!({"kind": "APIVersions", "versions": ["v1"]}),
    )?;
    let groups = world.read("/apis").await?;
    holds(&groups, &json!({"kind": "APIGroupList", "apiVersion": "v1"}))?;
    let v1 = |group: &str| json!({"groupVersion": format!("{group}/v1"), "version": "v1"});
    for group in [
        "apps",
        "batch",
        "storage.k8s.io",
        "rbac.authorization.k8s.io",
        "apiextensions.k8s.io",
        "coordination.k8s.io",
        "conformance.caravel.dev",
    ] {
        holds(
            named(&groups["groups"], group)?,
            &json!({"preferredVersion": v1(group)}),
        )?;
    }
    holds(
        named(&groups["groups"], "conformance.caravel.dev")?,
        &json!({"versions": [v1("conformance.caravel.dev"),
                {"groupVersion": "conformance.caravel.dev/v1beta1", "version": "v1beta1"}]}),
    )?;
    holds(
        &world.read("/apis/apps").await?,
        &json!({"kind": "APIGroup", "name": "apps", "versions": [v1("apps")]}),
    )
}

async fn resources_are_told_with_verbs_and_short_names(world: World) -> Result<()> {
    let core = world.read("/api/v1").await?;
    holds(&core, &json!({"kind": "APIResourceList", "groupVersion": "v1"}))?;
    for (name, expected) in [
        (
            "configmaps",
            json!({"kind": "ConfigMap", "namespaced": true, "shortNames": ["cm"], "singularName": "configmap",
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]}),
        ),
        (
            "namespaces",
            json!({"kind": "Namespace", "namespaced": false, "shortNames": ["ns"],
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]}),
        ),
        ("persistentvolumeclaims", json!({"shortNames": ["pvc"]})),
        (
            "pods",
            json!({"kind": "Pod", "shortNames": ["po"], "categories": ["all"]}),
        ),
        (
            "pods/log",
            json!({"kind": "Pod", "verbs": ["get"], "namespaced": true}),
        ),
        ("pods/status", json!({"verbs": ["get", "patch", "update"]})),
        ("pods/binding", json!({"kind": "Binding", "verbs": ["create"]})),
        (
            "pods/eviction",
            json!({"kind": "Eviction", "group": "policy", "version": "v1", "verbs": ["create"]}),
        ),
        (
            "serviceaccounts/token",
            json!({"kind": "TokenRequest", "group": "authentication.k8s.io", "verbs": ["create"]}),
        ),
    ] {
        holds(named(&core["resources"], name)?, &expected).with_context(|| name.to_owned())?;
    }
    let apps = world.read("/apis/apps/v1").await?;
    holds(
        named(&apps["resources"], "deployments")?,
        &json!({"shortNames": ["deploy"], "categories": ["all"], "kind": "Deployment"}),
    )?;
    holds(
        named(&apps["resources"], "deployments/scale")?,
        &json!({"kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get", "patch", "update"]}),
    )
}

async fn custom_kinds_are_told_with_their_subresources(world: World) -> Result<()> {
    let list = eventually("the discovery of widgets", || async {
        let answer = world.get("/apis/conformance.caravel.dev/v1").await?;
        Ok(if answer.code == 200 {
            Ok(answer.body)
        } else {
            Err(answer.body.to_string())
        })
    })
    .await?;
    holds(
        named(&list["resources"], "widgets")?,
        &json!({"kind": "Widget", "namespaced": true, "singularName": "widget", "shortNames": ["wid"], "categories": ["conformance"],
                "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]}),
    )?;
    holds(
        named(&list["resources"], "widgets/status")?,
        &json!({"kind": "Widget", "verbs": ["get", "patch", "update"]}),
    )?;
    holds(
        named(&list["resources"], "widgets/scale")?,
        &json!({"kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get", "patch", "update"]}),
    )
}

async fn all_is_told_at_once_to_who_asks_so(world: World) -> Result<()> {
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let answer = world
        .ask(Ask {
            accept,
            ..Ask::get("/api")
        })
        .await?;
    ensure!(
        answer
            .content_type
            .starts_with("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
        "content type {}",
        answer.content_type
    );
    let core = answer.ok()?;
    holds(
        &core,
        &json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2"}),
    )?;
    let resources = &core["items"][0]["versions"][0]["resources"];
    let resource = |name: &str| {
        let all = resources.as_array().into_iter().flatten();
        all.into_iter()
            .find(|one| one["resource"] == name)
            .cloned()
            .unwrap_or_default()
    };
    holds(
        &resource("pods"),
        &json!({"scope": "Namespaced", "singularResource": "pod", "shortNames": ["po"], "categories": ["all"],
                "responseKind": {"kind": "Pod"}}),
    )?;
    let below = resource("pods")["subresources"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    ensure!(
        below.iter().any(|one| one["subresource"] == "log"),
        "pods have no log: {below:?}"
    );
    // New kinds are told here a little later.
    eventually("the aggregated discovery of widgets", || async {
        let groups = world
            .ask(Ask {
                accept,
                ..Ask::get("/apis")
            })
            .await?
            .ok()?;
        let all = groups["items"].as_array().cloned().unwrap_or_default();
        let ours = all
            .iter()
            .find(|one| one["metadata"]["name"] == "conformance.caravel.dev");
        Ok(match ours {
            None => Err("the group is missing".to_owned()),
            Some(group) => holds(
                &group["versions"][0],
                &json!({"version": "v1", "freshness": "Current", "resources": [{
                    "resource": "widgets", "scope": "Namespaced", "shortNames": ["wid"],
                    "responseKind": {"group": "conformance.caravel.dev", "version": "v1", "kind": "Widget"},
                    "subresources": [{"subresource": "status"}, {"subresource": "scale"}]}]}),
            )
            .map_err(|error| error.to_string()),
        })
    })
    .await
}

async fn the_server_tells_its_version_and_health(world: World) -> Result<()> {
    let version = world.read("/version").await?;
    holds(&version, &json!({"major": "1"}))?;
    ensure!(
        version["gitVersion"]
            .as_str()
            .is_some_and(|text| text.starts_with("v1.")),
        "{version}"
    );
    for path in ["/healthz", "/livez", "/readyz"] {
        equal(world.read(path).await?, json!("ok"))?;
    }
    Ok(())
}
