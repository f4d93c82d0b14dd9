//! PersistentVolumeClaims and PersistentVolumes: provisioning, use, and what protects them.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{STAY, pod, template, topic};
use crate::World;
use crate::ask::patch;
use crate::expect::{equal, eventually, holds};
use crate::room::MADE_BY;

topic![
    [Volumes] a_claim_is_bound_to_a_volume_made_for_it,
    [Volumes] a_claim_that_waits_for_a_pod_is_bound_when_there_is_one,
    [Volumes] a_claim_without_class_gets_the_default_class,
    [Volumes] a_volume_keeps_what_a_pod_writes,
    [Volumes] a_claim_in_use_stays_until_its_pod_ends,
    [Volumes] a_volume_goes_with_its_claim,
    [Volumes] a_retained_volume_is_released,
    [Volumes] a_released_volume_can_be_claimed_again,
    [Volumes] a_claim_with_a_selector_or_unknown_class_waits,
    [Volumes] a_stateful_set_makes_a_claim_for_each_pod,
];

/// A claim of 16 MiB.
pub(super) fn claim(name: &str, class: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
           "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "16Mi"}}}})
}

/// A pod that runs a line with the claim at `/data`.
pub(super) fn pod_with(world: &World, name: &str, claim: &str, line: &str) -> Value {
    let mut object = pod(name, &world.image, &["/bin/sh", "-c", line]);
    object["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    object
}

/// Runs a line to its end with the claim at `/data`; what it said.
pub(super) async fn run_with(world: &World, name: &str, claim: &str, line: &str) -> Result<String> {
    let path = world.path("v1", "pods");
    world.made(&path, &pod_with(world, name, claim, line)).await?;
    let one = format!("{path}/{name}");
    world
        .until(&one, &json!({"status": {"phase": "Succeeded"}}))
        .await?;
    let log = world.read(&format!("{one}/log")).await?;
    world.delete(&one).await?.ok()?;
    world.until_gone(&one).await?;
    Ok(log.as_str().unwrap_or_default().to_owned())
}

pub(super) fn immediate(world: &World) -> String {
    world.storage_class.clone().unwrap_or_default()
}

/// Creates a claim of the class that does not wait, until it is bound: the claim's path, the claim and its volume's path.
pub(super) async fn bound(world: &World, name: &str) -> Result<(String, Value, String)> {
    let path = world.path("v1", "persistentvolumeclaims");
    world.made(&path, &claim(name, &immediate(world))).await?;
    let one = format!("{path}/{name}");
    let claim = world.until(&one, &json!({"status": {"phase": "Bound"}})).await?;
    let volume = claim["spec"]["volumeName"]
        .as_str()
        .context("no volumeName")?
        .to_owned();
    Ok((one, claim, format!("/api/v1/persistentvolumes/{volume}")))
}

async fn a_claim_is_bound_to_a_volume_made_for_it(world: World) -> Result<()> {
    let (_, claim, volume) = bound(&world, "c").await?;
    let uid = claim["metadata"]["uid"].as_str().unwrap_or_default();
    equal(
        claim["spec"]["volumeName"].as_str(),
        Some(format!("pvc-{uid}").as_str()),
    )?;
    let class = world
        .read(&format!(
            "/apis/storage.k8s.io/v1/storageclasses/{}",
            immediate(&world)
        ))
        .await?;
    let provisioner = &class["provisioner"];
    holds(
        &claim,
        &json!({
            "metadata": {"finalizers": ["kubernetes.io/pvc-protection"], "annotations": {
                "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
                "volume.kubernetes.io/storage-provisioner": provisioner}},
            "status": {"accessModes": ["ReadWriteOnce"]},
        }),
    )?;
    ensure!(
        claim["status"]["capacity"]["storage"].is_string(),
        "{}",
        claim["status"]
    );
    let volume = world
        .until(&volume, &json!({"status": {"phase": "Bound"}}))
        .await?;
    holds(
        &volume,
        &json!({
            "metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": provisioner}},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": immediate(&world), "capacity": claim["status"]["capacity"],
                "csi": {"driver": provisioner},
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "c", "namespace": world.namespace, "uid": uid},
            },
        }),
    )?;
    let handle = volume["spec"]["csi"]["volumeHandle"].as_str().unwrap_or_default();
    ensure!(!handle.is_empty(), "no volumeHandle");
    let finalizers = volume["metadata"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    ensure!(
        finalizers.contains(&json!("kubernetes.io/pv-protection")),
        "{finalizers:?}"
    );
    Ok(())
}

