//! Events, in both of their kinds.

use anyhow::Result;
use serde_json::{Value, json};

use super::topic;
use crate::World;
use crate::expect::{equal, holds, names};

topic![
    events_are_selected_by_what_they_are_about,
    an_event_is_about_an_object_of_its_namespace,
    both_kinds_of_events_are_the_same_objects,
];

fn event(world: &World, name: &str, about: &str, reason: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": name},
        "involvedObject": {"kind": "ConfigMap", "namespace": world.namespace, "name": about, "apiVersion": "v1", "uid": "1-2"},
        "type": "Warning", "reason": reason, "message": "Something happened", "count": 2,
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:01:00Z",
        "source": {"component": "conformance"},
    })
}

async fn events_are_selected_by_what_they_are_about(world: World) -> Result<()> {
    let path = world.path("v1", "events");
    for (name, about, reason) in [("e1", "a", "Began"), ("e2", "a", "Ended"), ("e3", "b", "Began")] {
        world.made(&path, &event(&world, name, about, reason)).await?;
    }
    for (selector, expected) in [
        ("involvedObject.name=a,involvedObject.kind=ConfigMap", "e1 e2"),
        ("involvedObject.name=a,reason=Ended", "e2"),
        (
            "involvedObject.uid=1-2,type=Warning,source=conformance",
            "e1 e2 e3",
        ),
        ("type=Normal", ""),
    ] {
        let list = world.read(&format!("{path}?fieldSelector={selector}")).await?;
        equal(
            (selector, names(&list).join(" ")),
            (selector, expected.to_owned()),
        )?;
    }
    Ok(())
}

async fn an_event_is_about_an_object_of_its_namespace(world: World) -> Result<()> {
    let mut object = event(&world, "e", "a", "Began");
    object["involvedObject"]["namespace"] = "elsewhere".into();
    world.post(&world.path("v1", "events"), &object).await?.refused(
        422,
        "Invalid",
        "Event \"e\" is invalid: involvedObject.namespace: Invalid value: \"elsewhere\": does not match event.namespace",
    )?;
    Ok(())
}

async fn both_kinds_of_events_are_the_same_objects(world: World) -> Result<()> {
    world
        .made(&world.path("v1", "events"), &event(&world, "e", "a", "Began"))
        .await?;
    let same = world.read(&world.path("events.k8s.io/v1", "events/e")).await?;
    holds(
        &same,
        &json!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "note": "Something happened", "reason": "Began", "type": "Warning",
                "regarding": {"kind": "ConfigMap", "name": "a"}, "deprecatedCount": 2,
                "deprecatedSource": {"component": "conformance"}, "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z"}),
    )?;
    let new = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "n"},
        "eventTime": "2026-01-01T00:00:00.000001Z", "reportingController": "caravel.dev/conformance", "reportingInstance": "one",
        "action": "Checking", "reason": "Checked", "type": "Normal", "note": "It is so",
        "regarding": {"kind": "ConfigMap", "namespace": world.namespace, "name": "a", "apiVersion": "v1"},
    });
    world
        .made(&world.path("events.k8s.io/v1", "events"), &new)
        .await?;
    holds(
        &world.read(&world.path("v1", "events/n")).await?,
        &json!({"kind": "Event", "message": "It is so", "involvedObject": {"name": "a"}, "reportingComponent": "caravel.dev/conformance"}),
    )
}
