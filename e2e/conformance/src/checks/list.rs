//! GET of collections.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{config_map, topic};
use crate::World;
use crate::expect::{equal, holds, names};
use crate::widgets::widget;

topic![
    a_list_has_its_kind_a_resource_version_and_items_in_order,
    a_list_of_all_namespaces_holds_the_objects_of_each,
    pages_follow_each_other_and_show_one_moment,
    a_malformed_continue_token_is_refused,
    a_malformed_limit_is_refused,
    an_object_that_is_not_there_is_not_found,
    a_resource_that_is_not_there_could_not_be_found,
    a_list_may_be_no_older_than_asked,
];

async fn a_list_has_its_kind_a_resource_version_and_items_in_order(world: World) -> Result<()> {
    let path = world.path("v1", "secrets");
    for name in ["b", "a", "a-b"] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        world.made(&path, &secret).await?;
    }
    let list = world.read(&path).await?;
    equal(names(&list), vec!["a", "a-b", "b"])?;
    // Items of built-in kinds do not repeat the kind; those of custom kinds do.
    holds(
        &list,
        &json!({"apiVersion": "v1", "kind": "SecretList",
                "items": [{"kind": null}, {"kind": null}, {"apiVersion": null}]}),
    )?;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    ensure!(version.parse::<u64>().is_ok(), "resourceVersion {version:?}");
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 1})))
        .await?;
    holds(
        &world.read(&world.widgets("")).await?,
        &json!({"apiVersion": "conformance.caravel.dev/v1", "kind": "WidgetList",
                "items": [{"kind": "Widget", "apiVersion": "conformance.caravel.dev/v1"}]}),
    )
}

async fn a_list_of_all_namespaces_holds_the_objects_of_each(world: World) -> Result<()> {
    world
        .made(&world.path("v1", "configmaps"), &config_map("mine", json!({})))
        .await?;
    let list = world.read("/api/v1/configmaps").await?;
    let mine = list["items"].as_array().into_iter().flatten().any(|item| {
        item["metadata"]["name"] == "mine" && item["metadata"]["namespace"] == world.namespace.as_str()
    });
    ensure!(mine, "the list of all namespaces lacks {}/mine", world.namespace);
    // A namespaced kind can be read, but not written, without one.
    world
        .post("/api/v1/configmaps", &config_map("a", json!({})))
        .await?
        .refused(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )?;
    Ok(())
}

async fn pages_follow_each_other_and_show_one_moment(world: World) -> Result<()> {
    let path = world.path("v1", "secrets");
    let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    for name in ["a", "b", "c", "d", "e"] {
        world.made(&path, &secret(name)).await?;
    }
    let first = world.read(&format!("{path}?limit=2")).await?;
    equal(names(&first), vec!["a", "b"])?;
    holds(&first, &json!({"metadata": {"remainingItemCount": 3}}))?;
    world.made(&path, &secret("d2")).await?;
    let token = |list: &serde_json::Value| {
        list["metadata"]["continue"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let second = world
        .read(&format!("{path}?limit=2&continue={}", token(&first)))
        .await?;
    equal(names(&second), vec!["c", "d"])?;
    equal(
        &second["metadata"]["resourceVersion"],
        &first["metadata"]["resourceVersion"],
    )?;
    let third = world
        .read(&format!("{path}?limit=2&continue={}", token(&second)))
        .await?;
    equal(names(&third), vec!["e"])?;
    holds(
        &third,
        &json!({"metadata": {"continue": null, "remainingItemCount": null}}),
    )
}

async fn a_malformed_continue_token_is_refused(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world
        .get(&format!("{path}?limit=1&continue=nonsense"))
        .await?
        .refused_saying(400, "BadRequest", &["continue key is not valid: "])?;
    Ok(())
}

async fn a_malformed_limit_is_refused(world: World) -> Result<()> {
    world
        .get(&world.path("v1", "configmaps?limit=many"))
        .await?
        .refused_saying(
            400,
            "BadRequest",
            &["strconv.ParseInt: parsing \"many\": invalid syntax"],
        )?;
    Ok(())
}

async fn an_object_that_is_not_there_is_not_found(world: World) -> Result<()> {
    let details = world.get(&world.path("v1", "pods/nobody")).await?.refused(
        404,
        "NotFound",
        "pods \"nobody\" not found",
    )?;
    equal(details, json!({"name": "nobody", "kind": "pods"}))?;
    let details = world.get(&world.widgets("/nothing")).await?.refused(
        404,
        "NotFound",
        "widgets.conformance.caravel.dev \"nothing\" not found",
    )?;
    equal(
        details,
        json!({"name": "nothing", "group": "conformance.caravel.dev", "kind": "widgets"}),
    )?;
    world.get("/api/v1/namespaces/nowhere").await?.refused(
        404,
        "NotFound",
        "namespaces \"nowhere\" not found",
    )?;
    Ok(())
}

async fn a_resource_that_is_not_there_could_not_be_found(world: World) -> Result<()> {
    world.get(&world.path("v1", "nothings")).await?.refused(
        404,
        "NotFound",
        "the server could not find the requested resource",
    )?;
    let answer = world
        .get(&world.path("conformance.caravel.dev/v1", "nothings"))
        .await?;
    equal((answer.code, answer.body), (404, json!("404 page not found\n")))?;
    let answer = world.get("/apis/nothing.caravel.dev/v1").await?;
    equal((answer.code, answer.body), (404, json!("404 page not found\n")))
}

async fn a_list_may_be_no_older_than_asked(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world.made(&path, &config_map("a", json!({}))).await?;
    let version = made["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let list = world
        .read(&format!(
            "{path}?resourceVersion={version}&resourceVersionMatch=NotOlderThan"
        ))
        .await?;
    ensure!(names(&list).contains(&"a"), "{:?}", names(&list));
    world.read(&format!("{path}?resourceVersion=0")).await?;
    world
        .get(&format!("{path}?resourceVersionMatch=Exact"))
        .await?
        .refused_saying(
            422,
            "Invalid",
            &["resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"],
        )?;
    Ok(())
}
