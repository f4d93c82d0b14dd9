//! `cargo xtask bench floor`: how long a backup of a 10 MB volume takes, beside the least that the cluster itself needs.
//!
//! The floor is the same chain by hand: VolumeSnapshot → ready → PVC from it → pod that mounts it runs. What our backup takes
//! beyond that is ours. Nothing is asserted (decisions.md section 4): the medians of five are printed, and where the time
//! of the middle backup went: when each phase was first seen, asked for every few milliseconds.

pub mod big_volume;
mod measure;
pub mod movement;
mod mover_memory;
mod pod_memory;
pub mod resources;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use crate::scenario::{Cluster, Installation, Kind, NAMESPACE, Shop, phase, step};

const RUNS: usize = 5;
const DEADLINE: Duration = Duration::from_secs(120);

/// Runs both chains and prints the comparison.
pub fn floor() -> Result<()> {
    let cluster = Cluster::connect()?;
    let _installation = Installation::fresh(&cluster, "bench-floor")?;
    let shop = step("create the shop", || {
        Shop::named("bench-shop").size("64Mi").create(&cluster)
    })?;
    step("fill its volume", || {
        shop.run(
            &cluster,
            "dd if=/dev/urandom of=ten bs=1M count=10 2>/dev/null; sync",
        )
    })?;

    let mut by_hand = Vec::new();
    let mut ours = Vec::new();
    for run in 0..RUNS {
        by_hand.push(step("by hand", || chain(&cluster, run))?);
        ours.push(step("velero backup create", || backup(&cluster, run))?);
    }
    let floor = median(by_hand.iter().map(|chain| chain.total()).collect());
    by_hand.sort_by_key(Chain::total);
    ours.sort_by_key(|backup| backup.took);
    let middle = &ours[RUNS / 2];
    let hand = &by_hand[RUNS / 2];
    println!("\nmedians of {RUNS}, 10 MB volume");
    println!(
        "floor (by hand)   {:>6.1} s   snapshot ready {:.1}, pod with the PVC from it runs {:.1}",
        floor.as_secs_f64(),
        hand.snapshot.as_secs_f64(),
        hand.pod.as_secs_f64()
    );
    println!(
        "velero backup     {:>6.1} s   floor {:+.1} s",
        middle.took.as_secs_f64(),
        middle.took.as_secs_f64() - floor.as_secs_f64()
    );
    println!("where the middle one's time went (seconds since the command was typed):");
    for (what, at) in &middle.moments {
        println!("  {at:>6.2}  {what}");
    }
    shop.destroy(&cluster)
}

struct Chain {
    snapshot: Duration,
    pod: Duration,
}

impl Chain {
    fn total(&self) -> Duration {
        self.snapshot + self.pod
    }
}

/// One snapshot, one PVC from it and one pod, each waited for; all removed afterwards, untimed.
fn chain(cluster: &Cluster, run: usize) -> Result<Chain> {
    let facts = cluster.facts();
    let namespace = "bench-shop";
    let name = format!("floor-{run}");
    let begun = Instant::now();
    cluster.apply(
        &json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"volumeSnapshotClassName": facts.snapshot_class,
                     "source": {"persistentVolumeClaimName": "data"}},
        })
        .to_string(),
    )?;
    cluster.wait_for(Kind::VOLUME_SNAPSHOT, namespace, &name, DEADLINE, |object| {
        if object["status"]["readyToUse"] == true {
            Ok(())
        } else {
            Err("not ready to use".to_owned())
        }
    })?;
    let snapshot = begun.elapsed();
    let begun = Instant::now();
    cluster.apply(
        &json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace},
             "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": facts.storage_class,
                      "resources": {"requests": {"storage": "64Mi"}},
                      "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name}}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
             "spec": {"terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
                "containers": [{"name": "c", "image": facts.application_image, "imagePullPolicy": "IfNotPresent",
                                "command": ["/bin/sh", "-c", "sleep 2147483647"],
                                "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]}},
        ]})
        .to_string(),
    )?;
    cluster.wait_for_phase(Kind::POD, namespace, &name, &["Running"], DEADLINE)?;
    let pod = begun.elapsed();
    for kind in [Kind::POD, Kind::PERSISTENT_VOLUME_CLAIM, Kind::VOLUME_SNAPSHOT] {
        cluster.delete(kind, namespace, &name)?;
    }
    Ok(Chain { snapshot, pod })
}

struct Measured {
    took: Duration,
    moments: Vec<(String, f64)>,
}

/// One backup, from the command's start to the phase Completed, with the first sight of everything that happens between.
fn backup(cluster: &Cluster, run: usize) -> Result<Measured> {
    let name = format!("floor-{run}");
    let begun = Instant::now();
    cluster.velero_ok(&[
        "backup",
        "create",
        &name,
        "--include-namespaces",
        "bench-shop",
        "--snapshot-move-data",
    ])?;
    let mut moments = vec![("the command is back".to_owned(), begun.elapsed().as_secs_f64())];
    loop {
        let backup = cluster.must_get(Kind::BACKUP, NAMESPACE, &name)?;
        let phase = phase(&backup).to_owned();
        sights(cluster, &name, &phase)?
            .into_iter()
            .for_each(|sight| note(&mut moments, begun, sight));
        match phase.as_str() {
            "Completed" => {
                return Ok(Measured {
                    took: begun.elapsed(),
                    moments,
                });
            }
            "PartiallyFailed" | "Failed" | "FailedValidation" => {
                bail!("the backup ended {}", backup["status"])
            }
            _ if begun.elapsed() > DEADLINE => bail!("the backup is still {}", backup["status"]),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// What can be seen of a backup right now, in words that change when something happens.
fn sights(cluster: &Cluster, name: &str, backup: &str) -> Result<Vec<String>> {
    let mut sights = vec![format!(
        "Backup {}",
        if backup.is_empty() { "New" } else { backup }
    )];
    for upload in cluster.list(
        Kind::DATA_UPLOAD,
        NAMESPACE,
        &format!("velero.io/backup-name={name}"),
    )? {
        let now = phase(&upload);
        sights.push(format!("DataUpload {}", if now.is_empty() { "New" } else { now }));
        let owner = upload["metadata"]["name"].as_str().unwrap_or_default();
        if let Some(pod) = cluster.get(Kind::POD, NAMESPACE, owner)? {
            sights.push(format!("data mover pod {}", phase(&pod)));
        }
        if let Some(claim) = cluster.get(Kind::PERSISTENT_VOLUME_CLAIM, NAMESPACE, owner)? {
            sights.push(format!("backupPVC {}", phase(&claim)));
        }
    }
    Ok(sights)
}

fn note(moments: &mut Vec<(String, f64)>, begun: Instant, sight: String) {
    if !moments.iter().any(|(seen, _)| *seen == sight) {
        moments.push((sight, begun.elapsed().as_secs_f64()));
    }
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}
