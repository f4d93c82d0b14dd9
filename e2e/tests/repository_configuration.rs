//! `--backup-repository-configmap` and `cachePVC` are really followed: data is compressed in a way that the real Kopia reads, and
//! a restore has a volume for its cache, which is gone afterwards.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use caravel_e2e::scenario::{
    Bucket, Cluster, Installation, Kind, Kopia, NAMESPACE, Options, Shop, Tree, Unlike, step, until,
};
use serde_json::{Value, json};

const REPOSITORY_CONFIGMAP: &str = "repository-config";
const NODE_AGENT_CONFIGMAP: &str = "node-agent-config";
const CACHE_LIMIT_MB: u64 = 200;

/// 40 MB of words that no two files share, and 10 MB of noise.
const FILL: &str = r#"
i=0; while [ $i -lt 20 ]; do seq $((i * 300000)) $((i * 300000 + 260000)) > words-$i; i=$((i + 1)); done
dd if=/dev/urandom of=noise bs=1M count=10 2>/dev/null
mkdir -p deep/er; i=0; while [ $i -lt 300 ]; do echo "file $i" > deep/er/$i; i=$((i + 1)); done
sync
"#;

#[test]
fn a_repository_s_configuration_is_followed_and_kopia_reads_what_comes_of_it() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = install(&cluster)?;
    let shop = step("create the shop", || Shop::named("shop").create(&cluster))?;
    step("fill its volume", || shop.run(&cluster, FILL))?;
    let tree = shop.tree(&cluster)?;
    step("back up", || {
        cluster.velero_ok(&shop.backup_words("b1", &["--wait"]))
    })?;

    let repositories = cluster.list(Kind::BACKUP_REPOSITORY, NAMESPACE, "")?;
    let repository = repositories.first().context("there is no BackupRepository")?;
    let said = &repository["spec"]["repositoryConfig"];
    let expected = json!({
        "cacheLimitMB": CACHE_LIMIT_MB.to_string(), "enableCompression": "true", "fullMaintenanceInterval": "fastGC",
    });
    ensure!(*said == expected, "the BackupRepository says {said}");

    let kopia = step("kopia connects", || {
        Kopia::connect(&cluster, &installation, "shop")
    })?;
    compressed(&installation, &kopia, &tree)?;
    maintained_twice_a_day(&kopia)?;
    restored_with_a_cache(&cluster, &shop)?;
    tree.must_equal(&shop.tree(&cluster)?, Unlike::Nothing)?;
    println!("   {} entries are equal", tree.len());
    shop.destroy(&cluster)
}

/// Both ConfigMaps are there first: install refuses the name of one that does not exist, as Velero's does.
fn install(cluster: &Cluster) -> Result<Installation> {
    step("remove an earlier installation", || Installation::remove(cluster))?;
    let bucket = Bucket::fresh(cluster, "repository-configuration")?;
    let repository = json!({
        "cacheLimitMB": CACHE_LIMIT_MB, "enableCompression": true, "fullMaintenanceInterval": "fastGC",
    });
    let node_agent = json!({
        "cachePVC": {"storageClass": cluster.facts().storage_class, "residentThresholdInMB": 1},
        // Slow, so that a restore can be looked at.
        "podResources": {"cpuLimit": "200m"},
    });
    let map = |name: &str, key: &str, says: &Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE},
               "data": {key: says.to_string()}})
    };
    cluster.apply(
        &json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            map(REPOSITORY_CONFIGMAP, "kopia", &repository),
            map(NODE_AGENT_CONFIGMAP, "node-agent.json", &node_agent),
        ]})
        .to_string(),
    )?;
    let words = [
        "--backup-repository-configmap",
        REPOSITORY_CONFIGMAP,
        "--node-agent-configmap",
        NODE_AGENT_CONFIGMAP,
    ];
    let options = Options {
        more: words.map(str::to_owned).to_vec(),
        ..Options::default()
    };
    Installation::on(cluster, bucket, &options)
}

