//! Snapshots without data movement, on real snapshot-controller, csi-snapshotter and driver.
//!
//! What the sandbox cannot show: that the real csi-snapshotter asks the driver to delete only what it has the handle of, that
//! the storage's snapshot outlives its objects and its namespace, and that it is gone when its backup is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use caravel_e2e::scenario::{
    Cluster, Installation, Kind, NAMESPACE, Options, Shop, Unlike, snapshots_in_storage, step, until,
    without_server_fields,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const LATER: Duration = Duration::from_secs(180);

#[test]
fn a_snapshot_stays_in_the_storage_as_long_as_its_backup() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "csi_snapshot")?;
    let shop = step("create the shop", || {
        Shop::named("shop").size("64Mi").create(&cluster)
    })?;
    shop.run(
        &cluster,
        "head -c 2000000 /dev/urandom > stock; mkdir -p a/b; ln -s ../stock a/b/link; chmod 600 stock; sync",
    )?;
    let before = shop.tree(&cluster)?;
    let earlier = snapshots_in_storage(&cluster)?;

    step("back up", || create(&cluster, "b1"))?;
    let backup = ended(&cluster, "b1", "Completed")?;
    ensure!(
        backup["status"]["csiVolumeSnapshotsAttempted"] == 1
            && backup["status"]["csiVolumeSnapshotsCompleted"] == 1,
        "the backup tells of other snapshots: {}",
        backup["status"]
    );
    let kept = new_since(&cluster, &earlier)?;
    ensure!(kept.len() == 1, "the storage has {kept:?} of the backup");
    let handle = kept.first().context("no snapshot")?.clone();
    step("describe tells of it", || {
        let told = cluster.velero_ok(&["backup", "describe", "b1", "--details"])?;
        for word in [&handle, &cluster.facts().driver, "Result: succeeded"] {
            ensure!(
                told.contains(word),
                "`describe --details` does not say {word}: {told}"
            );
        }
        Ok(())
    })?;
    step("its files are in the bucket", || {
        let files = installation.bucket().objects()?;
        for file in [
            "volumesnapshots",
            "volumesnapshotcontents",
            "volumesnapshotclasses",
        ] {
            let key = format!("backups/b1/b1-csi-{file}.json.gz");
            ensure!(
                files.iter().any(|(found, _)| found.ends_with(&key)),
                "{key} is not in the bucket"
            );
        }
        Ok(())
    })?;
    step("nothing of it is in the cluster", || {
        no_snapshot_objects(&cluster, "shop")
    })?;

    shop.run(&cluster, "echo later > later; sync")?;
    step("lose the namespace", || shop.destroy(&cluster))?;
    ensure!(
        snapshots_in_storage(&cluster)?.contains(&handle),
        "the storage's snapshot went with its namespace"
    );

    step("restore", || {
        cluster.velero_ok(&["restore", "create", "r1", "--from-backup", "b1", "--wait"])
    })?;
    let restore = cluster.wait_for_phase(Kind::RESTORE, NAMESPACE, "r1", &["Completed"], SOON)?;
    ensure!(
        restore["status"]["warnings"].as_u64().unwrap_or_default() == 0,
        "warnings: {}",
        restore["status"]
    );
    before.must_equal(&shop.tree(&cluster)?, Unlike::Nothing)?;
    let told = cluster.velero_ok(&["restore", "describe", "r1", "--details"])?;
    ensure!(
        told.contains(&handle),
        "`restore describe` does not say {handle}: {told}"
    );
    step("the restored objects keep the snapshot, too", || {
        shop.destroy(&cluster)?;
        ensure!(
            snapshots_in_storage(&cluster)?.contains(&handle),
            "the storage's snapshot went with the restored namespace"
        );
        Ok(())
    })?;
    step("restore under another name", || {
        cluster.delete(Kind::NAMESPACE, "", "shop2")?;
        cluster.velero_ok(&[
            "restore",
            "create",
            "r2",
            "--from-backup",
            "b1",
            "--namespace-mappings",
            "shop:shop2",
            "--wait",
        ])?;
        cluster.wait_for_phase(Kind::RESTORE, NAMESPACE, "r2", &["Completed"], SOON)?;
        before.must_equal(&Shop::named("shop2").tree(&cluster)?, Unlike::Nothing)?;
        cluster.delete(Kind::NAMESPACE, "", "shop2")
    })?;

    step("delete the backup", || {
        cluster.velero_ok(&["backup", "delete", "b1", "--confirm"])?;
        gone(&cluster, "b1")
    })?;
    ensure!(
        !snapshots_in_storage(&cluster)?.contains(&handle),
        "the backup is gone, and its snapshot {handle} is still in the storage"
    );
    step("no temporary content is left", || {
        let contents = cluster.list(Kind::VOLUME_SNAPSHOT_CONTENT, "", "")?;
        let left = contents
            .iter()
            .filter(|content| name(content).starts_with("velero-delete-"))
            .count();
        ensure!(left == 0, "{left} temporary contents are left");
        Ok(())
    })?;
    remove_restored_contents(&cluster)
}

