//! The real Velero and ours on one cluster and one bucket: each sees the other's backup by sync, describes it and restores it.
//!
//! Two backups of one application, one by each; four restores, each backup by each. All four come back equal, and ours warns of
//! nothing that Velero does not warn of when it restores the same backup.

use std::time::Duration;

use anyhow::{Result, ensure};
use caravel_e2e::scenario::side::{Side, json_object, list_differences, messages};
use caravel_e2e::scenario::{
    ApplicationSet, Bucket, CLUSTER_SCOPED, Cluster, Dump, Installation, Kind, NAMESPACE, step, until,
};
use serde_json::{Value, json};

#[test]
fn each_restores_what_the_other_backed_up() -> Result<()> {
    let cluster = Cluster::connect()?;
    let (ours, theirs) = (Side::ours(), Side::theirs(&cluster)?);
    Installation::remove_from(&cluster, theirs.namespace)?;
    let installation = Installation::fresh(&cluster, "velero_reads_ours")?;
    let bucket = installation.bucket();
    let set = ApplicationSet::named("museum");
    step("make the application", || set.create(&cluster))?;
    let before = set.dump(&cluster, &set)?;
    ApplicationSet::is_whole(&before)?;
    step("ours backs up", || backup(&cluster, &ours, "by-ours", &set))?;

    // Its server looks into the bucket when it starts, so it finds the first backup at once.
    theirs.install(&cluster, bucket)?;
    step("the real Velero backs up", || {
        backup(&cluster, &theirs, "by-theirs", &set)
    })?;
    step("both backed up the same", || same_contents(bucket))?;

    cluster.merge(
        Kind::BACKUP_STORAGE_LOCATION,
        NAMESPACE,
        "default",
        &json!({"spec": {"backupSyncPeriod": "5s"}}),
    )?;
    step("each sees the other's backup", || {
        for (side, name) in [(&theirs, "by-ours"), (&ours, "by-theirs")] {
            cluster.wait_for_phase(
                Kind::BACKUP,
                side.namespace,
                name,
                &["Completed"],
                Duration::from_secs(120),
            )?;
        }
        Ok(())
    })?;
    step("each describes it", || {
        described_alike(&cluster, &ours, &theirs, "by-theirs")?;
        described_alike(&cluster, &ours, &theirs, "by-ours")
    })?;

    for name in ["by-theirs", "by-ours"] {
        let expected = restored(&cluster, bucket, &theirs, name, &set, &before)?;
        let found = restored(&cluster, bucket, &ours, name, &set, &before)?;
        println!(
            "   {name}: the real Velero warns {} times, ours {} times",
            expected.len(),
            found.len()
        );
        let more: Vec<&String> = found.iter().filter(|line| !expected.contains(line)).collect();
        ensure!(
            more.is_empty(),
            "ours warns of what Velero does not: {more:#?}; Velero warns: {expected:#?}"
        );
    }
    step("remove all of it", || {
        set.destroy(&cluster)?;
        Installation::remove_from(&cluster, theirs.namespace)
    })
}

fn backup(cluster: &Cluster, side: &Side, name: &str, set: &ApplicationSet) -> Result<()> {
    side.velero_ok(
        cluster,
        &[
            "backup",
            "create",
            name,
            "--include-namespaces",
            &set.namespaces(),
            "--include-cluster-scoped-resources",
            CLUSTER_SCOPED,
            "--wait",
        ],
    )?;
    side.completed_backup(cluster, name).map(drop)
}

/// The lists of what is in both backups are the same, but for what belongs to the installations themselves.
fn same_contents(bucket: &Bucket) -> Result<()> {
    let list = |name: &str| json_object(bucket, &format!("backups/{name}/{name}-resource-list.json.gz"));
    let (ours, theirs) = (list("by-ours")?, list("by-theirs")?);
    // Events go on happening between the two.
    let of_the_application = |line: &String| !line.contains("velero-peer") && !line.contains(": v1/Event ");
    let differences: Vec<String> = list_differences(("ours", &ours), ("theirs", &theirs))
        .into_iter()
        .filter(of_the_application)
        .collect();
    ensure!(
        differences.is_empty(),
        "the backups hold different objects: {differences:#?}"
    );
    Ok(())
}

/// Both commands describe the same synced backup, with its details, in the same lines.
fn described_alike(cluster: &Cluster, ours: &Side, theirs: &Side, name: &str) -> Result<()> {
    let words = ["backup", "describe", name, "--details"];
    let lines = |side: &Side| -> Result<Vec<String>> {
        let said = side.velero_ok(cluster, &words)?;
        let line = |line: &str| {
            without_colours(line)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        Ok(said.lines().map(line).filter(|line| compared(line)).collect())
    };
    let (by_ours, by_theirs) = (lines(ours)?, lines(theirs)?);
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these
            .iter()
            .filter(|line| !those.contains(line))
            .cloned()
            .collect()
    };
    let (more, less) = (only(&by_ours, &by_theirs), only(&by_theirs, &by_ours));
    ensure!(
        more.is_empty() && less.is_empty(),
        "{name} is described otherwise: only ours {more:#?}, only Velero {less:#?}"
    );
    Ok(())
}

/// Velero colours what it says, whoever reads it: escape, `[`, numbers, `m`.
fn without_colours(line: &str) -> String {
    let mut plain = String::new();
    let mut parts = line.split('\u{1b}');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

/// The one line that must differ: where the Backup object is.
fn compared(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("Namespace: velero")
}

/// Loses the application, restores it under mapped names by one of the two, compares, and returns the warnings.
fn restored(
    cluster: &Cluster,
    bucket: &Bucket,
    side: &Side,
    backup: &str,
    set: &ApplicationSet,
    before: &Dump,
) -> Result<Vec<String>> {
    let copy = set.renamed(&format!("museum-{}", side.name));
    let name = format!("{backup}-restored-by-{}", side.name);
    step(&format!("{} restores {backup}", side.name), || {
        set.destroy(cluster)?;
        side.velero_ok(
            cluster,
            &[
                "restore",
                "create",
                &name,
                "--from-backup",
                backup,
                "--namespace-mappings",
                &set.mappings(&copy),
                "--wait",
            ],
        )?;
        side.completed_restore(cluster, &name)?;
        copy.runs(cluster)?;
        until("an equal application", Duration::from_secs(30), || {
            let after = copy.dump(cluster, set)?;
            Ok(before.must_equal(&after).map_err(|error| format!("{error:#}")))
        })?;
        let results: Value = json_object(bucket, &format!("restores/{name}/restore-{name}-results.gz"))?;
        copy.destroy(cluster)?;
        // What is beside the namespaces has the set's own names.
        set.destroy(cluster)?;
        let names = [(format!("museum-{}", side.name), "museum".to_owned())];
        Ok(messages(&results, "warnings", &names))
    })
}
