//! VolumeSnapshots, as backups use them.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::topic;
use super::volumes::{bound, claim, immediate, run_with};
use crate::World;
use crate::ask::patch;
use crate::expect::{equal, holds};

topic![
    [Volumes] a_snapshot_becomes_ready_with_a_content_of_its_own,
    [Volumes] a_claim_made_from_a_snapshot_holds_what_was_there,
    [Volumes] a_snapshot_of_no_claim_says_so,
    [Volumes] a_retained_content_becomes_another_snapshot,
    [Volumes] a_claim_from_a_snapshot_that_is_not_there_waits,
];

const SNAPSHOT: &str = "snapshot.storage.k8s.io/v1";
const CONTENTS: &str = "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents";

fn snapshot(world: &World, name: &str, source: Value) -> Value {
    json!({"apiVersion": SNAPSHOT, "kind": "VolumeSnapshot", "metadata": {"name": name},
           "spec": {"volumeSnapshotClassName": world.snapshot_class, "source": source}})
}

/// Takes a snapshot of a claim and waits until it is ready: its path, the snapshot, the path of its content.
async fn taken(world: &World, name: &str, claim: &str) -> Result<(String, Value, String)> {
    let path = world.path(SNAPSHOT, "volumesnapshots");
    world
        .made(
            &path,
            &snapshot(world, name, json!({"persistentVolumeClaimName": claim})),
        )
        .await?;
    let one = format!("{path}/{name}");
    let snapshot = world
        .until(&one, &json!({"status": {"readyToUse": true}}))
        .await?;
    let content = snapshot["status"]["boundVolumeSnapshotContentName"]
        .as_str()
        .context("no content")?
        .to_owned();
    Ok((one, snapshot, format!("{CONTENTS}/{content}")))
}

/// A claim of the contents of a snapshot.
fn claim_of(world: &World, name: &str, snapshot: &str) -> Value {
    let mut object = claim(name, &immediate(world));
    object["spec"]["dataSource"] =
        json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot});
    object
}

