//! `cargo xtask bench move --big`: the data mover's memory on a volume of 10 GiB with 100,000 files, moved to the bucket,
//! lost and restored.
//!
//! The data mover pods get a memory limit of what is to be shown ([`MOST`]), so that the kernel is the judge: a mover that
//! needs more is killed, and its backup or restore is not Completed. How much of it the program itself took is printed
//! beside; without the limit (`--unlimited`) file pages of the volume are charged to the pod, too.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::measure::{Measured, measure, met};
use super::movement::{list, pod};
use super::mover_memory::{MoverMemory, MoverUsed};
use crate::facts::Facts;
use crate::scenario::{Bucket, Cluster, Installation, Kind, NAMESPACE, Options, Side, step, until};
use crate::scenarios;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Without a memory limit of the data mover pods.
    pub unlimited: bool,
    /// Cargo profile of the product's image; none when the images that are loaded and `CARAVEL_VELERO` are to be measured.
    pub profile: Option<String>,
}

/// Issue 7, row "memory": bytes of a data mover pod.
const MOST: u64 = 144 << 20;
const SCENARIO: &str = "bench-big";
const SOURCE: &str = "bench-big";
const CLAIM: &str = "data-0";
const NODE_AGENT_CONFIGMAP: &str = "node-agent-config";

/// 100 folders with 1,000 files each, and a few large files: random data, 10.7 GB together, which is 10 GiB.
const FOLDERS: u64 = 100;
const FILES_IN_EACH: u64 = 1_000;
const SMALL_BYTES: u64 = 21_500;
const LARGE_FILES: u64 = 8;
const LARGE_BYTES: u64 = 1 << 30;
const _: () = assert!(FOLDERS * FILES_IN_EACH >= 100_000 && FOLDERS.is_multiple_of(2));
const _: () = assert!(FOLDERS * FILES_IN_EACH * SMALL_BYTES + LARGE_FILES * LARGE_BYTES >= 10 << 30);
/// Of the volume, with room for its file system's own data.
const CAPACITY: &str = "12Gi";
/// The volume and its backup, or the backup and the restored volume; and some more.
const ROOM: u64 = 24 << 30;
const RUNNING: Duration = Duration::from_secs(300);

/// Measures and prints.
pub fn run(settings: &Settings) -> Result<()> {
    let facts = match &settings.profile {
        Some(profile) => scenarios::prepared(true, false, profile)?,
        None => Facts::read()?,
    };
    let cluster = Cluster::connect_to(facts)?;
    enough_room(&cluster)?;
    let measured = play(&cluster, settings);
    let removed = step("remove everything", || {
        cluster.delete(Kind::NAMESPACE, "", SOURCE)?;
        Installation::remove(&cluster)?;
        Bucket::fresh(&cluster, SCENARIO).map(drop)
    });
    measured.and(removed)
}

fn enough_room(cluster: &Cluster) -> Result<()> {
    let root = cluster.facts().root.as_deref();
    let root = root.context(
        "memory is read from the node's kernel: this wants our own cluster (`cargo xtask cluster up`)",
    )?;
    let free = room(root)?;
    println!(
        "   {:.1} GiB are free at {}, {:.0} GiB are needed",
        gib(free),
        root.display(),
        gib(ROOM)
    );
    ensure!(
        free >= ROOM,
        "{} has too little room: {:.1} GiB, {:.0} GiB are needed",
        root.display(),
        gib(free),
        gib(ROOM)
    );
    Ok(())
}

/// Bytes that are free.
fn room(folder: &Path) -> Result<u64> {
    let found =
        rustix::fs::statvfs(folder).with_context(|| format!("cannot measure {}", folder.display()))?;
    Ok(found.f_bavail * found.f_frsize)
}

