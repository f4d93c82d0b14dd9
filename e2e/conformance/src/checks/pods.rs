//! Pods on nodes: from their start to their end.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{STAY, pod, topic};
use crate::World;
use crate::expect::{condition, equal, eventually, holds};

topic![
    [Nodes] a_running_pod_tells_its_node_addresses_and_conditions,
    [Nodes] a_pod_that_ends_well_has_succeeded,
    [Nodes] a_pod_that_ends_badly_has_failed_with_its_message,
    [Nodes] a_container_that_ends_is_started_again,
    [Nodes] init_containers_run_first,
    [Nodes] a_deleted_pod_ends_and_goes,
    [Nodes] a_pod_that_fits_no_node_waits_and_says_so,
    [Nodes] an_image_that_cannot_be_had_is_waited_for,
    [Nodes] logs_are_read_whole_or_from_their_end,
    [Nodes] logs_of_a_container_that_is_not_there_are_refused,
];

pub(super) fn shell(world: &World, name: &str, line: &str) -> Value {
    pod(name, &world.image, &["/bin/sh", "-c", line])
}

/// Creates the pod; its path.
pub(super) async fn start(world: &World, object: &Value) -> Result<String> {
    let path = world.path("v1", "pods");
    let made = world.made(&path, object).await?;
    Ok(format!(
        "{path}/{}",
        made["metadata"]["name"].as_str().unwrap_or_default()
    ))
}

pub(super) async fn in_phase(world: &World, path: &str, phase: &str) -> Result<Value> {
    world.until(path, &json!({"status": {"phase": phase}})).await
}

/// What the pod has said, once it has succeeded.
pub(super) async fn said(world: &World, path: &str) -> Result<String> {
    in_phase(world, path, "Succeeded").await?;
    let log = world.read(&format!("{path}/log")).await?;
    // A number or a word may be JSON by accident.
    Ok(log.as_str().map_or_else(|| log.to_string(), str::to_owned))
}

/// The state of the pod's only container, once it satisfies.
pub(super) async fn waiting(world: &World, path: &str, reasons: &[&str]) -> Result<Value> {
    world
        .until_it(path, |pod| {
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            if reasons.iter().any(|reason| waiting["reason"] == *reason) {
                Ok(waiting.clone())
            } else {
                Err(format!("the container is {waiting}"))
            }
        })
        .await
        .map(|(_, waiting)| waiting)
}

async fn a_running_pod_tells_its_node_addresses_and_conditions(world: World) -> Result<()> {
    let path = start(&world, &pod("p", &world.image, &STAY)).await?;
    let (running, ()) = world
        .until_it(&path, |pod| {
            let ready = condition(pod, "Ready");
            if ready["status"] == "True" {
                Ok(())
            } else {
                Err(format!("Ready is {ready}"))
            }
        })
        .await?;
    let status = &running["status"];
    holds(
        status,
        &json!({"phase": "Running", "qosClass": "BestEffort", "containerStatuses": [{
            "name": "main", "ready": true, "started": true, "restartCount": 0, "lastState": {}, "image": world.image,
        }]}),
    )?;
    let container = &status["containerStatuses"][0];
    ensure!(
        container["state"]["running"]["startedAt"].is_string(),
        "state {}",
        container["state"]
    );
    ensure!(
        container["containerID"]
            .as_str()
            .is_some_and(|id| id.contains("://")),
        "{container}"
    );
    for kind in [
        "PodScheduled",
        "Initialized",
        "ContainersReady",
        "Ready",
        "PodReadyToStartContainers",
    ] {
        let condition = condition(&running, kind);
        holds(condition, &json!({"status": "True"})).context(kind)?;
        ensure!(condition["lastTransitionTime"].is_string(), "{condition}");
    }
    for address in ["podIP", "hostIP", "startTime"] {
        ensure!(status[address].is_string(), "no {address} in {status}");
    }
    equal(&status["podIPs"], &json!([{"ip": status["podIP"]}]))?;
    let node = running["spec"]["nodeName"].as_str().context("no nodeName")?;
    let node = world.read(&format!("/api/v1/nodes/{node}")).await?;
    holds(
        condition(&node, "Ready"),
        &json!({"status": "True", "reason": "KubeletReady"}),
    )?;
    equal(running["spec"]["serviceAccountName"].as_str(), Some("default"))
}

async fn a_pod_that_ends_well_has_succeeded(world: World) -> Result<()> {
    let path = start(&world, &shell(&world, "p", "echo done")).await?;
    let ended = in_phase(&world, &path, "Succeeded").await?;
    let state = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    holds(state, &json!({"exitCode": 0, "reason": "Completed"}))?;
    ensure!(
        state["startedAt"].is_string() && state["finishedAt"].is_string(),
        "{state}"
    );
    holds(
        condition(&ended, "Ready"),
        &json!({"status": "False", "reason": "PodCompleted"}),
    )?;
    equal(said(&world, &path).await?.as_str(), "done\n")
}

