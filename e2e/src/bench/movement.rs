//! `cargo xtask bench move`: a namespace of few large and one of many small volumes, its data moved to the bucket and back, by
//! us and by the real Velero on the same cluster in the same run, beside the least that the cluster itself needs.
//!
//! Nothing is asserted (decisions.md section 4). The floor of a backup is, for all volumes at once: VolumeSnapshot → ready → PVC
//! from it → pod that mounts it runs; that of a restore: PVC → pod that mounts it runs. What servers and node agents hold in
//! memory while nobody asks them for anything is printed first.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::measure::{Both, Measured, measure, met, print, print_header, row};
use super::pod_memory::resident;
use crate::facts::Facts;
use crate::scenario::{Bucket, Cluster, Installation, Kind, NAMESPACE, ServerPod, Side, step};
use crate::scenarios;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Without the real Velero.
    pub alone: bool,
    /// Cargo profile of the product's image; none when the images that are loaded and `CARAVEL_VELERO` are to be measured.
    pub profile: Option<String>,
}

/// Volumes, and the MB of random data in each: issue 7.
const SHAPES: [(usize, usize); 2] = [(2, 50), (10, 10)];
const SOURCE: &str = "bench-move";
const COPY: &str = "bench-move-copy";
/// Until a started server or node agent has done what it does at the start.
const SETTLED: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(300);
/// Bytes that ours may hold while idle (issue 7, row "memory").
const SERVER_IDLE: u64 = 40 << 20;
const NODE_AGENT_IDLE: u64 = 25 << 20;
/// A backup and a restore take at most this part of Velero's time, or [`OF_THE_FLOOR`], whichever is larger.
const OF_ITS_TIME: f64 = 1.0 / 4.0;
const OF_THE_FLOOR: f64 = 1.3;

/// The least that the cluster needs.
#[derive(Debug, Clone, Copy)]
struct Floor {
    backup: Duration,
    restore: Duration,
}

/// Measures and prints.
pub fn run(settings: &Settings) -> Result<()> {
    let facts = match &settings.profile {
        Some(profile) => scenarios::prepared(true, !settings.alone, profile)?,
        None => Facts::read()?,
    };
    let cluster = Cluster::connect_to(facts)?;
    let ours = Side::ours();
    let _installation = Installation::fresh(&cluster, "bench_move")?;
    let theirs = (!settings.alone).then(|| Side::theirs(&cluster)).transpose()?;
    if let Some(theirs) = &theirs {
        let bucket = Bucket::fresh(&cluster, "bench-move-theirs")?;
        theirs.install_with(&cluster, &bucket, &["--use-node-agent", "--features=EnableCSI"])?;
    }
    step("let them idle", || {
        std::thread::sleep(SETTLED);
        theirs
            .iter()
            .chain([&ours])
            .try_for_each(|side| idle(&cluster, side))
    })?;
    for side in theirs.iter().chain([&ours]) {
        side.scale(&cluster, 0)?;
    }
    for (number, (volumes, megabytes)) in SHAPES.into_iter().enumerate() {
        make(&cluster, volumes, megabytes)?;
        let floor = step("the floor", || floor(&cluster, volumes))?;
        let theirs_took = theirs
            .as_ref()
            .map(|side| both(&cluster, side, number))
            .transpose()?;
        let ours_took = both(&cluster, &ours, number)?;
        println!("\n{volumes} volumes of {megabytes} MB");
        print_header();
        for took in theirs_took.iter().chain([&ours_took]) {
            print(took);
        }
        let theirs_took = theirs_took.as_ref();
        let rows = [
            verdict(
                floor.backup,
                theirs_took.map(|both| &both.backup),
                &ours_took.backup,
            ),
            verdict(
                floor.restore,
                theirs_took.map(|both| &both.restore),
                &ours_took.restore,
            ),
        ];
        println!("{}\n{}", rows[0], rows[1]);
    }
    step("remove everything", || {
        cluster.delete(Kind::NAMESPACE, "", SOURCE)?;
        theirs.map_or(Ok(()), |side| Installation::remove_from(&cluster, side.namespace))
    })
}