fn play(cluster: &Cluster, settings: &Settings) -> Result<()> {
    let options = Options {
        more: vec![
            "--node-agent-configmap".to_owned(),
            NODE_AGENT_CONFIGMAP.to_owned(),
        ],
        ..Options::default()
    };
    install(cluster, &options)?;
    let ours = Side::ours();
    ours.wait_for_location(cluster)?;
    if !settings.unlimited {
        limit(cluster)?;
    }
    make(cluster)?;
    let before = step("take the digest of every file", || digest(cluster))?;
    let words = [
        "backup",
        "create",
        "big",
        "--include-namespaces",
        SOURCE,
        "--snapshot-move-data",
    ];
    let backup = watched(cluster, &ours, settings, Kind::BACKUP, "big", &words);
    let backup = backup.context("the backup")?;
    step("lose the volume", || cluster.delete(Kind::NAMESPACE, "", SOURCE))?;
    let words = ["restore", "create", "big-back", "--from-backup", "big"];
    let restore = watched(cluster, &ours, settings, Kind::RESTORE, "big-back", &words);
    let restore = restore.context("the restore")?;
    step("compare", || {
        cluster.wait_for_phase(Kind::POD, SOURCE, "all", &["Running"], RUNNING)?;
        let after = digest(cluster)?;
        ensure!(
            after == before,
            "the volume came back as {after}, not as {before}"
        );
        Ok(())
    })?;
    println!(
        "\nvolume of {:.1} GiB, {} files; data mover pods {}",
        gib(FOLDERS * FILES_IN_EACH * SMALL_BYTES + LARGE_FILES * LARGE_BYTES),
        FOLDERS * FILES_IN_EACH + LARGE_FILES,
        if settings.unlimited {
            "without a memory limit".to_owned()
        } else {
            format!("with a memory limit of {:.0} MiB", mib(MOST))
        }
    );
    for (measured, used) in [&backup, &restore] {
        println!("{}", told(measured, used));
    }
    Ok(())
}

/// Installs anew. The ConfigMap has to be there before: install refuses the name of one that does not exist, as Velero's does.
fn install(cluster: &Cluster, options: &Options) -> Result<()> {
    step("remove an earlier installation", || Installation::remove(cluster))?;
    let bucket = Bucket::fresh(cluster, SCENARIO)?;
    cluster.apply(
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}).to_string(),
    )?;
    configure(cluster, &json!({}))?;
    let said = step("install", || {
        Installation::of_another(bucket).install(cluster, options)
    })?;
    ensure!(
        said.succeeded(),
        "install ended with {}: {}",
        said.code,
        said.both().trim()
    );
    Ok(())
}

/// Writes the node agent's ConfigMap.
fn configure(cluster: &Cluster, says: &Value) -> Result<()> {
    cluster.apply(
        &json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": NODE_AGENT_CONFIGMAP, "namespace": NAMESPACE},
                "data": {"node-agent.json": says.to_string()}})
        .to_string(),
    )
}

/// The ConfigMap with the limit; it is in force without a restart, and the agent says so.
fn limit(cluster: &Cluster) -> Result<()> {
    step("limit the data mover pods", || {
        configure(
            cluster,
            &json!({"podResources": {"memoryLimit": MOST.to_string()}}),
        )?;
        until(
            "the node agent's word on its ConfigMap",
            Duration::from_secs(60),
            || {
                let said = cluster.kubectl(&[
                    "get",
                    "events",
                    "--namespace",
                    NAMESPACE,
                    "--field-selector",
                    "reason=ConfigurationInForce",
                    "--output",
                    "name",
                ])?;
                Ok(if said.trim().is_empty() {
                    Err("no event ConfigurationInForce".to_owned())
                } else {
                    Ok(())
                })
            },
        )
    })
}

/// One backup or restore, with the mover's memory; the figures are told also when it failed.
fn watched(
    cluster: &Cluster,
    side: &Side,
    settings: &Settings,
    kind: Kind,
    name: &str,
    words: &[&str],
) -> Result<(Measured, MoverUsed)> {
    let memory = MoverMemory::watch();
    let measured = measure(cluster, side, kind, name, words);
    let used = memory.used();
    println!("   data mover: {}", figures(&used));
    let measured = measured?;
    ensure!(
        used.resident > 0,
        "no data mover was seen on this machine; is this the node?"
    );
    let is_limited = used.limit == MOST;
    ensure!(
        is_limited != settings.unlimited,
        "the data mover pod had a memory limit of {} bytes, not what was asked for",
        used.limit
    );
    Ok((measured, used))
}

