//! Another cluster than the one that was backed up: a new one in its place, or one without snapshots.
//!
//! Only for our own cluster, and only for scenarios that say so: what ran in it is gone afterwards.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{Bucket, Cluster, Kind, step};
use crate::cluster::layout::Layout;
use crate::cluster::processes::Started;
use crate::{cluster, image, places, run};

/// What takes snapshots.
const SNAPSHOTTERS: [&str; 2] = ["csi-snapshotter", "snapshot-controller"];

/// Wipes the cluster with etcd, every Secret, key and volume, and makes a new one. Of the old one only the bucket is there.
pub fn replace_cluster(lost: Cluster, bucket: &Bucket) -> Result<Cluster> {
    let old = lost.facts().clone();
    drop(lost);
    let root = old
        .root
        .clone()
        .context("only our own cluster can be wiped; run the scenario on it")?;
    let archive = image::product_archive()?;
    ensure!(
        archive.is_file(),
        "{} is missing: a new cluster would have no image of the product; `cargo xtask image` makes it",
        archive.display()
    );
    // On the same file system: the S3 server keeps facts of its objects in extended attributes.
    let beside = root
        .parent()
        .context("the cluster's root has no folder around it")?;
    let saved = tempfile::tempdir_in(beside).context("cannot make a folder for the bucket")?;
    let copy = |from: &Path, to: &Path| {
        run::checked(Command::new("cp").arg("--archive").arg(from).arg(to)).map(drop)
    };
    copy(bucket.folder()?, saved.path())?;
    step("wipe the cluster", cluster::down)?;
    ensure!(!root.exists(), "{} is still there", root.display());
    let mut facts = step("make a new one", cluster::up)?;
    step("load the product's image", || cluster::load_image(&archive))?;
    facts.velero = old.velero;
    let buckets = facts
        .s3
        .folder
        .clone()
        .context("the new cluster's S3 server has no folder")?;
    copy(&saved.path().join(bucket.name()), &buckets)?;
    Cluster::connect_to(facts)
}

/// Takes away everything about snapshots and the storage classes; there is one class, of another name. Given back by
/// [`give_snapshots_back`].
pub fn take_snapshots_away(cluster: &Cluster, class: &str) -> Result<()> {
    let layout = own(cluster)?;
    for name in SNAPSHOTTERS {
        if let Some(started) = Started::remembered(&layout, name) {
            started.end(&layout, Duration::from_secs(5))?;
        }
    }
    // Nobody takes their finalizers off any more.
    for kind in [Kind::VOLUME_SNAPSHOT, Kind::VOLUME_SNAPSHOT_CONTENT] {
        for object in cluster.list(kind, "", "")? {
            let word = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            let freed = json!({"metadata": {"finalizers": null}});
            cluster.merge(kind, &word("namespace"), &word("name"), &freed)?;
        }
    }
    let names = cluster.kubectl(&["get", "crd", "--output", "name"])?;
    for name in names
        .lines()
        .filter(|name| name.contains("snapshot.storage.k8s.io"))
    {
        cluster.kubectl(&["delete", name, "--timeout=60s"])?;
    }
    let facts = cluster.facts();
    let mut classes = vec![facts.storage_class.clone()];
    classes.extend(facts.storage_class_waiting.clone());
    for old in classes {
        cluster.kubectl(&["delete", "storageclass", &old, "--ignore-not-found"])?;
    }
    let other = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": class},
        "provisioner": facts.driver, "volumeBindingMode": "Immediate", "reclaimPolicy": "Delete"});
    cluster.apply(&other.to_string())
}

/// Makes the cluster whole again after [`take_snapshots_away`].
pub fn give_snapshots_back(cluster: &Cluster, class: &str) -> Result<()> {
    own(cluster)?;
    cluster::up()?;
    cluster
        .kubectl(&["delete", "storageclass", class, "--ignore-not-found"])
        .map(drop)
}

fn own(cluster: &Cluster) -> Result<Layout> {
    let root = cluster.facts().root.as_ref();
    let root = root.context("only our own cluster can be changed so; run the scenario on it")?;
    ensure!(
        fs::canonicalize(root)? == fs::canonicalize(places::cluster_root())?,
        "{} is not the cluster of this checkout",
        root.display()
    );
    Ok(Layout::new(root.clone()))
}