#[test]
fn a_snapshot_that_is_gone_already_does_not_keep_its_backup() -> Result<()> {
    let cluster = Cluster::connect()?;
    let _installation = Installation::fresh(&cluster, "csi_snapshot_gone")?;
    let shop = Shop::named("shop").size("64Mi").create(&cluster)?;
    let earlier = snapshots_in_storage(&cluster)?;
    create(&cluster, "b1")?;
    ended(&cluster, "b1", "Completed")?;
    let handle = new_since(&cluster, &earlier)?
        .first()
        .context("no snapshot")?
        .clone();
    step("somebody deletes the storage's snapshot", || {
        // With the csi-snapshotter's finalizer: without it the object goes before the driver is asked.
        let content = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": {"name": "somebodys",
                "finalizers": ["snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection"]},
            "spec": {"deletionPolicy": "Delete", "driver": cluster.facts().driver, "source": {"snapshotHandle": handle},
                "volumeSnapshotRef": {"namespace": "nowhere", "name": "nothing"}}});
        cluster.apply(&content.to_string())?;
        until("the content to be ready", SOON, || {
            let content = cluster.must_get(Kind::VOLUME_SNAPSHOT_CONTENT, "", "somebodys")?;
            Ok((content["status"]["readyToUse"] == true)
                .then_some(())
                .ok_or_else(|| content["status"].to_string()))
        })?;
        cluster.delete(Kind::VOLUME_SNAPSHOT_CONTENT, "", "somebodys")?;
        ensure!(
            !snapshots_in_storage(&cluster)?.contains(&handle),
            "it is still there"
        );
        Ok(())
    })?;
    step("delete the backup", || {
        cluster.velero_ok(&["backup", "delete", "b1", "--confirm"])?;
        gone(&cluster, "b1")
    })?;
    shop.destroy(&cluster)
}

#[test]
fn a_class_of_another_driver_is_an_error_that_names_it_and_leaves_nothing() -> Result<()> {
    let cluster = Cluster::connect()?;
    let _installation = Installation::fresh(&cluster, "csi_snapshot_class")?;
    let shop = Shop::named("shop").size("64Mi").create(&cluster)?;
    let earlier = snapshots_in_storage(&cluster)?;
    let class = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
        "metadata": {"name": "stranger"}, "driver": "stranger.example.com", "deletionPolicy": "Delete"});
    cluster.apply(&class.to_string())?;
    let annotation = json!({"metadata": {"annotations": {"velero.io/csi-volumesnapshot-class": "stranger"}}});
    cluster.merge(Kind::PERSISTENT_VOLUME_CLAIM, "shop", "data", &annotation)?;
    let outcome = step("back up", || {
        create(&cluster, "b1")?;
        ended(&cluster, "b1", "PartiallyFailed")
    });
    cluster.delete(Kind::VOLUME_SNAPSHOT_CLASS, "", "stranger")?;
    outcome?;
    let told = cluster.velero_ok(&["backup", "logs", "b1"])?;
    for word in ["stranger", "stranger.example.com", &cluster.facts().driver] {
        ensure!(told.contains(word), "the log does not name {word}");
    }
    no_snapshot_objects(&cluster, "shop")?;
    ensure!(
        new_since(&cluster, &earlier)?.is_empty(),
        "a snapshot is left in the storage"
    );
    shop.destroy(&cluster)
}