/// Words take a fraction of their length in the bucket, and Kopia finds the same bytes in them.
fn compressed(installation: &Installation, kopia: &Kopia, tree: &Tree) -> Result<()> {
    let stored = installation.bucket().size_below("kopia/shop/")?;
    let contents = kopia.run(&["content", "list", "--compression"])?;
    let by_zstd = contents
        .lines()
        .filter(|line| line.contains("zstd-fastest"))
        .count();
    println!("   the repository has {stored} bytes; {by_zstd} contents are compressed");
    ensure!(by_zstd >= 10, "Kopia says of the contents:\n{contents}");
    ensure!(
        (10_000_000..30_000_000).contains(&stored),
        "the repository has {stored} bytes"
    );
    let manifests = kopia.manifests()?;
    let id = manifests
        .first()
        .and_then(|snapshot| snapshot["id"].as_str())
        .context("Kopia sees no snapshot")?;
    let scratch = tempfile::tempdir()?;
    let restored = scratch.path().join("restored");
    step("kopia verifies every byte, and restores", || {
        kopia.run(&["snapshot", "verify", "--verify-files-percent=100"])?;
        kopia.run(&["snapshot", "restore", id, &restored.to_string_lossy()])
    })?;
    tree.must_equal(&Tree::read(&restored)?, Unlike::AsKopiaRestores)
}

fn maintained_twice_a_day(kopia: &Kopia) -> Result<()> {
    let said = kopia.run(&["maintenance", "info", "--json"])?;
    let info: Value = serde_json::from_str(said.trim()).context("kopia's answer is not JSON")?;
    let interval = info["full"]["interval"].as_u64();
    ensure!(
        interval == Some(12 * 3600 * 1_000_000_000),
        "full maintenance every {} ns",
        info["full"]["interval"]
    );
    Ok(())
}

/// The data mover of the restore keeps copies in a volume of its own; nothing of it is left.
fn restored_with_a_cache(cluster: &Cluster, shop: &Shop) -> Result<()> {
    step("lose the namespace", || shop.destroy(cluster))?;
    cluster.velero_ok(&["restore", "create", "r1", "--from-backup", "b1"])?;
    let kept = step("restore: copies come into the cache volume", || {
        until("a copy in the cache volume", Duration::from_secs(120), || {
            let movers = cluster.list(Kind::POD, NAMESPACE, "velero.io/data-download")?;
            let Some(pod) = movers.first() else {
                return Ok(Err("there is no data mover pod".to_owned()));
            };
            Ok(match cache_on_node(cluster, pod)? {
                Some(folder) => first_copy(&folder).ok_or_else(|| "nothing is in the volume".to_owned()),
                None => Err("the pod has no cache volume yet".to_owned()),
            })
        })
    })?;
    println!("   copied: {kept}");
    step("the restore ends, and its cache with it", || {
        cluster.wait_for_phase(
            Kind::RESTORE,
            NAMESPACE,
            "r1",
            &["Completed"],
            Duration::from_secs(180),
        )?;
        until(
            "the end of the cache volume's claim",
            Duration::from_secs(30),
            || {
                let left = cluster.list(Kind::PERSISTENT_VOLUME_CLAIM, NAMESPACE, "")?;
                Ok(match left.first() {
                    None => Ok(()),
                    Some(claim) => Err(format!("there is {}", claim["metadata"]["name"])),
                })
            },
        )
    })
}

/// The cache volume of a data mover pod as the node sees it; none while it is not mounted.
fn cache_on_node(cluster: &Cluster, pod: &Value) -> Result<Option<PathBuf>> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let claim = volumes
        .filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
        .find(|claim| claim.ends_with("-cache"))
        .with_context(|| {
            format!(
                "no cache among the volumes of the pod: {}",
                pod["spec"]["volumes"]
            )
        })?;
    let Some(claim) = cluster.get(Kind::PERSISTENT_VOLUME_CLAIM, NAMESPACE, claim)? else {
        return Ok(None);
    };
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let Some(volume) = claim["spec"]["volumeName"].as_str() else {
        return Ok(None);
    };
    let path = cluster.mount_on_node(uid, volume)?;
    Ok(path.is_dir().then_some(path))
}

/// The first file with something in it, of the parts for what is read.
fn first_copy(cache: &Path) -> Option<String> {
    let listed = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let parts = ["metadata", "contents"].map(|part| cache.join(part));
    let shards = parts.iter().flat_map(|part| listed(part));
    let files = shards.flat_map(|shard| listed(&shard));
    let mut files = files.filter_map(|file| Some((file.metadata().ok()?.len(), file)));
    let (bytes, file) = files.find(|(bytes, _)| *bytes > 0)?;
    Some(format!("{}, {bytes} bytes", file.display()))
}