async fn a_pod_that_ends_badly_has_failed_with_its_message(world: World) -> Result<()> {
    let path = start(
        &world,
        &shell(&world, "p", "echo why > /dev/termination-log; exit 3"),
    )
    .await?;
    let ended = in_phase(&world, &path, "Failed").await?;
    holds(
        &ended["status"]["containerStatuses"][0],
        &json!({"ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "why\n"}}}),
    )
}

async fn a_container_that_ends_is_started_again(world: World) -> Result<()> {
    let mut object = shell(&world, "p", "exit 4");
    object["spec"]["restartPolicy"] = "OnFailure".into();
    let path = start(&world, &object).await?;
    let (pod, ()) = world
        .until_it(&path, |pod| {
            let container = &pod["status"]["containerStatuses"][0];
            if container["restartCount"].as_i64() >= Some(1) {
                Ok(())
            } else {
                Err(container.to_string())
            }
        })
        .await?;
    holds(
        &pod["status"]["containerStatuses"][0],
        &json!({"lastState": {"terminated": {"exitCode": 4}}}),
    )?;
    // Ever longer pauses lie between the starts.
    let state = waiting(&world, &path, &["CrashLoopBackOff"]).await?;
    let message = state["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("restarting failed container=main pod=p_"),
        "{message:?}"
    );
    Ok(())
}

async fn init_containers_run_first(world: World) -> Result<()> {
    let mut object = shell(&world, "p", "cat /shared/word");
    object["spec"]["volumes"] = json!([{"name": "shared", "emptyDir": {}}]);
    let mounts = json!([{"name": "shared", "mountPath": "/shared"}]);
    object["spec"]["containers"][0]["volumeMounts"] = mounts.clone();
    let mut first = super::container(&world.image, &["/bin/sh", "-c", "echo first > /shared/word"]);
    first["name"] = "first".into();
    first["volumeMounts"] = mounts;
    object["spec"]["initContainers"] = json!([first]);
    let path = start(&world, &object).await?;
    equal(said(&world, &path).await?.as_str(), "first\n")?;
    holds(
        &world.read(&path).await?,
        &json!({"status": {"initContainerStatuses": [{"name": "first", "state": {"terminated": {"exitCode": 0}}}]}}),
    )
}

async fn a_deleted_pod_ends_and_goes(world: World) -> Result<()> {
    let path = start(&world, &pod("p", &world.image, &STAY)).await?;
    in_phase(&world, &path, "Running").await?;
    let answer = world.delete(&path).await?.ok()?;
    holds(
        &answer,
        &json!({"kind": "Pod", "metadata": {"deletionGracePeriodSeconds": 1}}),
    )?;
    ensure!(
        answer["metadata"]["deletionTimestamp"].is_string(),
        "{}",
        answer["metadata"]
    );
    world.until_gone(&path).await
}

async fn a_pod_that_fits_no_node_waits_and_says_so(world: World) -> Result<()> {
    let mut object = pod("p", &world.image, &STAY);
    object["spec"]["nodeSelector"] = json!({"caravel.dev/no": "such-node"});
    let path = start(&world, &object).await?;
    let (_, scheduled) = world
        .until_it(&path, |pod| match condition(pod, "PodScheduled") {
            Value::Null => Err("no condition PodScheduled".to_owned()),
            scheduled => Ok(scheduled.clone()),
        })
        .await?;
    holds(&scheduled, &json!({"status": "False", "reason": "Unschedulable"}))?;
    let message = scheduled["message"].as_str().unwrap_or_default();
    ensure!(
        message.starts_with("0/") && message.contains("node(s) didn't match Pod's node affinity/selector"),
        "{message:?}"
    );
    let query = format!(
        "{}?fieldSelector=involvedObject.name=p,reason=FailedScheduling",
        world.path("v1", "events")
    );
    eventually("the event", || async {
        let list = world.read(&query).await?;
        let event = &list["items"][0];
        Ok(if event["type"] == "Warning" {
            Ok(())
        } else {
            Err(list["items"].to_string())
        })
    })
    .await
}

async fn an_image_that_cannot_be_had_is_waited_for(world: World) -> Result<()> {
    let object = pod("p", "localhost:1/no/such-image:1", &STAY);
    let path = start(&world, &object).await?;
    waiting(&world, &path, &["ErrImagePull", "ImagePullBackOff"]).await?;
    let state = waiting(&world, &path, &["ImagePullBackOff"]).await?;
    let message = state["message"].as_str().unwrap_or_default();
    ensure!(
        message.starts_with("Back-off pulling image \"localhost:1/no/such-image:1\""),
        "{message:?}"
    );
    holds(
        &world.read(&path).await?,
        &json!({"status": {"phase": "Pending"}}),
    )
}

async fn logs_are_read_whole_or_from_their_end(world: World) -> Result<()> {
    let path = start(&world, &shell(&world, "p", "echo one; echo two; echo three")).await?;
    equal(said(&world, &path).await?.as_str(), "one\ntwo\nthree\n")?;
    let log = world.read(&format!("{path}/log?tailLines=1")).await?;
    equal(log.as_str(), Some("three\n"))?;
    let log = world.read(&format!("{path}/log?limitBytes=5")).await?;
    equal(log.as_str(), Some("one\nt"))?;
    let log = world
        .read(&format!("{path}/log?timestamps=true&tailLines=1"))
        .await?;
    let line = log.as_str().unwrap_or_default();
    let (time, words) = line
        .split_once(' ')
        .with_context(|| format!("no time in {line:?}"))?;
    time.parse::<jiff::Timestamp>()?;
    equal(words, "three\n")
}

async fn logs_of_a_container_that_is_not_there_are_refused(world: World) -> Result<()> {
    let path = start(&world, &shell(&world, "p", "echo done")).await?;
    world.get(&format!("{path}/log?container=other")).await?.refused(
        400,
        "BadRequest",
        "container other is not valid for pod p",
    )?;
    world.get(&world.path("v1", "pods/nobody/log")).await?.refused(
        404,
        "NotFound",
        "pods \"nobody\" not found",
    )?;
    Ok(())
}
