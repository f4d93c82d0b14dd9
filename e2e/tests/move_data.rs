//! The issue's session on a volume of 200 MB in 2,000 files with the awkward cases.
//!
//! Back up with data movement, lose the namespace, restore: bytes, modes, owners, times, links, empty folders and holes are
//! back. A fifo cannot be saved: it is left out, `describe --details` and the log say so, and the backup is Completed.

use std::time::Duration;

use anyhow::{Result, ensure};
use caravel_e2e::scenario::{Cluster, Installation, Kind, NAMESPACE, Shop, Unlike, step};

/// 2,000 files of 91 KiB in 20 folders, and one of each awkward kind.
const FILL: &str = r#"
umask 022
i=0
while [ $i -lt 2000 ]; do
    folder=stock/$((i / 100))
    [ -d $folder ] || mkdir -p $folder
    head -c 93184 /dev/urandom > $folder/item-$i
    i=$((i + 1))
done
: > empty-file
dd if=/dev/urandom of=exactly-2MiB bs=1M count=2 2>/dev/null
dd if=/dev/urandom of=twenty-MiB bs=1M count=20 2>/dev/null
truncate -s 1073741824 sparse
dd if=/dev/urandom of=sparse bs=4096 count=3 seek=100000 conv=notrunc 2>/dev/null
echo one > 'päckchen für José ☃.txt'
echo two > 'a < b & "c" > d.txt'
ln -s nowhere/at/all dangling
ln -s /etc/passwd absolute
ln -s stock/1 relative
echo program > setuid; chmod 4755 setuid
mkdir private; echo secret > private/key; chmod 600 private/key; chown -R 1000:2000 private; chmod 700 private
mkdir empty-folder; chmod 1777 empty-folder
mkfifo pipe
touch -d '1999-12-31 23:59:59' exactly-2MiB
touch -h -d '2001-02-03 04:05:06' dangling || true
sync
"#;

#[test]
fn a_lost_volume_comes_back_equal() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "move_data")?;
    let shop = step("create the shop", || {
        Shop::named("shop").size("2Gi").create(&cluster)
    })?;
    step("fill its volume", || shop.run(&cluster, FILL))?;
    let before = step("read its tree", || shop.tree(&cluster))?;
    println!(
        "   {} entries, {} bytes, {} allocated",
        before.len(),
        before.size(),
        before.allocated()
    );
    ensure!(before.len() > 2_000, "only {} entries were made", before.len());

    step("back up", || {
        cluster.velero_ok(&shop.backup_words("b1", &["--wait"]))
    })?;
    let backup = cluster.wait_for_phase(
        Kind::BACKUP,
        NAMESPACE,
        "b1",
        &["Completed"],
        Duration::from_secs(30),
    )?;
    ensure!(
        backup["status"]["errors"].as_u64().unwrap_or_default() == 0,
        "errors in {}",
        backup["status"]
    );
    step("the fifo is named", || {
        let described = cluster.velero_ok(&["backup", "describe", "b1", "--details"])?;
        ensure!(
            described.contains("pipe"),
            "`describe --details` does not name the fifo that was left out"
        );
        let logs = cluster.velero_ok(&["backup", "logs", "b1"])?;
        ensure!(
            logs.contains("pipe"),
            "`backup logs` does not name the fifo that was left out"
        );
        Ok(())
    })?;
    let listed = cluster.velero_ok(&["backup", "get"])?;
    ensure!(
        listed.contains("b1") && listed.contains("Completed"),
        "`backup get` does not list b1 as Completed"
    );

    step("lose the namespace", || shop.destroy(&cluster))?;
    step("restore", || {
        cluster.velero_ok(&["restore", "create", "r1", "--from-backup", "b1", "--wait"])
    })?;
    cluster.wait_for_phase(
        Kind::RESTORE,
        NAMESPACE,
        "r1",
        &["Completed"],
        Duration::from_secs(30),
    )?;
    let listed = cluster.velero_ok(&["restore", "get"])?;
    ensure!(
        listed.contains("r1") && listed.contains("Completed"),
        "`restore get` does not list r1 as Completed"
    );

    step("the application runs again", || shop.pod(&cluster))?;
    let after = step("read its tree again", || shop.tree(&cluster))?;
    let expected = before.without("./pipe");
    expected.must_equal(&after, Unlike::Nothing)?;
    let sparse = after
        .entry("./sparse")
        .map(|entry| entry.allocated)
        .unwrap_or_default();
    ensure!(
        sparse < 64 << 20,
        "the sparse file of 1 GiB came back with {sparse} bytes allocated"
    );
    println!("   {} entries are equal, digest {}", after.len(), after.digest());

    for kind in [Kind::CONFIG_MAP, Kind::SECRET] {
        let name = if kind == Kind::SECRET { "till" } else { "prices" };
        cluster.must_get(kind, "shop", name)?;
    }
    step("nothing temporary is left", || {
        installation.nothing_temporary_is_left(&cluster)
    })?;
    shop.destroy(&cluster)
}
