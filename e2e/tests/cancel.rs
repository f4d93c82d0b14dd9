//! Movements that are told to end, or are killed, while data moves on real nodes: they stop within seconds, say why, and leave
//! nothing behind; the next backup is as good as ever. (Node death is the sandbox's: there is one node here.)

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use caravel_e2e::scenario::{Cluster, Installation, Kind, NAMESPACE, Shop, Unlike, phase, step, until};
use serde_json::{Value, json};

/// Takes a data mover several seconds, so that there is a middle.
const FILL: &str = "for i in 1 2 3 4 5 6; do head -c 200000000 /dev/urandom > part-$i; done; sync";
/// An upload stops within this time of the wish (issue 7), and this long after it nothing temporary is left.
const STOPS_WITHIN: Duration = Duration::from_secs(5);
const GONE_WITHIN: Duration = Duration::from_secs(30);
/// A quarter of a second is between two looks, and a busy machine is late.
const LATE: Duration = Duration::from_secs(2);
const LATER: Duration = Duration::from_secs(240);
const ENDS: &[&str] = &["Completed", "PartiallyFailed", "Failed", "FailedValidation"];

#[test]
fn what_is_canceled_or_killed_stops_says_why_and_leaves_nothing() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "cancel")?;
    let shop = step("create the shop", || {
        Shop::named("shop").size("2Gi").create(&cluster)
    })?;
    step("fill its volume", || shop.run(&cluster, FILL))?;
    let before = shop.tree(&cluster)?;

    step("spec.cancel of a DataUpload", || {
        let upload = begin(&cluster, &installation, "canceled")?;
        let asked = Instant::now();
        cluster.merge(
            Kind::DATA_UPLOAD,
            NAMESPACE,
            &upload,
            &json!({"spec": {"cancel": true}}),
        )?;
        ended(&cluster, &upload, "Canceled", asked, STOPS_WITHIN)?;
        nothing_left(&installation, &cluster, asked)?;
        backup_ends(&cluster, "canceled", &["PartiallyFailed"]).map(drop)
    })?;
    step("velero backup cancel", || {
        let upload = begin(&cluster, &installation, "called-off")?;
        let asked = Instant::now();
        cluster.velero_ok(&["backup", "cancel", "called-off"])?;
        ended(&cluster, &upload, "Canceled", asked, STOPS_WITHIN)?;
        nothing_left(&installation, &cluster, asked)?;
        let backup = backup_ends(&cluster, "called-off", &["PartiallyFailed", "Failed"])?;
        let reason = backup["status"]["failureReason"].as_str().unwrap_or_default();
        ensure!(
            reason.starts_with("canceled by "),
            "it does not say who canceled it: {}",
            backup["status"]
        );
        Ok(())
    })?;
    step("the data mover's pod is killed", || {
        let upload = begin(&cluster, &installation, "killed")?;
        let asked = Instant::now();
        cluster.kubectl(&[
            "delete",
            "pod",
            "--namespace",
            NAMESPACE,
            &upload,
            "--grace-period=0",
            "--force",
        ])?;
        ended(&cluster, &upload, "Failed", asked, GONE_WITHIN)?;
        nothing_left(&installation, &cluster, asked)?;
        backup_ends(&cluster, "killed", &["PartiallyFailed"]).map(drop)
    })?;
    step("and then it works", || {
        cluster.velero_ok(&shop.backup_words("good", &["--wait"]))?;
        backup_ends(&cluster, "good", &["Completed"])?;
        shop.destroy(&cluster)?;
        cluster.velero_ok(&["restore", "create", "r1", "--from-backup", "good", "--wait"])?;
        cluster.wait_for_phase(Kind::RESTORE, NAMESPACE, "r1", &["Completed"], LATER)?;
        before.must_equal(&shop.tree(&cluster)?, Unlike::Nothing)
    })?;
    shop.destroy(&cluster)
}

/// Begins a backup; the name of its DataUpload once data moves.
fn begin(cluster: &Cluster, installation: &Installation, backup: &str) -> Result<String> {
    let words = [
        "backup",
        "create",
        backup,
        "--include-namespaces",
        "shop",
        "--snapshot-move-data",
    ];
    cluster.velero_ok(&words)?;
    until("a DataUpload whose data moves", LATER, || {
        let uploads = installation.data_uploads(cluster, backup)?;
        let Some(upload) = uploads.first() else {
            return Ok(Err("there is none".to_owned()));
        };
        Ok(match phase(upload) {
            "InProgress" => Ok(upload["metadata"]["name"].as_str().unwrap_or_default().to_owned()),
            other => Err(format!("phase `{other}`, {}", upload["status"]["message"])),
        })
    })
}

/// The upload ends so, with a reason, soon after it was asked to.
fn ended(cluster: &Cluster, upload: &str, wanted: &str, asked: Instant, within: Duration) -> Result<()> {
    let ends = ["Completed", "Failed", "Canceled"];
    let found = cluster.wait_for_phase(Kind::DATA_UPLOAD, NAMESPACE, upload, &ends, LATER)?;
    let took = asked.elapsed();
    println!(
        "   {} after {:.1} s: {}",
        phase(&found),
        took.as_secs_f64(),
        found["status"]["message"]
    );
    ensure!(
        phase(&found) == wanted,
        "it is {}, not {wanted}: {}",
        phase(&found),
        found["status"]
    );
    ensure!(
        took <= within + LATE,
        "it ended {:.1} s later",
        took.as_secs_f64()
    );
    let message = found["status"]["message"]
        .as_str()
        .context("status.message is missing")?;
    ensure!(!message.is_empty(), "it does not say why");
    Ok(())
}

fn nothing_left(installation: &Installation, cluster: &Cluster, asked: Instant) -> Result<()> {
    installation.nothing_temporary_is_left(cluster)?;
    let took = asked.elapsed();
    println!("   all of it was gone after {:.1} s", took.as_secs_f64());
    ensure!(
        took <= GONE_WITHIN + LATE,
        "it was gone {:.1} s later",
        took.as_secs_f64()
    );
    Ok(())
}

fn backup_ends(cluster: &Cluster, name: &str, wanted: &[&str]) -> Result<Value> {
    let backup = cluster.wait_for_phase(Kind::BACKUP, NAMESPACE, name, ENDS, LATER)?;
    ensure!(
        wanted.contains(&phase(&backup)),
        "backup {name} ended as {}",
        backup["status"]
    );
    Ok(backup)
}
