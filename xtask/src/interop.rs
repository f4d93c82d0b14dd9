//! `cargo xtask interop`: our engine, the real Kopia and Velero's own code on one repository (e2e/interop/README.md).

use anyhow::Result;
use caravel_e2e::go_pieces::{Piece, provide};

use crate::{stages::run, tools};

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything, in small sizes, but the rows that are tests of the engine itself: CI has just run those with the
    /// workspace's tests, beside the same Kopia.
    Ci,
    /// Everything, in small sizes.
    Alone,
    /// With the sizes and hours that CI has no time for.
    Full,
}

/// The programs that the rows are run with, but ours: Kopia, an S3 server, Velero's repository code. Missing ones are
/// built; none is ever left out.
pub fn peers() -> Result<Vec<(&'static str, String)>> {
    let mut peers = tools::peers()?;
    let velero = provide(Piece::VeleroRepository)?;
    peers.push(("CARAVEL_VELERO_REPOSITORY", velero.to_string_lossy().into_owned()));
    Ok(peers)
}

/// Builds what is missing and runs every row.
pub fn interop(extent: Extent) -> Result<()> {
    let mut peers = peers()?;
    run(
        "cargo",
        &["build", "--locked", "--package", "caravel-repository-cli"],
        &[],
    )?;
    let ours = tools::target()?.join("debug/caravel-repository-cli");
    peers.push(("CARAVEL_REPOSITORY_CLI", ours.to_string_lossy().into_owned()));
    // A test that finds no peer says so and passes, except in CI.
    peers.push(("CI", "true".into()));
    if extent == Extent::Full {
        // The first for the rows here, the second for the engine's own tests beside Kopia.
        peers.push(("CARAVEL_INTEROP_FULL", "1".into()));
        peers.push(("CARAVEL_INTEROP", "full".into()));
    }
    let rows = ["test", "--locked", "--no-fail-fast", "--package"];
    let here = [rows.as_slice(), &["caravel-interop", "--features", "peers"]].concat();
    if extent != Extent::Ci {
        for tests in [
            ["--test", "kopia*", "--test", "maintenance_concurrent"].as_slice(),
            &["--lib", "kopia_tests"],
        ] {
            run(
                "cargo",
                &[rows.as_slice(), &["caravel-repository"], tests].concat(),
                &peers,
            )?;
        }
        run(
            "cargo",
            &[rows.as_slice(), &["caravel-uploader", "--test", "kopia*"]].concat(),
            &peers,
        )?;
    }
    run("cargo", &here, &peers)
}
