//! A volume that is a device: backed up whole, changed and backed up again, lost, and back with every byte.
//!
//! The device is mostly untouched; what is on it begins at its first byte, at an odd place in the middle, and goes to its
//! last one. The restored device is another one, read through the application's own pod.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use caravel_e2e::scenario::{Cluster, Installation, Kind, NAMESPACE, Shop, step};

/// Size of the device.
const BYTES: u64 = 256 << 20;

/// Data at the begin, in the middle, and at the end.
const FILL: &str = r"
set -e
dd if=/dev/urandom of=/dev/data bs=65536 count=20 conv=notrunc 2>/dev/null
dd if=/dev/urandom of=/dev/data bs=4096 count=700 seek=31001 conv=notrunc 2>/dev/null
dd if=/dev/urandom of=/dev/data bs=65536 count=16 seek=4080 conv=notrunc 2>/dev/null
sync
";
/// Some of it anew.
const CHANGE: &str =
    "dd if=/dev/urandom of=/dev/data bs=4096 count=3 seek=5000 conv=notrunc 2>/dev/null; sync";

#[test]
fn a_lost_device_comes_back_equal() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "block_volume")?;
    let shop = step("create the shop with a device", || {
        Shop::named("shop")
            .size(&BYTES.to_string())
            .block()
            .create(&cluster)
    })?;
    step("write to the device", || shop.run(&cluster, FILL))?;
    step("back up", || back_up(&cluster, "b1"))?;
    let first = installation.data_uploads(&cluster, "b1")?;
    let first = first.first().context("the first backup has no DataUpload")?;
    ensure!(
        first["status"]["progress"]["totalBytes"].as_u64() >= Some(BYTES),
        "the DataUpload does not count the whole device: {}",
        first["status"]
    );
    step("change a little", || shop.run(&cluster, CHANGE))?;
    let before = step("read the device", || digest(&shop, &cluster))?;
    step("back up again", || back_up(&cluster, "b2"))?;
    let second = installation.data_uploads(&cluster, "b2")?;
    let second = second.first().context("the second backup has no DataUpload")?;
    let new = second["status"]["incrementalBytes"].as_u64().unwrap_or_default();
    println!("   {new} bytes of the second backup are new");
    ensure!(new < BYTES / 4, "the second backup moved {new} bytes again");

    step("lose the namespace", || shop.destroy(&cluster))?;
    step("restore", || {
        cluster.velero_ok(&["restore", "create", "r1", "--from-backup", "b2", "--wait"])
    })?;
    cluster.wait_for_phase(
        Kind::RESTORE,
        NAMESPACE,
        "r1",
        &["Completed"],
        Duration::from_secs(30),
    )?;
    step("the application runs again", || shop.pod(&cluster))?;
    let after = step("read the device again", || digest(&shop, &cluster))?;
    ensure!(after == before, "the device holds {after}, it held {before}");
    step("nothing temporary is left", || {
        installation.nothing_temporary_is_left(&cluster)
    })?;
    shop.destroy(&cluster)
}

fn back_up(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.velero_ok(&[
        "backup",
        "create",
        name,
        "--include-namespaces",
        "shop",
        "--snapshot-move-data",
        "--wait",
    ])?;
    cluster.wait_for_phase(
        Kind::BACKUP,
        NAMESPACE,
        name,
        &["Completed"],
        Duration::from_secs(30),
    )?;
    Ok(())
}

fn digest(shop: &Shop, cluster: &Cluster) -> Result<String> {
    let said = shop.run(cluster, "sha256sum /dev/data")?;
    let digest = said.split_whitespace().next();
    digest.map(str::to_owned).context("sha256sum said nothing")
}
