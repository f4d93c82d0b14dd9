//! `cargo xtask interop`: our engine and the real Kopia on one repository (e2e/interop/README.md).

use anyhow::Result;

use crate::{stages::run, tools};

/// Builds both programs and runs every row; `full` with the sizes and hours that CI has no time for, and with the rows that
/// are tests of the engine itself (CI runs those with the workspace's tests).
pub fn interop(full: bool) -> Result<()> {
    let mut peers = tools::peers()?;
    run(
        "cargo",
        &["build", "--locked", "--package", "caravel-repository-cli"],
        &[],
    )?;
    let ours = tools::target()?.join("debug/caravel-repository-cli");
    peers.push(("CARAVEL_REPOSITORY_CLI", ours.to_string_lossy().into_owned()));
    if full {
        // The first for the rows here, the second for the engine's own tests beside Kopia.
        peers.push(("CARAVEL_INTEROP_FULL", "1".into()));
        peers.push(("CARAVEL_INTEROP", "full".into()));
        let engine = [
            "test",
            "--locked",
            "-p",
            "caravel-repository",
            "-p",
            "caravel-uploader",
        ];
        let tests = [
            "--no-fail-fast",
            "--test",
            "kopia*",
            "--test",
            "maintenance_concurrent",
        ];
        run("cargo", &[engine.as_slice(), tests.as_slice()].concat(), &peers)?;
    }
    run(
        "cargo",
        &[
            "test",
            "--locked",
            "--no-fail-fast",
            "--package",
            "caravel-interop",
            "--features",
            "peers",
        ],
        &peers,
    )
}