/// Says what a side's server and node agent hold in memory, all processes of the pod; ours beside what it may be.
fn idle(cluster: &Cluster, side: &Side) -> Result<()> {
    let server = ServerPod::running(cluster, side.namespace)?;
    let agent = ServerPod::node_agent(cluster, side.namespace)?;
    for (what, pod, most) in [
        ("server", server, SERVER_IDLE),
        ("node agent", agent, NODE_AGENT_IDLE),
    ] {
        let bytes: u64 = pod.processes().into_iter().filter_map(resident).sum();
        let verdict = if side.namespace == NAMESPACE {
            format!(
                ", at most {} MiB: {}",
                most >> 20,
                met(bytes > 0 && bytes <= most)
            )
        } else {
            String::new()
        };
        println!(
            "   {} idle, {what}: {:.1} MiB{verdict}",
            side.name,
            bytes as f64 / f64::from(1 << 20)
        );
    }
    Ok(())
}

fn verdict(floor: Duration, theirs: Option<&Measured>, ours: &Measured) -> String {
    let by_floor = floor.mul_f64(OF_THE_FLOOR);
    let of_floor = format!("{OF_THE_FLOOR} times the floor of {:.1} s", floor.as_secs_f64());
    let Some(theirs) = theirs else {
        return row(&ours.what, ours, by_floor, &of_floor);
    };
    let limit = by_floor.max(theirs.took.mul_f64(OF_ITS_TIME));
    let of = format!(
        "the larger of a quarter of Velero's {:.1} s and {of_floor}",
        theirs.took.as_secs_f64()
    );
    row(&ours.what, ours, limit, &of)
}

/// Backs up, restores into another namespace, compares, and removes that, untimed.
fn both(cluster: &Cluster, side: &Side, number: usize) -> Result<Both> {
    let (backup, restore) = (format!("b{number}"), format!("r{number}"));
    let words = [
        "backup",
        "create",
        &backup,
        "--include-namespaces",
        SOURCE,
        "--snapshot-move-data",
    ];
    let backed_up = measure(cluster, side, Kind::BACKUP, &backup, &words)?;
    let mapping = format!("{SOURCE}:{COPY}");
    let words = [
        "restore",
        "create",
        &restore,
        "--from-backup",
        &backup,
        "--namespace-mappings",
        &mapping,
    ];
    let restored = measure(cluster, side, Kind::RESTORE, &restore, &words)?;
    step("compare", || {
        let (source, copy) = (digests(cluster, SOURCE)?, digests(cluster, COPY)?);
        ensure!(
            !source.is_empty() && source == copy,
            "the volumes came back as\n{copy}, not as\n{source}"
        );
        Ok(())
    })?;
    step("remove the copy", || cluster.delete(Kind::NAMESPACE, "", COPY))?;
    Ok(Both {
        backup: backed_up,
        restore: restored,
    })
}

/// The namespace with its volumes, all of one pod, each filled.
fn make(cluster: &Cluster, volumes: usize, megabytes: usize) -> Result<()> {
    step(&format!("make {volumes} volumes of {megabytes} MB"), || {
        cluster.delete(Kind::NAMESPACE, "", COPY)?;
        cluster.delete(Kind::NAMESPACE, "", SOURCE)?;
        let names: Vec<String> = (0..volumes).map(|number| format!("data-{number}")).collect();
        let mut objects = vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SOURCE}}),
            pod(cluster, SOURCE, "all", &names),
        ];
        objects.extend(
            names
                .iter()
                .map(|name| claim(cluster, SOURCE, name, &Value::Null)),
        );
        cluster.apply(&list(&objects))?;
        cluster.wait_for_phase(Kind::POD, SOURCE, "all", &["Running"], DEADLINE)?;
        let fill =
            format!("for v in /data-*; do head -c {megabytes}000000 /dev/urandom > $v/file; done; sync");
        cluster.exec(SOURCE, "all", &fill).map(drop)
    })
}