#[test]
fn a_backup_is_deleted_with_its_snapshot_although_the_snapshot_class_is_gone() -> Result<()> {
    let cluster = Cluster::connect()?;
    let _installation = Installation::fresh(&cluster, "csi_snapshot_classless")?;
    let shop = Shop::named("shop").size("64Mi").create(&cluster)?;
    let earlier = snapshots_in_storage(&cluster)?;
    create(&cluster, "b1")?;
    ended(&cluster, "b1", "Completed")?;
    let handle = new_since(&cluster, &earlier)?
        .first()
        .context("no snapshot")?
        .clone();
    shop.destroy(&cluster)?;
    let class = cluster.facts().snapshot_class.clone();
    let kept = cluster.must_get(Kind::VOLUME_SNAPSHOT_CLASS, "", &class)?;
    // The deletion needs none: StorageClass and CSIDriver name the driver, too.
    cluster.delete(Kind::VOLUME_SNAPSHOT_CLASS, "", &class)?;
    let outcome = step("delete the backup without any snapshot class", || {
        cluster.velero_ok(&["backup", "delete", "b1", "--confirm"])?;
        gone(&cluster, "b1")
    });
    cluster.apply(&without_server_fields(kept).to_string())?;
    outcome?;
    ensure!(
        !snapshots_in_storage(&cluster)?.contains(&handle),
        "{handle} is still in the storage"
    );
    Ok(())
}

/// The cluster that expires a backup is not the one that took it: it knows the snapshot from the bucket alone.
#[test]
fn a_backup_that_another_installation_finds_in_the_bucket_expires_with_its_snapshot() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "csi_snapshot_expiry")?;
    let shop = Shop::named("shop").size("64Mi").create(&cluster)?;
    let earlier = snapshots_in_storage(&cluster)?;
    // Long enough for Velero to be removed before it is over.
    cluster.velero_ok(&[
        "backup",
        "create",
        "b1",
        "--include-namespaces",
        "shop",
        "--ttl",
        "90s",
    ])?;
    ended(&cluster, "b1", "Completed")?;
    let handle = new_since(&cluster, &earlier)?
        .first()
        .context("no snapshot")?
        .clone();
    shop.destroy(&cluster)?;
    step("remove Velero", || Installation::remove(&cluster))?;
    ensure!(
        snapshots_in_storage(&cluster)?.contains(&handle),
        "the storage's snapshot went with Velero, or the backup expired too early for this scenario"
    );
    let installation = Installation::again(&cluster, installation.bucket().clone())?;
    step("its time is over", || {
        until("the end of the expired backup", 2 * LATER, || {
            let files = installation.bucket().objects()?;
            let left = files
                .iter()
                .filter(|(key, _)| key.starts_with("backups/b1/"))
                .count();
            Ok(match (cluster.get(Kind::BACKUP, NAMESPACE, "b1")?, left) {
                (None, 0) => Ok(()),
                (found, left) => Err(format!(
                    "{left} files; the Backup: {:?}",
                    found.map(|it| it["status"].to_string())
                )),
            })
        })
    })?;
    ensure!(
        !snapshots_in_storage(&cluster)?.contains(&handle),
        "the backup has expired, and its snapshot {handle} is still in the storage"
    );
    Ok(())
}

