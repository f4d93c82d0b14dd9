//! A second backup after 20 files of 100 KB have changed: the bucket grows by at most their size plus 1 MiB.

use anyhow::{Context, Result, ensure};
use caravel_e2e::scenario::{Cluster, Installation, Kind, NAMESPACE, Shop, Unlike, step};

const FILL: &str = r#"
i=0
while [ $i -lt 500 ]; do
    dd if=/dev/urandom of=file-$i bs=100k count=1 2>/dev/null
    i=$((i + 1))
done
sync
"#;

const CHANGE: &str = r#"
i=0
while [ $i -lt 20 ]; do
    dd if=/dev/urandom of=file-$((i * 20)) bs=100k count=1 2>/dev/null
    i=$((i + 1))
done
sync
"#;

/// 20 files of 100 KiB, as `dd bs=100k` makes them.
const CHANGED: u64 = 20 * 100 * 1024;
const ALLOWANCE: u64 = 1 << 20;

#[test]
fn a_second_backup_moves_only_what_changed() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "move_data_incremental")?;
    let shop = step("create the shop", || Shop::named("shop").create(&cluster))?;
    step("fill its volume", || shop.run(&cluster, FILL))?;
    let back_up = |name: &str| cluster.velero_ok(&shop.backup_words(name, &["--wait"]));
    step("first backup", || back_up("first"))?;
    let first = installation.bucket().size_below("")?;
    step("change 20 files", || shop.run(&cluster, CHANGE))?;
    let before = shop.tree(&cluster)?;
    step("second backup", || back_up("second"))?;
    let grown = installation.bucket().size_below("")?.saturating_sub(first);

    let uploads = installation.data_uploads(&cluster, "second")?;
    let upload = uploads.first().context("the second backup has no DataUpload")?;
    let incremental = upload["status"]["incrementalBytes"].as_u64().unwrap_or_default();
    println!("   changed {CHANGED} bytes; the bucket grew by {grown}; status.incrementalBytes {incremental}");
    ensure!(
        grown <= CHANGED + ALLOWANCE,
        "the bucket grew by {grown} bytes for {CHANGED} changed ones"
    );
    ensure!(
        (CHANGED..=CHANGED + ALLOWANCE).contains(&incremental),
        "status.incrementalBytes is {incremental} for {CHANGED} changed bytes"
    );

    step("restore the second", || {
        shop.destroy(&cluster)?;
        cluster.velero_ok(&["restore", "create", "r2", "--from-backup", "second", "--wait"])
    })?;
    before.must_equal(&shop.tree(&cluster)?, Unlike::Nothing)?;
    cluster.must_get(Kind::BACKUP, NAMESPACE, "first")?;
    shop.destroy(&cluster)
}
