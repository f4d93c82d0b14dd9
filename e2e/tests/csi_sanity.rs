//! The CSI driver passes the conformance suite (csi-sanity, kubernetes-csi/csi-test v5) with ext4, XFS and raw block volumes,
//! and in its folder mode.
//!
//! Needs root but no cluster. Driver and suite run in a mount namespace of their own on a state dir of their own, so that
//! whatever happens, no mount is left; the driver's `--release` then takes the loop devices of block volumes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use caravel_e2e::go_pieces::{self, Piece};
use caravel_e2e::scenario::step;
use caravel_e2e::{image, run};

/// `$DRIVER` and its `$MODE`, `$SANITY`, `$DIR`; the arguments are the suite's. Ends as the suite does; 70 when the clean-up fails.
const RUN: &str = r#"
"$DRIVER" $MODE --endpoint "$DIR/csi.sock" --node-id sanity --state-dir "$DIR/state" 2> "$DIR/driver.log" &
driver=$!
clean_up() {
    result=$?
    kill $driver 2> /dev/null
    wait $driver
    "$DRIVER" --release --state-dir "$DIR/state" || exit 70
    exit $result
}
trap clean_up EXIT
tries=0
while [ ! -S "$DIR/csi.sock" ]; do
    tries=$((tries + 1))
    if [ $tries -gt 200 ] || ! kill -0 $driver; then echo "the driver does not serve:"; cat "$DIR/driver.log"; exit 71; fi
    sleep 0.05
done
timeout 300 "$SANITY" --csi.endpoint "$DIR/csi.sock" --csi.mountdir "$DIR/mount" --csi.stagingdir "$DIR/staging" --ginkgo.no-color "$@"
"#;

/// The suite has 67 checks for what this driver says that it can do; fewer would mean that it says less.
const CHECKS: u32 = 67;

#[test]
fn the_driver_passes_the_conformance_suite() -> Result<()> {
    let driver = step("build the driver", driver)?;
    let suite = step("provide csi-sanity", || go_pieces::provide(Piece::CsiSanity))?;
    let folder = tempfile::tempdir().context("a temporary folder is needed")?;
    let xfs = folder.path().join("xfs.yaml");
    std::fs::write(&xfs, "csi.storage.k8s.io/fstype: xfs\n")?;
    let kinds = [
        ("ext4", "", "--csi.testvolumeaccesstype=mount".to_owned()),
        ("xfs", "", format!("--csi.testvolumeparameters={}", xfs.display())),
        ("block", "", "--csi.testvolumeaccesstype=block".to_owned()),
        (
            "folders",
            "--folders",
            "--csi.testvolumeaccesstype=mount".to_owned(),
        ),
    ];
    for (kind, mode, argument) in kinds {
        step(&format!("csi-sanity, {kind}"), || {
            judge(&driver, mode, &suite, &folder.path().join(kind), &argument)
        })?;
    }
    let left = run::output("losetup", &["--list", "--noheadings", "--output", "BACK-FILE"])?;
    let folder = folder.path().to_string_lossy().into_owned();
    ensure!(!left.contains(&folder), "loop devices are left: {left}");
    Ok(())
}

fn driver() -> Result<PathBuf> {
    match std::env::var_os("CARAVEL_CSI_DRIVER") {
        Some(built) => Ok(built.into()),
        None => image::cargo_build(
            &["--package", "caravel-csi-driver", "--bin", "caravel-csi-driver"],
            "caravel-csi-driver",
        ),
    }
}

fn judge(driver: &Path, mode: &str, suite: &Path, folder: &Path, argument: &str) -> Result<()> {
    std::fs::create_dir(folder)?;
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        RUN,
        "csi-sanity",
        argument,
    ]);
    let said = run::said(
        command
            .env("DRIVER", driver)
            .env("MODE", mode)
            .env("SANITY", suite)
            .env("DIR", folder),
    )?;
    let report = said.both();
    let counts = report
        .lines()
        .filter(|line| line.starts_with("Ran ") || line.contains(" Passed |"));
    counts.for_each(|line| println!("   {line}"));
    ensure!(said.succeeded(), "csi-sanity ended with {}:\n{report}", said.code);
    let passed = report
        .split(" Passed")
        .next()
        .and_then(|before| before.rsplit(' ').next())
        .and_then(|n| n.parse::<u32>().ok());
    ensure!(
        passed.is_some_and(|n| n >= CHECKS),
        "{passed:?} checks passed, not {CHECKS}:\n{report}"
    );
    Ok(())
}
