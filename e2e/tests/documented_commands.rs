//! Every command that Velero's page on data movement tells to type, typed while a backup and a restore go on: what it shows
//! is what the page promises. `kubectl get -w` runs beside them and must have seen each phase.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use caravel_e2e::scenario::side::Side;
use caravel_e2e::scenario::{Cluster, Installation, Kind, NAMESPACE, Shop, step, until};

/// What a movement that ends well goes through.
const PHASES: [&str; 4] = ["Accepted", "Prepared", "InProgress", "Completed"];

/// What `kubectl get` shows of a movement.
const COLUMNS: [&str; 7] = [
    "STATUS",
    "STARTED",
    "BYTES DONE",
    "TOTAL BYTES",
    "STORAGE LOCATION",
    "AGE",
    "NODE",
];

#[test]
fn what_the_documents_tell_to_type_works() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "documented_commands")?;
    let ours = Side::ours();
    let shop = step("create the shop", || {
        Shop::named("shop").size("128Mi").create(&cluster)
    })?;
    shop.run(&cluster, "head -c 30000000 /dev/urandom > stock; sync")?;
    let seen = tempfile::tempdir()?;

    let uploads = Watch::begin(
        &cluster,
        seen.path(),
        &["datauploads", "-l", "velero.io/backup-name=b1"],
    )?;
    let snapshots = Watch::begin(&cluster, seen.path(), &["volumesnapshots", "--all-namespaces"])?;
    step("back up", || {
        let words = [
            "backup",
            "create",
            "b1",
            "--include-namespaces",
            "shop",
            "--snapshot-move-data",
            "--wait",
        ];
        ours.velero_ok(&cluster, &words)
    })?;
    ours.completed_backup(&cluster, "b1")?;
    step("DataUploads were seen in each phase", || {
        uploads.has_seen(&COLUMNS)?;
        uploads.has_seen(&PHASES)
    })?;
    step(
        "a VolumeSnapshot appeared in the claim's namespace, and is gone",
        || {
            snapshots.has_seen(&["shop "])?;
            ensure!(
                cluster.list(Kind::VOLUME_SNAPSHOT, "shop", "")?.is_empty(),
                "it is still there"
            );
            installation.nothing_temporary_is_left(&cluster)
        },
    )?;
    step("describe, logs, and the objects themselves", || {
        shows(
            &ours.velero_ok(&cluster, &["backup", "describe", "b1"])?,
            &["Name:", "b1", "Completed"],
        )?;
        shows(
            &ours.velero_ok(&cluster, &["backup", "describe", "b1", "--details"])?,
            &["shop/data", "Data Movement"],
        )?;
        shows(
            &ours.velero_ok(&cluster, &["backup", "logs", "b1"])?,
            &["level=info"],
        )?;
        shows(
            &of_velero(
                &cluster,
                &[
                    "get",
                    "datauploads",
                    "-l",
                    "velero.io/backup-name=b1",
                    "-o",
                    "yaml",
                ],
            )?,
            &["phase: Completed", "snapshotID:", "bytesDone:"],
        )
    })?;

    step("lose the namespace", || shop.destroy(&cluster))?;
    let downloads = Watch::begin(
        &cluster,
        seen.path(),
        &["datadownloads", "-l", "velero.io/restore-name=r1"],
    )?;
    step("restore", || {
        ours.velero_ok(
            &cluster,
            &["restore", "create", "r1", "--from-backup", "b1", "--wait"],
        )
    })?;
    ours.completed_restore(&cluster, "r1")?;
    step("DataDownloads were seen in each phase", || {
        downloads.has_seen(&COLUMNS)?;
        downloads.has_seen(&PHASES)
    })?;
    step("describe, logs, and the objects themselves", || {
        shows(
            &ours.velero_ok(&cluster, &["restore", "describe", "r1"])?,
            &["r1", "Completed"],
        )?;
        shows(
            &ours.velero_ok(&cluster, &["restore", "logs", "r1"])?,
            &["level=info"],
        )?;
        shows(
            &of_velero(
                &cluster,
                &[
                    "get",
                    "datadownloads",
                    "-l",
                    "velero.io/restore-name=r1",
                    "-o",
                    "yaml",
                ],
            )?,
            &["phase: Completed", "snapshotID:"],
        )
    })?;
    step("pods, their logs, and repositories", || {
        looks_at_the_installation(&cluster, &ours)
    })?;
    shop.destroy(&cluster)
}

fn looks_at_the_installation(cluster: &Cluster, ours: &Side) -> Result<()> {
    shows(
        &of_velero(cluster, &["get", "pods"])?,
        &["velero-", "node-agent-", "Running"],
    )?;
    let repositories = cluster.list(
        Kind::BACKUP_REPOSITORY,
        NAMESPACE,
        "velero.io/volume-namespace=shop",
    )?;
    let name = repositories
        .first()
        .and_then(|repository| repository["metadata"]["name"].as_str())
        .context("there is no BackupRepository of namespace shop")?;
    shows(&ours.velero_ok(cluster, &["repo", "get"])?, &[name, "Ready"])?;
    shows(
        &ours.velero_ok(cluster, &["repo", "get", name, "-o", "yaml"])?,
        &["phase: Ready", "volumeNamespace: shop"],
    )?;
    let agents = cluster.list(Kind::POD, NAMESPACE, "name=node-agent")?;
    let agent = agents
        .first()
        .and_then(|pod| pod["metadata"]["name"].as_str())
        .context("there is no node-agent pod")?;
    for of in ["deploy/velero", agent] {
        ensure!(
            !of_velero(cluster, &["logs", of])?.trim().is_empty(),
            "`kubectl logs {of}` shows nothing"
        );
    }
    Ok(())
}

/// `kubectl -n velero …`.
fn of_velero(cluster: &Cluster, words: &[&str]) -> Result<String> {
    let mut all = vec!["--namespace", NAMESPACE];
    all.extend(words);
    cluster.kubectl(&all)
}

fn shows(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    Ok(())
}

/// `kubectl get … -w`, until it is dropped.
struct Watch {
    child: Child,
    file: std::path::PathBuf,
}

impl Watch {
    /// Returns when the API server has begun to answer, so that nothing is missed.
    fn begin(cluster: &Cluster, folder: &Path, words: &[&str]) -> Result<Self> {
        let (file, requests) = (
            folder.join(words[0]),
            folder.join(format!("{}.requests", words[0])),
        );
        let child = Command::new("kubectl")
            .env("KUBECONFIG", &cluster.facts().kubeconfig)
            .args(["--namespace", NAMESPACE, "get"])
            .args(words)
            // The requests, too, on standard error.
            .args(["--watch", "--v=6"])
            .stdin(Stdio::null())
            .stdout(File::create(&file)?)
            .stderr(File::create(&requests)?)
            .spawn()
            .context("cannot start kubectl")?;
        let watch = Self { child, file };
        until("kubectl to watch", Duration::from_secs(30), || {
            let said = std::fs::read_to_string(&requests)?;
            Ok(if said.contains("watch=true") {
                Ok(())
            } else {
                Err(said)
            })
        })?;
        Ok(watch)
    }

    /// A line may come a moment after what it tells.
    fn has_seen(&self, words: &[&str]) -> Result<()> {
        until("what kubectl get -w shows", Duration::from_secs(10), || {
            let text = std::fs::read_to_string(&self.file)?;
            Ok(shows(&text, words).map_err(|error| error.to_string()))
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