/// As Velero 1.7: the objects stay in the cluster, another one gets a content of its own, and both only go with the backup.
#[test]
fn objects_that_stay_in_the_cluster_and_come_into_another_keep_their_snapshot_until_its_backup_goes()
-> Result<()> {
    let cluster = Cluster::connect()?;
    let options = Options {
        more: vec!["--csi-snapshot-objects=keep".to_owned()],
        ..Options::default()
    };
    let installation = Installation::with(&cluster, "csi_snapshot_keep", &options)?;
    location_is_available(&cluster)?;
    let shop = Shop::named("shop").size("64Mi").create(&cluster)?;
    shop.run(&cluster, "head -c 1000000 /dev/urandom > stock; sync")?;
    let before = shop.tree(&cluster)?;
    let earlier = snapshots_in_storage(&cluster)?;
    create(&cluster, "b1")?;
    ended(&cluster, "b1", "Completed")?;
    let handle = new_since(&cluster, &earlier)?
        .first()
        .context("no snapshot")?
        .clone();
    step("its objects are in the cluster, and say Retain", || {
        let content = only_content(&cluster, "b1")?;
        ensure!(
            content["spec"]["deletionPolicy"] == "Retain"
                && content["status"]["snapshotHandle"] == handle.as_str(),
            "the content that was kept: {content}"
        );
        let snapshots = cluster.list(Kind::VOLUME_SNAPSHOT, "shop", "velero.io/backup-name=b1")?;
        ensure!(
            snapshots.len() == 1,
            "{} VolumeSnapshots were kept",
            snapshots.len()
        );
        Ok(())
    })?;

    step(
        "another backup of the namespace has its own snapshot only",
        || {
            create(&cluster, "b2")?;
            ended(&cluster, "b2", "Completed")?;
            ensure!(
                new_since(&cluster, &earlier)?.len() == 2,
                "not two snapshots in the storage"
            );
            let told = cluster.velero_ok(&["backup", "describe", "b2", "--details"])?;
            ensure!(!told.contains(&handle), "b2 tells of b1's snapshot: {told}");
            cluster.velero_ok(&["backup", "delete", "b2", "--confirm"])?;
            gone(&cluster, "b2")?;
            let left = new_since(&cluster, &earlier)?;
            ensure!(
                left == [handle.clone()],
                "of two backups one was deleted, and the storage has {left:?}"
            );
            Ok(())
        },
    )?;

    step("lose the namespace, with the VolumeSnapshot in it", || {
        shop.destroy(&cluster)
    })?;
    ensure!(
        snapshots_in_storage(&cluster)?.contains(&handle),
        "the storage's snapshot went with its namespace"
    );
    step("restore beside the content that was kept", || {
        cluster.velero_ok(&["restore", "create", "r1", "--from-backup", "b1", "--wait"])?;
        cluster.wait_for_phase(Kind::RESTORE, NAMESPACE, "r1", &["Completed"], SOON)?;
        before.must_equal(&shop.tree(&cluster)?, Unlike::Nothing)?;
        shop.destroy(&cluster)
    })?;

    step("another cluster: no Velero, no object of the snapshot", || {
        Installation::remove(&cluster)?;
        let kept = only_content(&cluster, "b1")?;
        cluster.delete(Kind::VOLUME_SNAPSHOT_CONTENT, "", name(&kept))?;
        ensure!(
            snapshots_in_storage(&cluster)?.contains(&handle),
            "the storage's snapshot went with its content, which said Retain"
        );
        Ok(())
    })?;
    let said = installation.install(&cluster, &options)?;
    ensure!(said.succeeded(), "install: {}", said.both());
    location_is_available(&cluster)?;
    step("its server syncs a content of the snapshot", || {
        until("the synced content", LATER, || {
            Ok(match only_content(&cluster, "b1") {
                Ok(content) if content["spec"]["source"]["snapshotHandle"] == handle.as_str() => Ok(()),
                found => Err(format!("{found:?}")),
            })
        })?;
        let content = only_content(&cluster, "b1")?;
        ensure!(
            content["spec"]["deletionPolicy"] == "Retain",
            "the synced content: {content}"
        );
        Ok(())
    })?;
    step("delete the backup there", || {
        cluster.velero_ok(&["backup", "delete", "b1", "--confirm"])?;
        gone(&cluster, "b1")
    })?;
    ensure!(
        !snapshots_in_storage(&cluster)?.contains(&handle),
        "the backup is gone, and its snapshot {handle} is still in the storage"
    );
    let left = cluster.list(Kind::VOLUME_SNAPSHOT_CONTENT, "", OF_B1)?;
    ensure!(
        left.is_empty(),
        "{} contents of the deleted backup are left",
        left.len()
    );
    remove_restored_contents(&cluster)
}

