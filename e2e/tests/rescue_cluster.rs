//! The disaster: etcd, every Secret, every key and every volume of the cluster are gone; of it all only the bucket is there.
//! In a new cluster the same install command is typed, and everything comes back.
//!
//! The repository's password is Velero's published one, so that nothing has to be remembered (decisions.md section 1).

use std::time::Duration;

use anyhow::{Result, ensure};
use caravel_e2e::scenario::side::Side;
use caravel_e2e::scenario::{
    ApplicationSet, Bucket, CLUSTER_SCOPED, Cluster, Installation, Kind, NAMESPACE, Shop, Unlike,
    replace_cluster, step, until,
};

const FILL: &str = r#"
umask 022
mkdir -p stock/deep empty; chmod 1777 empty
i=0; while [ $i -lt 200 ]; do head -c 20000 /dev/urandom > stock/item-$i; i=$((i + 1)); done
truncate -s 100000000 sparse; echo x > 'a < b & ☃'; ln -s nowhere dangling
mkdir private; echo secret > private/key; chmod 600 private/key; chown -R 1000:2000 private; chmod 700 private
sync
"#;
/// Backups of a bucket are looked for once a minute.
const SYNCED: Duration = Duration::from_secs(150);

#[test]
fn a_wiped_cluster_comes_back_from_its_bucket() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "rescue_cluster")?;
    let ours = Side::ours();
    let shop = step("create the shop", || Shop::named("shop").create(&cluster))?;
    step("fill its volume", || shop.run(&cluster, FILL))?;
    let tree = shop.tree(&cluster)?;
    let set = ApplicationSet::named("gallery");
    step("make the application", || set.create(&cluster))?;
    let objects = set.dump(&cluster, &set)?;
    ApplicationSet::is_whole(&objects)?;

    step("back up the volume", || {
        ours.velero_ok(&cluster, &shop.backup_words("volumes", &["--wait"]))
    })?;
    ours.completed_backup(&cluster, "volumes")?;
    step("back up the objects", || {
        let namespaces = set.namespaces();
        let words = [
            "backup",
            "create",
            "objects",
            "--include-namespaces",
            &namespaces,
            "--include-cluster-scoped-resources",
            CLUSTER_SCOPED,
            "--wait",
        ];
        ours.velero_ok(&cluster, &words)
    })?;
    ours.completed_backup(&cluster, "objects")?;

    let old = cluster.must_get(Kind::NAMESPACE, "", "kube-system")?["metadata"]["uid"].clone();
    let cluster = replace_cluster(cluster, installation.bucket())?;
    ensure!(
        cluster.must_get(Kind::NAMESPACE, "", "kube-system")?["metadata"]["uid"] != old,
        "it is the old cluster"
    );
    ensure!(
        cluster.get(Kind::NAMESPACE, "", "shop")?.is_none(),
        "the shop is still there"
    );

    let bucket = Bucket::existing(&cluster, installation.bucket().name())?;
    let installation = Installation::again(&cluster, bucket)?;
    for name in ["volumes", "objects"] {
        step(&format!("backup {name} is found in the bucket"), || {
            until(&format!("backup {name}"), SYNCED, || {
                let found = cluster.get(Kind::BACKUP, NAMESPACE, name)?;
                Ok(found
                    .map(drop)
                    .ok_or_else(|| "it is not in the cluster".to_owned()))
            })
        })?;
        step(&format!("restore {name}"), || {
            ours.velero_ok(
                &cluster,
                &["restore", "create", name, "--from-backup", name, "--wait"],
            )
        })?;
        ours.completed_restore(&cluster, name)?;
    }

    step("the volume is equal", || {
        tree.must_equal(&shop.tree(&cluster)?, Unlike::Nothing)
    })?;
    for kind in [Kind::CONFIG_MAP, Kind::SECRET] {
        let name = if kind == Kind::SECRET { "till" } else { "prices" };
        cluster.must_get(kind, "shop", name)?;
    }
    step("the application runs again", || set.runs(&cluster))?;
    let authority = cluster.must_get(Kind::CONFIG_MAP, "kube-system", "kube-root-ca.crt")?;
    let objects = objects.with_authority(&authority["data"]["ca.crt"]);
    step("it is equal", || {
        until("an equal application", Duration::from_secs(30), || {
            let after = set.dump(&cluster, &set)?;
            Ok(objects.must_equal(&after).map_err(|error| format!("{error:#}")))
        })
    })?;
    step("nothing temporary is left", || {
        installation.nothing_temporary_is_left(&cluster)
    })?;
    set.destroy(&cluster)?;
    shop.destroy(&cluster)
}
