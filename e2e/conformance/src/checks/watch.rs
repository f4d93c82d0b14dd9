//! Watches.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{config_map, topic};
use crate::World;
use crate::ask::patch;
use crate::expect::{equal, holds};
use crate::widgets::widget;

topic![
    a_watch_tells_what_happened_since_a_resource_version_in_order,
    a_watch_without_resource_version_begins_with_what_is_there,
    a_deletion_is_told_with_the_last_state_and_a_later_resource_version,
    an_object_that_leaves_the_selection_is_deleted_from_the_watch,
    a_watch_of_one_name_hears_of_no_other,
    a_resource_version_older_than_the_history_is_expired,
    a_watch_ends_after_its_timeout_and_bookmarks_where_it_was,
    a_streamed_list_ends_with_its_bookmark,
    a_watch_of_custom_objects_tells_them_whole,
];

fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    text.parse().unwrap_or_default()
}

async fn a_watch_tells_what_happened_since_a_resource_version_in_order(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let first = world.made(&path, &config_map("a", json!({}))).await?;
    let mut watch = world
        .watch(&format!("{path}?resourceVersion={}", version(&first)))
        .await?;
    world.made(&path, &config_map("b", json!({}))).await?;
    world
        .patch(patch::MERGE, &format!("{path}/a"), &json!({"data": {"k": "v"}}))
        .await?
        .ok()?;
    world.delete(&format!("{path}/b")).await?.ok()?;
    let added = watch.event("ADDED").await?;
    holds(
        &added,
        &json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "b"}}),
    )?;
    let modified = watch.event("MODIFIED").await?;
    holds(&modified, &json!({"metadata": {"name": "a"}, "data": {"k": "v"}}))?;
    let deleted = watch.event("DELETED").await?;
    holds(&deleted, &json!({"metadata": {"name": "b"}}))?;
    let versions = [&first, &added, &modified, &deleted].map(version);
    ensure!(
        versions.is_sorted_by(|a, b| a < b),
        "resource versions {versions:?} do not rise"
    );
    Ok(())
}

async fn a_watch_without_resource_version_begins_with_what_is_there(world: World) -> Result<()> {
    let path = world.path("v1", "secrets");
    for name in ["b", "a"] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        world.made(&path, &secret).await?;
    }
    for query in ["", "?resourceVersion=0"] {
        let mut watch = world.watch(&format!("{path}{query}")).await?;
        let mut seen = watch.events(2).await?;
        seen.sort();
        equal(seen, vec!["ADDED a".to_owned(), "ADDED b".to_owned()])?;
    }
    Ok(())
}

async fn a_deletion_is_told_with_the_last_state_and_a_later_resource_version(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world.made(&path, &config_map("a", json!({"k": "v"}))).await?;
    let mut watch = world
        .watch(&format!("{path}?resourceVersion={}", version(&made)))
        .await?;
    world.delete(&format!("{path}/a")).await?.ok()?;
    let deleted = watch.event("DELETED").await?;
    holds(
        &deleted,
        &json!({"metadata": {"uid": made["metadata"]["uid"]}, "data": {"k": "v"}}),
    )?;
    ensure!(
        version(&deleted) > version(&made),
        "{} is not after {}",
        version(&deleted),
        version(&made)
    );
    Ok(())
}

async fn an_object_that_leaves_the_selection_is_deleted_from_the_watch(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let one = format!("{path}/a");
    let label = |value: &str| json!({"metadata": {"labels": {"on": value}}});
    let mut object = config_map("a", json!({}));
    object["metadata"]["labels"] = json!({"on": "no"});
    let made = world.made(&path, &object).await?;
    let mut watch = world
        .watch(&format!(
            "{path}?labelSelector=on%3Dyes&resourceVersion={}",
            version(&made)
        ))
        .await?;
    for value in ["yes", "no", "never", "yes"] {
        world.patch(patch::MERGE, &one, &label(value)).await?.ok()?;
    }
    holds(&watch.event("ADDED").await?, &label("yes"))?;
    watch.event("DELETED").await?;
    holds(&watch.event("ADDED").await?, &label("yes"))
}

async fn a_watch_of_one_name_hears_of_no_other(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let made = world.made(&path, &config_map("a", json!({}))).await?;
    let mut watch = world
        .watch(&format!(
            "{path}?fieldSelector=metadata.name%3Db&resourceVersion={}",
            version(&made)
        ))
        .await?;
    world.delete(&format!("{path}/a")).await?.ok()?;
    world.made(&path, &config_map("b", json!({}))).await?;
    equal(watch.events(1).await?, vec!["ADDED b".to_owned()])
}

async fn a_resource_version_older_than_the_history_is_expired(world: World) -> Result<()> {
    // A kind that is younger than the cluster: nothing of it can be remembered from before.
    let mut watch = world.watch(&world.widgets("?resourceVersion=1")).await?;
    let error = watch.event("ERROR").await?;
    holds(
        &error,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}),
    )?;
    let message = error["message"].as_str().unwrap_or_default();
    ensure!(
        message.starts_with("too old resource version: 1 ("),
        "{message:?}"
    );
    equal(watch.next().await?, None)
}

async fn a_watch_ends_after_its_timeout_and_bookmarks_where_it_was(world: World) -> Result<()> {
    let path = world.path("v1", "secrets");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    let made = world.made(&path, &secret).await?;
    let mut watch = world
        .watch(&format!(
            "{path}?allowWatchBookmarks=true&timeoutSeconds=5&resourceVersion={}",
            version(&made)
        ))
        .await?;
    let bookmark = watch.event("BOOKMARK").await?;
    holds(
        &bookmark,
        &json!({"kind": "Secret", "apiVersion": "v1", "data": null}),
    )?;
    ensure!(version(&bookmark) >= version(&made), "{bookmark}");
    while let Some(event) = watch.next().await? {
        equal(event["type"].as_str(), Some("BOOKMARK"))?;
    }
    Ok(())
}

async fn a_streamed_list_ends_with_its_bookmark(world: World) -> Result<()> {
    let path = world.path("v1", "secrets");
    for name in ["a", "b"] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        world.made(&path, &secret).await?;
    }
    let query = "?sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = world.watch(&format!("{path}{query}")).await?;
    let mut seen = watch.events(2).await?;
    seen.sort();
    equal(seen, vec!["ADDED a".to_owned(), "ADDED b".to_owned()])?;
    let bookmark = watch.event("BOOKMARK").await?;
    holds(
        &bookmark,
        &json!({"kind": "Secret", "metadata": {"annotations": {"k8s.io/initial-events-end": "true"}}}),
    )?;
    ensure!(version(&bookmark) > 0, "{bookmark}");
    world.delete(&format!("{path}/b")).await?.ok()?;
    equal(watch.events(1).await?, vec!["DELETED b".to_owned()])
}

async fn a_watch_of_custom_objects_tells_them_whole(world: World) -> Result<()> {
    let mut watch = world.watch(&world.widgets("")).await?;
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 3})))
        .await?;
    holds(
        &watch.event("ADDED").await?,
        &json!({"apiVersion": "conformance.caravel.dev/v1", "kind": "Widget", "spec": {"size": 3, "color": "red"}}),
    )?;
    world.delete(&world.widgets("/w")).await?.ok()?;
    watch.event("DELETED").await?;
    // The other version shows the same objects in its own name.
    let path = world.path("conformance.caravel.dev/v1beta1", "widgets");
    let mut watch = world.watch(&path).await?;
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 3})))
        .await?;
    holds(
        &watch.event("ADDED").await?,
        &json!({"apiVersion": "conformance.caravel.dev/v1beta1"}),
    )
}