async fn a_claim_that_waits_for_a_pod_is_bound_when_there_is_one(world: World) -> Result<()> {
    let path = world.path("v1", "persistentvolumeclaims");
    let class = world.storage_class_waiting.clone().unwrap_or_default();
    world.made(&path, &claim("c", &class)).await?;
    let query = format!(
        "{}?fieldSelector=involvedObject.name=c",
        world.path("v1", "events")
    );
    eventually("the event", || async {
        let list = world.read(&query).await?;
        let event = &list["items"][0];
        Ok(holds(
            event,
            &json!({"type": "Normal", "reason": "WaitForFirstConsumer",
                    "message": "waiting for first consumer to be created before binding"}),
        )
        .map_err(|error| error.to_string()))
    })
    .await?;
    holds(
        &world.read(&format!("{path}/c")).await?,
        &json!({"spec": {"volumeName": null}, "status": {"phase": "Pending"}}),
    )?;
    equal(
        run_with(&world, "p", "c", "echo there > /data/a; cat /data/a")
            .await?
            .as_str(),
        "there\n",
    )?;
    let claim = world.read(&format!("{path}/c")).await?;
    holds(&claim, &json!({"status": {"phase": "Bound"}}))?;
    ensure!(
        claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"].is_string(),
        "{}",
        claim["metadata"]
    );
    Ok(())
}

async fn a_claim_without_class_gets_the_default_class(world: World) -> Result<()> {
    let classes = world.read("/apis/storage.k8s.io/v1/storageclasses").await?;
    let is_default = |class: &&Value| {
        class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
    };
    let class = classes["items"].as_array().into_iter().flatten().find(is_default);
    let class = class.context("the world has no default class")?;
    let mut object = claim("c", "");
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove("storageClassName");
    }
    let path = world.path("v1", "persistentvolumeclaims");
    holds(
        &world.made(&path, &object).await?,
        &json!({"spec": {"storageClassName": class["metadata"]["name"]}}),
    )?;
    // An empty name means none, not the default.
    holds(
        &world.made(&path, &claim("none", "")).await?,
        &json!({"spec": {"storageClassName": ""}}),
    )
}

async fn a_volume_keeps_what_a_pod_writes(world: World) -> Result<()> {
    bound(&world, "c").await?;
    equal(
        run_with(&world, "writer", "c", "echo kept > /data/word")
            .await?
            .as_str(),
        "",
    )?;
    equal(
        run_with(&world, "reader", "c", "cat /data/word").await?.as_str(),
        "kept\n",
    )
}

async fn a_claim_in_use_stays_until_its_pod_ends(world: World) -> Result<()> {
    let (path, _, volume) = bound(&world, "c").await?;
    let pods = world.path("v1", "pods");
    world
        .made(&pods, &pod_with(&world, "p", "c", "sleep 3600"))
        .await?;
    world
        .until(&format!("{pods}/p"), &json!({"status": {"phase": "Running"}}))
        .await?;
    world.delete(&path).await?.ok()?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let claim = world.read(&path).await?;
    holds(
        &claim,
        &json!({"metadata": {"finalizers": ["kubernetes.io/pvc-protection"]}, "status": {"phase": "Bound"}}),
    )?;
    ensure!(
        claim["metadata"]["deletionTimestamp"].is_string(),
        "{}",
        claim["metadata"]
    );
    world.delete(&format!("{pods}/p")).await?.ok()?;
    world.until_gone(&path).await?;
    world.until_gone(&volume).await
}

async fn a_volume_goes_with_its_claim(world: World) -> Result<()> {
    let (path, _, volume) = bound(&world, "c").await?;
    world.delete(&volume).await?.ok()?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    // A volume that is claimed is protected.
    ensure!(
        world.read(&volume).await?["metadata"]["deletionTimestamp"].is_string(),
        "it is not being deleted"
    );
    world.delete(&path).await?.ok()?;
    world.until_gone(&path).await?;
    world.until_gone(&volume).await
}

/// Binds a claim, makes its volume a retained one and deletes the claim; the volume's path.
async fn released(world: &World) -> Result<String> {
    let (path, _, volume) = bound(world, "c").await?;
    run_with(world, "writer", "c", "echo kept > /data/word").await?;
    let retain = json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}, "metadata": {"labels": {MADE_BY: world.namespace}}});
    world.patch(patch::MERGE, &volume, &retain).await?.ok()?;
    world.delete(&path).await?.ok()?;
    world.until_gone(&path).await?;
    world
        .until(&volume, &json!({"status": {"phase": "Released"}}))
        .await?;
    Ok(volume)
}