fn figures(used: &MoverUsed) -> String {
    format!(
        "resident {:.1} MiB, working set of the pod {:.1} MiB, control group of the pod {:.1} MiB (with file pages)",
        mib(used.resident),
        mib(used.working_set),
        mib(used.charged)
    )
}

fn told(measured: &Measured, used: &MoverUsed) -> String {
    format!(
        "{}: {:.1} s; data mover at most: {}; {:.0} MiB may be: {}",
        measured.what,
        measured.took.as_secs_f64(),
        figures(used),
        mib(MOST),
        met(is_met(used))
    )
}

/// With the limit, the kernel has judged the pod; without it, its working set counts.
fn is_met(used: &MoverUsed) -> bool {
    used.resident <= MOST && (used.limit <= MOST || used.working_set <= MOST)
}

/// The namespace with its volume and a pod that has it, filled.
fn make(cluster: &Cluster) -> Result<()> {
    step("make the volume", || {
        cluster.delete(Kind::NAMESPACE, "", SOURCE)?;
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM, "namespace": SOURCE},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": cluster.facts().storage_class,
                     "resources": {"requests": {"storage": CAPACITY}}}});
        cluster.apply(&list(&[
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SOURCE}}),
            pod(cluster, SOURCE, "all", &[CLAIM.to_owned()]),
            claim,
        ]))?;
        cluster.wait_for_phase(Kind::POD, SOURCE, "all", &["Running"], RUNNING)?;
        Ok(())
    })?;
    step("fill it with random data", || {
        cluster.exec(SOURCE, "all", &filling())?;
        let files = cluster.exec(SOURCE, "all", &format!("find /{CLAIM} -type f -size +0 | wc -l"))?;
        ensure!(
            files.trim() == (FOLDERS * FILES_IN_EACH + LARGE_FILES).to_string(),
            "{} files are there",
            files.trim()
        );
        Ok(())
    })
}

/// A process for each file: as two lines of work, one for each processor.
fn filling() -> String {
    let half = FOLDERS / 2;
    let small = |first: u64, last: u64| {
        format!(
            "(for d in $(seq {first} {last}); do mkdir small-$d; for f in $(seq 1 {FILES_IN_EACH}); do \
             head -c {SMALL_BYTES} /dev/urandom > small-$d/$f; done; done) &"
        )
    };
    format!(
        "cd /{CLAIM}; {} {} wait; for f in $(seq 1 {LARGE_FILES}); do head -c {LARGE_BYTES} /dev/urandom > large-$f; done; sync",
        small(1, half),
        small(half + 1, FOLDERS)
    )
}

/// One digest of every file's name and content.
fn digest(cluster: &Cluster) -> Result<String> {
    let line = format!("cd /{CLAIM}; find . -type f | sort | xargs sha256sum | sha256sum");
    Ok(cluster.exec(SOURCE, "all", &line)?.trim().to_owned())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_of_work_together_fill_every_folder() {
        let filling = filling();
        assert!(
            filling.contains("seq 1 50") && filling.contains("seq 51 100"),
            "{filling}"
        );
    }

    #[test]
    fn the_pod_is_judged_by_its_limit_or_by_its_working_set() {
        let used = MoverUsed {
            resident: 60 << 20,
            working_set: 143 << 20,
            charged: MOST,
            limit: MOST,
        };
        assert!(is_met(&used));
        let unlimited = MoverUsed {
            limit: u64::MAX,
            ..used
        };
        assert!(is_met(&unlimited));
        assert!(!is_met(&MoverUsed {
            working_set: MOST + 1,
            ..unlimited
        }));
        assert!(!is_met(&MoverUsed {
            resident: MOST + 1,
            ..used
        }));
    }
}
