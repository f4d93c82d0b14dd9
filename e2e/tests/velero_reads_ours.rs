//! The real Velero and ours on one cluster and one bucket: each sees the other's backup by sync, describes it and restores it.
//!
//! Two backups of one application, one by each; four restores, each backup by each. All four come back equal, ours warns of
//! nothing that Velero does not warn of when it restores the same backup, and Velero warns of nothing in our backup that it does
//! not warn of in its own.

use std::time::Duration;

use anyhow::{Result, ensure};
use caravel_e2e::scenario::side::{Side, json_object, line_differences, list_differences, messages};
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

    let mut of_its_own = Vec::new();
    for name in ["by-theirs", "by-ours"] {
        let expected = restored(&cluster, bucket, &theirs, name, &set, &before)?;
        let found = restored(&cluster, bucket, &ours, name, &set, &before)?;
        println!(
            "   {name}: the real Velero warns {} times, ours {} times",
            expected.len(),
            found.len()
        );
        no_more_warnings(&format!("when ours restores {name}"), &found, &expected)?;
        if name == "by-theirs" {
            of_its_own = expected;
        } else {
            no_more_warnings("when Velero restores what ours backed up", &expected, &of_its_own)?;
        }
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
    let (by_ours, by_theirs) = (ours.describes(cluster, name)?, theirs.describes(cluster, name)?);
    let differences = line_differences(("ours", &by_ours), ("Velero", &by_theirs));
    ensure!(
        differences.is_empty(),
        "{name} is described otherwise: {differences:#?}"
    );
    Ok(())
}

/// Of all the warnings, each is one that Velero gives, too.
fn no_more_warnings(what: &str, found: &[String], expected: &[String]) -> Result<()> {
    let more: Vec<&String> = found.iter().filter(|line| !expected.contains(line)).collect();
    ensure!(
        more.is_empty(),
        "{what}, there are warnings {more:#?} that Velero does not give of its own: {expected:#?}"
    );
    Ok(())
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
