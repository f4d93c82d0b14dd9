//! A writer that runs during a snapshot finds an ordered prefix of its writes in the clone.
//!
//! Two writers in one pod append numbered records to four files in turn: one makes each record durable before it writes the
//! next, the other leaves it to the page cache, where only a frozen filesystem makes an ordered prefix of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use caravel_e2e::scenario::{Cluster, Kind, Shop, step};
use serde_json::json;

const NAMESPACE: &str = "clones";
const SNAPSHOTS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// Both end at `stop`, or at a number that keeps the volume from filling up.
const WRITE: &str = r#"
mkdir durable cached
(i=0; while [ ! -e stop ] && [ $i -lt 100000 ]; do
    echo "record $i" | dd of=durable/$((i % 4)) oflag=append conv=notrunc,fsync 2> /dev/null; i=$((i + 1))
done) < /dev/null > /dev/null 2>&1 &
(i=0; while [ ! -e stop ] && [ $i -lt 2000000 ]; do
    echo "record $i" >> cached/$((i % 4)); i=$((i + 1))
done) < /dev/null > /dev/null 2>&1 &
"#;

#[test]
fn a_clone_holds_an_ordered_prefix_of_what_was_being_written() -> Result<()> {
    let cluster = Cluster::connect()?;
    let shop = step("create the shop", || {
        Shop::named(NAMESPACE).size("256Mi").create(&cluster)
    })?;
    step("start the writers", || shop.run(&cluster, WRITE))?;
    for number in 0..SNAPSHOTS {
        let before = written(&cluster, &shop)?;
        step(&format!("take snapshot {number}"), || snapshot(&cluster, number))?;
        let after = written(&cluster, &shop)?;
        step(&format!("clone it, larger, and look into clone {number}"), || {
            clone(&cluster, number)
        })?;
        for (writer, folder) in ["durable", "cached"].into_iter().enumerate() {
            let records = clone_records(&cluster, number, folder)?;
            let found =
                ordered_prefix(&records).with_context(|| format!("clone {number}, the {folder} writer"))?;
            println!(
                "   {folder}: {} records before, {found} in the clone, {} after",
                before[writer], after[writer]
            );
            ensure!(
                found >= before[writer],
                "clone {number} lacks {folder} records that were written before the snapshot"
            );
            ensure!(
                found <= after[writer],
                "clone {number} has {folder} records of after the snapshot"
            );
        }
        step("write to the clone, which is grown to its own size", || {
            cluster.exec(
                NAMESPACE,
                &name(number),
                "echo mine > /data/mine; df -m /data | awk 'END { exit $2 < 260 }'",
            )
        })?;
    }
    let count = written(&cluster, &shop)?;
    ensure!(count[0] > 0, "the writer stood still");
    shop.run(&cluster, "touch stop; [ ! -e mine ]")?;
    step("clean up", || shop.destroy(&cluster))
}

fn name(number: usize) -> String {
    format!("clone-{number}")
}

/// How many records each writer has written by now: a lower bound for later.
fn written(cluster: &Cluster, shop: &Shop) -> Result<[usize; 2]> {
    let lines = shop.run(cluster, "cat durable/* | wc -l; cat cached/* | wc -l")?;
    let mut counts = lines.split_whitespace().map(str::parse::<usize>);
    let mut next = || {
        counts
            .next()
            .context("wc said too little")?
            .context("wc said no number")
    };
    Ok([next()?, next()?])
}

fn snapshot(cluster: &Cluster, number: usize) -> Result<()> {
    let name = format!("snapshot-{number}");
    cluster.apply(
        &json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"volumeSnapshotClassName": cluster.facts().snapshot_class, "source": {"persistentVolumeClaimName": "data"}},
        })
        .to_string(),
    )?;
    cluster.wait_for(
        Kind::VOLUME_SNAPSHOT,
        NAMESPACE,
        &name,
        PATIENCE,
        |snapshot| match &snapshot["status"]["readyToUse"] {
            serde_json::Value::Bool(true) => Ok(()),
            other => Err(format!("readyToUse is {other}")),
        },
    )
}

/// A claim made from the snapshot, a little larger than its source, and a pod that has it at /data.
fn clone(cluster: &Cluster, number: usize) -> Result<()> {
    let facts = cluster.facts();
    let name = name(number);
    cluster.apply(
        &json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": NAMESPACE},
             "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": facts.storage_class,
                      "resources": {"requests": {"storage": "320Mi"}},
                      "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": format!("snapshot-{number}")}}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE},
             "spec": {"terminationGracePeriodSeconds": 1,
                      "containers": [{"name": "reader", "image": facts.application_image, "imagePullPolicy": "IfNotPresent",
                                      "command": ["/bin/sh", "-c", "sleep 2147483647"],
                                      "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
                      "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]}},
        ]})
        .to_string(),
    )?;
    cluster
        .wait_for_phase(Kind::POD, NAMESPACE, &name, &["Running"], PATIENCE)
        .map(drop)
}

/// The four files of a writer, as the clone has them.
fn clone_records(cluster: &Cluster, number: usize, folder: &str) -> Result<Vec<String>> {
    (0..4)
        .map(|file| cluster.exec(NAMESPACE, &name(number), &format!("cat /data/{folder}/{file}")))
        .collect()
}

/// Number of records, if the files hold exactly the records 0, 1, 2 … in turn, whole and in order.
fn ordered_prefix(files: &[String]) -> Result<usize> {
    let total: usize = files.iter().map(|file| file.lines().count()).sum();
    for (number, file) in files.iter().enumerate() {
        ensure!(
            file.is_empty() || file.ends_with('\n'),
            "the last record of file {number} is torn"
        );
        for (line, found) in file.lines().enumerate() {
            let wanted = line * files.len() + number;
            ensure!(
                wanted < total,
                "of {total} records in all, file {number} holds number {wanted}: an earlier one is missing"
            );
            ensure!(
                found == format!("record {wanted}"),
                "file {number}, line {line} is {found:?}, not record {wanted}"
            );
        }
    }
    Ok(total)
}

#[test]
fn what_is_no_ordered_prefix_is_noticed() {
    let files = |texts: [&str; 2]| texts.map(str::to_owned);
    assert_eq!(
        ordered_prefix(&files(["record 0\nrecord 2\n", "record 1\n"])).expect("ordered"),
        3
    );
    assert!(ordered_prefix(&files(["record 0\nrecord 2\n", ""])).is_err());
    assert!(ordered_prefix(&files(["record 0\nrec", "record 1\n"])).is_err());
    assert!(ordered_prefix(&files(["record 0\n\0\0\0\0\0\0\0\0\n", "record 1\n"])).is_err());
}