/// Contents of the backup `b1` that no restore has made.
const OF_B1: &str = "velero.io/backup-name=b1,!velero.io/restore-name";

fn only_content(cluster: &Cluster, backup: &str) -> Result<Value> {
    let selector = format!("velero.io/backup-name={backup},!velero.io/restore-name");
    let mut contents = cluster.list(Kind::VOLUME_SNAPSHOT_CONTENT, "", &selector)?;
    ensure!(
        contents.len() == 1,
        "{} contents of backup {backup}",
        contents.len()
    );
    Ok(contents.remove(0))
}

fn location_is_available(cluster: &Cluster) -> Result<()> {
    cluster
        .wait_for_phase(
            Kind::BACKUP_STORAGE_LOCATION,
            NAMESPACE,
            "default",
            &["Available"],
            SOON,
        )
        .map(drop)
}

fn create(cluster: &Cluster, name: &str) -> Result<()> {
    cluster
        .velero_ok(&["backup", "create", name, "--include-namespaces", "shop"])
        .map(drop)
}

fn ended(cluster: &Cluster, name: &str, wanted: &str) -> Result<Value> {
    let phases = ["Completed", "PartiallyFailed", "Failed", "FailedValidation"];
    let backup = cluster.wait_for_phase(Kind::BACKUP, NAMESPACE, name, &phases, LATER)?;
    ensure!(
        backup["status"]["phase"] == wanted,
        "backup {name} ended as {}",
        backup["status"]
    );
    Ok(backup)
}

fn gone(cluster: &Cluster, backup: &str) -> Result<()> {
    until(&format!("the end of backup {backup}"), LATER, || {
        let found = cluster.get(Kind::BACKUP, NAMESPACE, backup)?;
        Ok(match found {
            None => Ok(()),
            Some(_) => {
                let requests = cluster.kubectl(&[
                    "get",
                    "deletebackuprequests",
                    "--namespace",
                    NAMESPACE,
                    "--output",
                    "jsonpath={.items[*].status}",
                ])?;
                Err(requests)
            }
        })
    })
}

fn new_since(cluster: &Cluster, earlier: &[String]) -> Result<Vec<String>> {
    let mut now = snapshots_in_storage(cluster)?;
    now.retain(|handle| !earlier.contains(handle));
    Ok(now)
}

/// No VolumeSnapshot in the namespace, and no content of one.
fn no_snapshot_objects(cluster: &Cluster, namespace: &str) -> Result<()> {
    until("the end of the snapshot's objects", SOON, || {
        let snapshots = cluster.list(Kind::VOLUME_SNAPSHOT, namespace, "")?;
        let contents = cluster.list(Kind::VOLUME_SNAPSHOT_CONTENT, "", "")?;
        let of_namespace = |content: &&Value| content["spec"]["volumeSnapshotRef"]["namespace"] == namespace;
        let left: Vec<String> = snapshots
            .iter()
            .chain(contents.iter().filter(of_namespace))
            .map(|object| name(object).to_owned())
            .collect();
        Ok(if left.is_empty() {
            Ok(())
        } else {
            Err(left.join(", "))
        })
    })
}

/// What restores have made stays, as with Velero: Retain, and of no use once its backup is gone.
fn remove_restored_contents(cluster: &Cluster) -> Result<()> {
    for content in cluster.list(Kind::VOLUME_SNAPSHOT_CONTENT, "", "velero.io/restore-name")? {
        cluster.delete(Kind::VOLUME_SNAPSHOT_CONTENT, "", name(&content))?;
    }
    Ok(())
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