/// What `sha256sum` says of the files in the pod's volumes.
fn digests(cluster: &Cluster, namespace: &str) -> Result<String> {
    cluster.wait_for_phase(Kind::POD, namespace, "all", &["Running"], DEADLINE)?;
    cluster.exec(namespace, "all", "sha256sum /data-*/file")
}

/// What the cluster needs for as many volumes: by hand, all at once, removed afterwards.
fn floor(cluster: &Cluster, volumes: usize) -> Result<Floor> {
    let class = &cluster.facts().snapshot_class;
    let names: Vec<String> = (0..volumes).map(|number| format!("floor-{number}")).collect();
    let snapshot = |(number, name): (usize, &String)| {
        json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
               "metadata": {"name": name, "namespace": SOURCE},
               "spec": {"volumeSnapshotClassName": class, "source": {"persistentVolumeClaimName": format!("data-{number}")}}})
    };
    let begun = Instant::now();
    cluster.apply(&list(&names.iter().enumerate().map(snapshot).collect::<Vec<_>>()))?;
    for name in &names {
        cluster.wait_for(Kind::VOLUME_SNAPSHOT, SOURCE, name, DEADLINE, |object| {
            let ready = object["status"]["readyToUse"] == true;
            ready.then_some(()).ok_or_else(|| "not ready to use".to_owned())
        })?;
    }
    let from =
        |name: &str| json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name});
    volumes_and_pods(cluster, &names, from)?;
    let backup = begun.elapsed();
    remove(cluster, &names)?;
    let begun = Instant::now();
    volumes_and_pods(cluster, &names, |_| Value::Null)?;
    let restore = begun.elapsed();
    remove(cluster, &names)?;
    Ok(Floor { backup, restore })
}

/// A volume and a pod that mounts it for each name, until all run.
fn volumes_and_pods(cluster: &Cluster, names: &[String], from: impl Fn(&str) -> Value) -> Result<()> {
    let both = |name: &String| {
        [
            claim(cluster, SOURCE, name, &from(name)),
            pod(cluster, SOURCE, name, std::slice::from_ref(name)),
        ]
    };
    cluster.apply(&list(&names.iter().flat_map(both).collect::<Vec<_>>()))?;
    for name in names {
        cluster.wait_for_phase(Kind::POD, SOURCE, name, &["Running"], DEADLINE)?;
    }
    Ok(())
}

fn remove(cluster: &Cluster, names: &[String]) -> Result<()> {
    let kinds = [Kind::POD, Kind::PERSISTENT_VOLUME_CLAIM, Kind::VOLUME_SNAPSHOT];
    for kind in kinds {
        for name in names {
            cluster.begin_deletion(kind, SOURCE, name)?;
        }
        for name in names {
            cluster.wait_until_gone(kind, SOURCE, name, DEADLINE)?;
        }
    }
    Ok(())
}

fn claim(cluster: &Cluster, namespace: &str, name: &str, from: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace},
           "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": cluster.facts().storage_class,
                    "resources": {"requests": {"storage": "128Mi"}}, "dataSource": from}})
}

/// A pod that has each claim at `/<name>`.
pub(super) fn pod(cluster: &Cluster, namespace: &str, name: &str, claims: &[String]) -> Value {
    let mounts = claims
        .iter()
        .map(|claim| json!({"name": claim, "mountPath": format!("/{claim}")}));
    let volumes = claims
        .iter()
        .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": {
        "terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
        "containers": [{"name": "main", "image": cluster.facts().application_image, "imagePullPolicy": "IfNotPresent",
                        "command": ["/bin/sh", "-c", "sleep 2147483647"], "volumeMounts": mounts.collect::<Vec<_>>()}],
        "volumes": volumes.collect::<Vec<_>>()}})
}

/// A List of these, as text.
pub(super) fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}
