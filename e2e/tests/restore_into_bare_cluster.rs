//! Moved data needs no snapshots where it is restored: the target has no snapshot CRDs and no controller of snapshots, and
//! its only storage class has another name, which the ConfigMap of change-storage-class maps.
//!
//! The target is the same node with Velero removed, not another machine; what is different is what the sentence says.

use std::time::Duration;

use anyhow::{Result, ensure};
use caravel_e2e::scenario::side::Side;
use caravel_e2e::scenario::{
    Bucket, Cluster, Installation, Kind, NAMESPACE, Shop, Tree, Unlike, give_snapshots_back, step,
    take_snapshots_away, until,
};
use serde_json::json;

const OTHER: &str = "another-class";
/// Backups of a bucket are looked for once a minute.
const SYNCED: Duration = Duration::from_secs(150);

#[test]
fn moved_data_comes_back_without_snapshots_and_in_another_class() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "restore_into_bare_cluster")?;
    let shop = step("create the shop", || {
        Shop::named("shop").size("128Mi").create(&cluster)
    })?;
    step("fill its volume", || {
        shop.run(
            &cluster,
            "head -c 5000000 /dev/urandom > stock; mkdir -p a/b; ln -s ../stock a/b/link; chmod 600 stock; sync",
        )
    })?;
    let before = shop.tree(&cluster)?;
    step("back up", || {
        Side::ours().velero_ok(&cluster, &shop.backup_words("b1", &["--wait"]))
    })?;
    Side::ours().completed_backup(&cluster, "b1")?;
    installation.nothing_temporary_is_left(&cluster)?;
    shop.destroy(&cluster)?;
    step("remove Velero", || Installation::remove(&cluster))?;

    let bucket = installation.bucket().clone();
    let outcome = step("take snapshots and the storage class away", || {
        take_snapshots_away(&cluster, OTHER)
    })
    .and_then(|()| restore(&cluster, bucket, &shop, &before));
    // Other scenarios need them, whatever came of this one.
    let given_back = step("give them back", || give_snapshots_back(&cluster, OTHER));
    outcome?;
    given_back
}

fn restore(cluster: &Cluster, bucket: Bucket, shop: &Shop, before: &Tree) -> Result<()> {
    let crds = cluster.kubectl(&["get", "crd", "--output", "name"])?;
    ensure!(
        !crds.contains("snapshot.storage.k8s.io"),
        "there are still snapshot CRDs: {crds}"
    );
    Installation::again(cluster, bucket)?;
    let mapping = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "change-storage-class", "namespace": NAMESPACE,
            "labels": {"velero.io/plugin-config": "", "velero.io/change-storage-class": "RestoreItemAction"}},
        "data": {&cluster.facts().storage_class: OTHER}});
    cluster.apply(&mapping.to_string())?;
    until("backup b1 to be found in the bucket", SYNCED, || {
        let found = cluster.get(Kind::BACKUP, NAMESPACE, "b1")?;
        Ok(found
            .map(drop)
            .ok_or_else(|| "it is not in the cluster".to_owned()))
    })?;
    step("restore", || {
        Side::ours().velero_ok(
            cluster,
            &["restore", "create", "r1", "--from-backup", "b1", "--wait"],
        )
    })?;
    Side::ours().completed_restore(cluster, "r1")?;
    let claim = cluster.must_get(Kind::PERSISTENT_VOLUME_CLAIM, "shop", "data")?;
    ensure!(
        claim["spec"]["storageClassName"] == OTHER,
        "the claim has the class {}",
        claim["spec"]["storageClassName"]
    );
    step("the volume is equal", || {
        before.must_equal(&shop.tree(cluster)?, Unlike::Nothing)
    })?;
    shop.destroy(cluster)
}
