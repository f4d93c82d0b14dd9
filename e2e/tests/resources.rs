//! An application of every kind of object in two namespaces and beside them: backed up, lost, restored under mapped names.
//! What comes back is equal but for what the server sets; pods run again and belong to their owners again; nothing is warned of.

use std::time::Duration;

use anyhow::{Result, ensure};
use caravel_e2e::scenario::side::{Side, json_object, messages};
use caravel_e2e::scenario::{ApplicationSet, CLUSTER_SCOPED, Cluster, Installation, step, until};
use serde_json::Value;

#[test]
fn an_application_comes_back_equal_under_mapped_names() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "resources")?;
    let ours = Side::ours();
    let set = ApplicationSet::named("gallery");
    let copy = set.renamed("gallery-copy");
    step("make the application", || {
        copy.destroy(&cluster)?;
        set.create(&cluster)
    })?;
    let before = step("dump it", || set.dump(&cluster, &set))?;
    ApplicationSet::is_whole(&before)?;
    println!("   {} objects", before.len());

    step("back up", || {
        ours.velero_ok(
            &cluster,
            &[
                "backup",
                "create",
                "b1",
                "--include-namespaces",
                &set.namespaces(),
                "--include-cluster-scoped-resources",
                CLUSTER_SCOPED,
                "--wait",
            ],
        )
    })?;
    let backup = ours.completed_backup(&cluster, "b1")?;
    without_warnings(&backup, &installation, "backups/b1/b1-results.gz")?;

    step("lose it", || set.destroy(&cluster))?;
    step("restore under mapped names", || {
        ours.velero_ok(
            &cluster,
            &[
                "restore",
                "create",
                "r1",
                "--from-backup",
                "b1",
                "--namespace-mappings",
                &set.mappings(&copy),
                "--wait",
            ],
        )
    })?;
    let restore = ours.completed_restore(&cluster, "r1")?;
    without_warnings(&restore, &installation, "restores/r1/restore-r1-results.gz")?;
    step("it runs again", || copy.runs(&cluster))?;
    step("it is equal", || {
        // Owners adopt what is theirs a moment after it is there.
        until("an equal application", Duration::from_secs(30), || {
            let after = copy.dump(&cluster, &set)?;
            Ok(before.must_equal(&after).map_err(|error| format!("{error:#}")))
        })
    })?;
    println!("   {} objects are equal", before.len());
    step("remove it", || {
        copy.destroy(&cluster)?;
        // What is beside the namespaces has the set's own names.
        set.destroy(&cluster)
    })?;
    installation.nothing_temporary_is_left(&cluster)
}

fn without_warnings(object: &Value, installation: &Installation, results: &str) -> Result<()> {
    if object["status"]["warnings"].as_u64().unwrap_or_default() == 0 {
        return Ok(());
    }
    let results = json_object(installation.bucket(), results)?;
    let said = messages(&results, "warnings", &[]);
    ensure!(said.is_empty(), "warnings: {said:#?}");
    anyhow::bail!(
        "the status counts warnings that no file holds: {}",
        object["status"]
    )
}