/// Lets a retained volume go with what is in it.
async fn reclaim(world: &World, volume: &str) -> Result<()> {
    let delete = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}});
    world.patch(patch::MERGE, volume, &delete).await?.ok()?;
    world.until_gone(volume).await
}

async fn a_retained_volume_is_released(world: World) -> Result<()> {
    let volume = released(&world).await?;
    holds(
        &world.read(&volume).await?,
        &json!({"spec": {"claimRef": {"name": "c"}}}),
    )?;
    reclaim(&world, &volume).await
}

async fn a_released_volume_can_be_claimed_again(world: World) -> Result<()> {
    let volume = released(&world).await?;
    // Kept for one claim, or any of the same class could take it.
    let kept = json!({"spec": {"claimRef": {"name": "again", "uid": null, "resourceVersion": null}}});
    world.patch(patch::MERGE, &volume, &kept).await?.ok()?;
    world
        .until(&volume, &json!({"status": {"phase": "Available"}}))
        .await?;
    let mut again = claim("again", &immediate(&world));
    again["spec"]["volumeName"] = volume.rsplit('/').next().unwrap_or_default().into();
    let path = world.path("v1", "persistentvolumeclaims");
    world.made(&path, &again).await?;
    world
        .until(&format!("{path}/again"), &json!({"status": {"phase": "Bound"}}))
        .await?;
    equal(
        run_with(&world, "reader", "again", "cat /data/word")
            .await?
            .as_str(),
        "kept\n",
    )?;
    world.delete(&format!("{path}/again")).await?.ok()?;
    world.until_gone(&format!("{path}/again")).await?;
    reclaim(&world, &volume).await
}

async fn a_claim_with_a_selector_or_unknown_class_waits(world: World) -> Result<()> {
    let path = world.path("v1", "persistentvolumeclaims");
    world.made(&path, &claim("c", "no-such-class")).await?;
    let query = format!(
        "{}?fieldSelector=involvedObject.name=c",
        world.path("v1", "events")
    );
    eventually("the event", || async {
        let list = world.read(&query).await?;
        Ok(holds(
            &list["items"][0],
            &json!({"type": "Warning", "reason": "ProvisioningFailed",
                    "message": "storageclass.storage.k8s.io \"no-such-class\" not found"}),
        )
        .map_err(|error| error.to_string()))
    })
    .await?;
    let pods = world.path("v1", "pods");
    world.made(&pods, &pod_with(&world, "p", "c", "sleep 1")).await?;
    let (_, message) = world.until_it(&format!("{pods}/p"), why_not_scheduled).await?;
    ensure!(
        message.contains("pod has unbound immediate PersistentVolumeClaims"),
        "{message:?}"
    );
    world
        .made(&pods, &pod_with(&world, "q", "nothing", "sleep 1"))
        .await?;
    let (_, message) = world.until_it(&format!("{pods}/q"), why_not_scheduled).await?;
    ensure!(
        message.contains("persistentvolumeclaim \"nothing\" not found"),
        "{message:?}"
    );
    Ok(())
}

/// What the scheduler says of a pod that it cannot place; not yet: the condition as it is.
fn why_not_scheduled(pod: &Value) -> std::result::Result<String, String> {
    let scheduled = crate::expect::condition(pod, "PodScheduled");
    scheduled["message"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| scheduled.to_string())
}

async fn a_stateful_set_makes_a_claim_for_each_pod(world: World) -> Result<()> {
    let mut template = template("s", &world.image, &STAY);
    template["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"},
        "spec": {"replicas": 2, "serviceName": "s", "selector": {"matchLabels": {"app": "s"}}, "template": template,
                 "volumeClaimTemplates": [claim("data", &immediate(&world))]}});
    let path = world.path("apps/v1", "statefulsets");
    world.made(&path, &set).await?;
    world
        .until(&format!("{path}/s"), &json!({"status": {"readyReplicas": 2}}))
        .await?;
    for name in ["data-s-0", "data-s-1"] {
        let claim = world
            .read(&world.path("v1", &format!("persistentvolumeclaims/{name}")))
            .await?;
        holds(
            &claim,
            &json!({"metadata": {"labels": {"app": "s"}}, "status": {"phase": "Bound"}}),
        )?;
    }
    world.delete(&format!("{path}/s")).await?.ok()?;
    // Claims outlive the set that made them.
    world.until_gone(&world.path("v1", "pods/s-0")).await?;
    world
        .read(&world.path("v1", "persistentvolumeclaims/data-s-0"))
        .await?;
    Ok(())
}
