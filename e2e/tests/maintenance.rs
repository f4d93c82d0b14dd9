//! A repository is maintained by a Job in a pod without rights on the node; a failure is said with its reason, old Jobs go,
//! and what was backed up is still whole.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use caravel_e2e::scenario::{Cluster, Installation, Kind, NAMESPACE, Shop, step};
use serde_json::Value;

const FILL: &str =
    "mkdir folder; head -c 3000000 /dev/urandom > folder/noise; echo hello > name; : > empty; sync";
const DIGEST: &str = "find . -type f | sort | xargs sha256sum | sha256sum";
const REPOSITORY: &str = "shop-default-kopia";
/// The blob with the times of maintenance.
const SCHEDULE: &str = "kopia/shop/kopia.maintenance";
/// A Job's pod is there within seconds; the machine may be busy.
const WITHIN: Duration = Duration::from_secs(120);

#[test]
fn a_repository_is_maintained_by_jobs_and_a_failure_says_why() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "maintenance")?;
    let shop = step("create the shop", || Shop::named("shop").create(&cluster))?;
    step("fill its volume", || shop.run(&cluster, FILL))?;
    let before = shop.run(&cluster, DIGEST)?;
    step("back up", || {
        cluster.velero_ok(&shop.backup_words("b1", &["--wait"]))
    })?;
    cluster.wait_for_phase(Kind::BACKUP, NAMESPACE, "b1", &["Completed"], WITHIN)?;

    step("maintain the repository, in full", || {
        cluster.velero_ok(&["repo", "maintain", REPOSITORY, "--full"])
    })?;
    let repository = cluster.must_get(Kind::BACKUP_REPOSITORY, NAMESPACE, REPOSITORY)?;
    let job = repository["metadata"]["annotations"]["velero.io/maintenance-job"].as_str();
    let job = job.context("the repository names no Job")?;
    step("its pod had the server's few rights", || {
        has_few_rights(&cluster, job)
    })?;
    step("it comes by itself when it is due", || due(&cluster))?;

    step("damage a blob", || {
        let file = installation.bucket().folder()?.join(SCHEDULE);
        let whole = std::fs::read(&file)?;
        let mut damaged = whole.clone();
        *damaged.last_mut().context("the blob is empty")? ^= 1;
        std::fs::write(&file, damaged)?;
        let said = cluster.velero(&["repo", "maintain", REPOSITORY]);
        std::fs::write(&file, whole)?;
        let said = said?;
        ensure!(!said.succeeded(), "maintenance of a damaged repository succeeded");
        ensure!(
            said.both().contains("kopia.maintenance"),
            "the reason does not name the blob: {}",
            said.both()
        );
        Ok(())
    })?;
    step("mended, it goes on", || {
        cluster.velero_ok(&["repo", "maintain", REPOSITORY])
    })?;
    step("three jobs are kept", || three_are_kept(&cluster))?;

    step("lose the namespace", || shop.destroy(&cluster))?;
    step("restore", || {
        cluster.velero_ok(&["restore", "create", "r1", "--from-backup", "b1", "--wait"])
    })?;
    cluster.wait_for_phase(Kind::RESTORE, NAMESPACE, "r1", &["Completed"], WITHIN)?;
    step("the application runs again", || shop.pod(&cluster))?;
    let after = shop.run(&cluster, DIGEST)?;
    ensure!(before == after, "other bytes came back: {before} {after}");
    shop.destroy(&cluster)
}

fn has_few_rights(cluster: &Cluster, job: &str) -> Result<()> {
    let pods = cluster.list(Kind::POD, NAMESPACE, &format!("job-name={job}"))?;
    let pod = pods.first().context("the Job has no pod")?;
    let container = &pod["spec"]["containers"][0];
    let security = &container["securityContext"];
    ensure!(
        security["readOnlyRootFilesystem"] == true && security["runAsNonRoot"] == true,
        "it ran with {security}"
    );
    ensure!(
        container["args"][1] == "--repo-name=shop",
        "it was called with {}",
        container["args"]
    );
    Ok(())
}

/// The newest run of the history.
fn newest(repository: &Value) -> &Value {
    let runs = repository["status"]["recentMaintenance"].as_array();
    runs.and_then(|runs| runs.last()).unwrap_or(&Value::Null)
}

fn due(cluster: &Cluster) -> Result<()> {
    let now = cluster.must_get(Kind::BACKUP_REPOSITORY, NAMESPACE, REPOSITORY)?;
    let before = newest(&now)["startTimestamp"].clone();
    let every = |frequency: &str| {
        let patch = serde_json::json!({"spec": {"maintenanceFrequency": frequency}});
        cluster.merge(Kind::BACKUP_REPOSITORY, NAMESPACE, REPOSITORY, &patch)
    };
    every("5s")?;
    let result = cluster.wait_for(Kind::BACKUP_REPOSITORY, NAMESPACE, REPOSITORY, WITHIN, |now| {
        let run = newest(now);
        if run["startTimestamp"] == before || run["result"].is_null() {
            return Err("nothing has run by itself yet".to_owned());
        }
        Ok(run["result"].clone())
    })?;
    every("1h0m0s")?;
    ensure!(result == "Succeeded", "the maintenance that was due: {result}");
    Ok(())
}

fn three_are_kept(cluster: &Cluster) -> Result<()> {
    let label = format!("velero.io/repo-name={REPOSITORY}");
    caravel_e2e::scenario::until("old maintenance pods to go", WITHIN, || {
        let pods = cluster.list(Kind::POD, NAMESPACE, &label)?;
        Ok(match pods.len() {
            3 => Ok(()),
            count => Err(format!("there are {count}")),
        })
    })
}