async fn a_snapshot_becomes_ready_with_a_content_of_its_own(world: World) -> Result<()> {
    let (_, claim, volume) = bound(&world, "c").await?;
    let volume = world.read(&volume).await?;
    let (path, snapshot, content) = taken(&world, "s", "c").await?;
    let uid = snapshot["metadata"]["uid"].as_str().unwrap_or_default();
    equal(content.as_str(), format!("{CONTENTS}/snapcontent-{uid}").as_str())?;
    let status = &snapshot["status"];
    ensure!(
        status["creationTime"].is_string() && status["restoreSize"].is_string(),
        "{status}"
    );
    let finalizers = snapshot["metadata"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    ensure!(
        finalizers.contains(&json!(
            "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection"
        )),
        "{finalizers:?}"
    );
    let found = world.read(&content).await?;
    holds(
        &found,
        &json!({
            "spec": {
                "driver": volume["spec"]["csi"]["driver"], "deletionPolicy": "Delete", "sourceVolumeMode": "Filesystem",
                "volumeSnapshotClassName": world.snapshot_class,
                "source": {"volumeHandle": volume["spec"]["csi"]["volumeHandle"]},
                "volumeSnapshotRef": {"kind": "VolumeSnapshot", "name": "s", "namespace": world.namespace, "uid": uid},
            },
            "status": {"readyToUse": true},
        }),
    )?;
    ensure!(
        found["status"]["snapshotHandle"].is_string(),
        "{}",
        found["status"]
    );
    ensure!(found["status"]["restoreSize"].is_number(), "{}", found["status"]);
    ensure!(claim["metadata"]["uid"].is_string(), "{claim}");
    world.delete(&path).await?.ok()?;
    world.until_gone(&path).await?;
    world.until_gone(&content).await
}

async fn a_claim_made_from_a_snapshot_holds_what_was_there(world: World) -> Result<()> {
    bound(&world, "c").await?;
    run_with(&world, "writer", "c", "echo then > /data/word").await?;
    let (path, _, _) = taken(&world, "s", "c").await?;
    run_with(&world, "changer", "c", "echo now > /data/word").await?;
    let claims = world.path("v1", "persistentvolumeclaims");
    let made = world.made(&claims, &claim_of(&world, "copy", "s")).await?;
    // The newer way to say it is filled in.
    holds(
        &made,
        &json!({"spec": {"dataSourceRef": {"kind": "VolumeSnapshot", "name": "s"}}}),
    )?;
    equal(
        run_with(&world, "reader", "copy", "cat /data/word")
            .await?
            .as_str(),
        "then\n",
    )?;
    equal(
        run_with(&world, "other", "c", "cat /data/word").await?.as_str(),
        "now\n",
    )?;
    // What is written to one copy is in no other.
    run_with(&world, "spoiler", "copy", "echo mine > /data/word").await?;
    world.made(&claims, &claim_of(&world, "second", "s")).await?;
    equal(
        run_with(&world, "second-reader", "second", "cat /data/word")
            .await?
            .as_str(),
        "then\n",
    )?;
    // A copy does not need what it was copied from.
    world.delete(&path).await?.ok()?;
    world.until_gone(&path).await?;
    equal(
        run_with(&world, "again", "copy", "cat /data/word")
            .await?
            .as_str(),
        "mine\n",
    )
}

async fn a_snapshot_of_no_claim_says_so(world: World) -> Result<()> {
    let path = world.path(SNAPSHOT, "volumesnapshots");
    world
        .made(
            &path,
            &snapshot(&world, "s", json!({"persistentVolumeClaimName": "nothing"})),
        )
        .await?;
    let (found, ()) = world
        .until_it(&format!("{path}/s"), |snapshot| {
            if snapshot["status"]["error"]["message"].is_string() {
                Ok(())
            } else {
                Err("no error yet".to_owned())
            }
        })
        .await?;
    holds(&found, &json!({"status": {"readyToUse": false}}))?;
    let message = found["status"]["error"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("cannot get claim from snapshot"), "{message:?}");
    Ok(())
}

async fn a_retained_content_becomes_another_snapshot(world: World) -> Result<()> {
    bound(&world, "c").await?;
    run_with(&world, "writer", "c", "echo then > /data/word").await?;
    let (path, _, content) = taken(&world, "s", "c").await?;
    // What Velero does: keep the storage's snapshot, drop the objects, make new ones for it.
    let retain = json!({"spec": {"deletionPolicy": "Retain"}});
    let kept = world.patch(patch::MERGE, &content, &retain).await?.ok()?;
    // The controller must have seen it: it decides by what it remembers of the content.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    world.delete(&path).await?.ok()?;
    world.until_gone(&path).await?;
    world.delete(&content).await?.ok()?;
    world.until_gone(&content).await?;
    let name = format!("{}-again", world.namespace);
    let again = json!({"apiVersion": SNAPSHOT, "kind": "VolumeSnapshotContent", "metadata": {"name": name},
        "spec": {"deletionPolicy": "Delete", "driver": kept["spec"]["driver"], "volumeSnapshotClassName": world.snapshot_class,
                 "source": {"snapshotHandle": kept["status"]["snapshotHandle"]},
                 "volumeSnapshotRef": {"name": "again", "namespace": world.namespace}}});
    world.made(CONTENTS, &again).await?;
    let snapshots = world.path(SNAPSHOT, "volumesnapshots");
    world
        .made(
            &snapshots,
            &snapshot(&world, "again", json!({"volumeSnapshotContentName": name})),
        )
        .await?;
    let again = format!("{snapshots}/again");
    world
        .until(
            &again,
            &json!({"status": {"readyToUse": true, "boundVolumeSnapshotContentName": name}}),
        )
        .await?;
    let claims = world.path("v1", "persistentvolumeclaims");
    world.made(&claims, &claim_of(&world, "copy", "again")).await?;
    equal(
        run_with(&world, "reader", "copy", "cat /data/word")
            .await?
            .as_str(),
        "then\n",
    )?;
    world.delete(&again).await?.ok()?;
    world.until_gone(&again).await?;
    world.until_gone(&format!("{CONTENTS}/{name}")).await
}

async fn a_claim_from_a_snapshot_that_is_not_there_waits(world: World) -> Result<()> {
    let claims = world.path("v1", "persistentvolumeclaims");
    world.made(&claims, &claim_of(&world, "copy", "nothing")).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    holds(
        &world.read(&format!("{claims}/copy")).await?,
        &json!({"status": {"phase": "Pending"}}),
    )?;
    bound(&world, "c").await?;
    taken(&world, "nothing", "c").await?;
    world
        .until(&format!("{claims}/copy"), &json!({"status": {"phase": "Bound"}}))
        .await?;
    Ok(())
}
