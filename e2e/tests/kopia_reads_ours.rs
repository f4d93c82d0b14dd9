//! Kopia opens the bucket's repository, verifies every byte of it and restores the same tree; and a snapshot that Kopia takes
//! into it is restored by our data mover.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use caravel_e2e::scenario::{Cluster, Installation, Kind, Kopia, NAMESPACE, Shop, Tree, Unlike, step};
use serde_json::json;

const FILL: &str = r#"
mkdir -p a/b empty; chmod 1777 empty
dd if=/dev/urandom of=a/large bs=1M count=30 2>/dev/null
i=0; while [ $i -lt 200 ]; do echo "file $i" > a/b/$i; i=$((i + 1)); done
: > nothing
truncate -s 100000000 sparse
echo x > 'a < b & ☃'
ln -s nowhere dangling; ln -s /etc/passwd absolute
echo p > setuid; chmod 4755 setuid
mkdir private; echo s > private/key; chown -R 1000:2000 private; chmod 700 private
sync
"#;

#[test]
fn kopia_and_caravel_read_each_other() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "kopia_reads_ours")?;
    let shop = step("create the shop", || Shop::named("shop").create(&cluster))?;
    step("fill its volume", || shop.run(&cluster, FILL))?;
    let tree = shop.tree(&cluster)?;
    step("back up", || {
        cluster.velero_ok(&shop.backup_words("b1", &["--wait"]))
    })?;
    let uploads = installation.data_uploads(&cluster, "b1")?;
    let snapshot = uploads
        .first()
        .and_then(|upload| upload["status"]["snapshotID"].as_str())
        .context("the backup has no DataUpload with a snapshot")?
        .to_owned();

    let kopia = step("kopia connects", || {
        Kopia::connect(&cluster, &installation, "shop")
    })?;
    step("kopia verifies every byte", || {
        kopia.run(&["snapshot", "verify", "--verify-files-percent=100"])
    })?;
    let scratch = tempfile::tempdir()?;
    let restored = scratch.path().join("restored");
    step("kopia restores", || {
        kopia.run(&["snapshot", "restore", &snapshot, &restored.to_string_lossy()])
    })?;
    tree.must_equal(&Tree::read(&restored)?, Unlike::AsKopiaRestores)?;
    println!("   {} entries are equal", tree.len());

    let source = scratch.path().join("source");
    make_tree(&source)?;
    let expected = Tree::read(&source)?;
    let theirs = step("kopia takes a snapshot", || kopia.snapshot(&source))?;
    step("our data mover restores it", || download(&cluster, &theirs))?;
    let restored = Shop::named("theirs").tree(&cluster)?;
    expected.must_equal(&restored, Unlike::Nothing)?;
    println!("   {} entries are equal", expected.len());
    cluster.delete(Kind::NAMESPACE, "", "theirs")?;
    shop.destroy(&cluster)
}

/// A tree of Kopia's own, with what both sides must agree on.
fn make_tree(root: &Path) -> Result<()> {
    fs::create_dir_all(root.join("deep/deeper/empty"))?;
    let noise: Vec<u8> = (0..6_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(root.join("deep/large"), noise)?;
    fs::write(root.join("nothing"), "")?;
    fs::write(root.join("deep/päckchen ☃ <&>"), "one")?;
    fs::write(root.join("deep/setuid"), "two")?;
    fs::set_permissions(root.join("deep/setuid"), fs::Permissions::from_mode(0o4755))?;
    std::os::unix::fs::chown(root.join("nothing"), Some(1000), Some(2000))?;
    symlink("nowhere", root.join("dangling"))?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Asks for a restore of a snapshot as the restore controller does: a claim that waits for its volume, and a DataDownload.
fn download(cluster: &Cluster, snapshot: &str) -> Result<()> {
    let facts = cluster.facts();
    cluster.delete(Kind::NAMESPACE, "", "theirs")?;
    let container = json!({
        "name": "shop", "image": facts.application_image, "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", "sleep 2147483647"], "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    });
    cluster.apply(
        &json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs"}},
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "theirs"},
             "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": facts.storage_class,
                      "selector": {"matchLabels": {"velero.io/dynamic-pv-restore": "theirs.data.scenario"}},
                      "resources": {"requests": {"storage": "200Mi"}}}},
            {"apiVersion": "velero.io/v2alpha1", "kind": "DataDownload",
             "metadata": {"name": "theirs", "namespace": NAMESPACE},
             "spec": {"backupStorageLocation": "default", "operationTimeout": "5m0s", "snapshotID": snapshot,
                      "sourceNamespace": "shop",
                      "targetVolume": {"namespace": "theirs", "pv": "", "pvc": "data"}}},
            {"apiVersion": "v1", "kind": "Pod",
             "metadata": {"name": "shop", "namespace": "theirs", "labels": {"app": "shop"}},
             "spec": {"terminationGracePeriodSeconds": 1, "containers": [container],
                      "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}},
        ]})
        .to_string(),
    )?;
    cluster.wait_for_phase(
        Kind::DATA_DOWNLOAD,
        NAMESPACE,
        "theirs",
        &["Completed"],
        Duration::from_secs(180),
    )?;
    Shop::named("theirs").pod(cluster)?;
    Ok(())
}
