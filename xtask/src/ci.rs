//! What CI runs, in the order in which it is cheapest to fail.

use anyhow::Result;

use crate::stages::{Stages, run};
use crate::{docs, edges, fuzz, interop, tests, tools};

/// `cargo xtask ci`: everything that needs no cluster, then (with `gate`) the scenarios of the gate tier.
pub fn ci(gate: bool) -> Result<()> {
    let mut stages = Stages::default();
    let result = all(&mut stages, gate);
    stages.print();
    result
}

fn all(stages: &mut Stages, gate: bool) -> Result<()> {
    stages.run("format", || run("cargo", &["fmt", "--all", "--check"], &[]))?;
    stages.run("edges", edges::check)?;
    stages.run("docs", docs::check)?;
    stages.run("clippy", || {
        run(
            "cargo",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        )
    })?;
    stages.run("tools: build", tools::install)?;
    // The cluster needs them later, and some tests already: nothing is skipped in CI.
    if gate || is_ci() {
        stages.run("packages", caravel_e2e::cluster::packages::ensure)?;
    }
    stages.run("deny", tools::deny)?;
    stages.run("typos", tools::typos)?;
    stages.run("peers", || interop::peers().map(|_| ()))?;
    stages.run("tests", test)?;
    stages.run("simulation", fixed_seeds)?;
    stages.run("fuzz", || fuzz::Fuzz::default().run())?;
    stages.run("interop", || interop::interop(interop::Extent::Ci))?;
    if gate {
        stages.run("gate", || run("cargo", &["xtask", "e2e", "--gate"], &[]))?;
    }
    Ok(())
}

/// `cargo xtask test`: every test that needs no cluster, with the real peers (kopia, versitygw) beside them. Where these
/// cannot be had, as on a machine without Go, the tests that want them say so and pass; in CI nothing is skipped.
pub fn test() -> Result<()> {
    let peers = match tools::peers() {
        Ok(peers) => peers,
        Err(error) if !is_ci() => {
            println!(
                "tests against the real kopia and a real S3 server are skipped, all others run: {error:#}"
            );
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    tests::run(&peers)
}

fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// The histories of every CI run, each played twice: with an unoptimised build a minute and a half to two on two processors.
const HISTORIES: [&str; 5] = ["--seeds", "8", "--steps", "200", "--twice"];

/// What is promised holds, and two runs of a seed are the same, byte for byte. Played by the binary that the tests built.
fn fixed_seeds() -> Result<()> {
    let simulate = tools::target()?.join("debug/simulate");
    run(&simulate.to_string_lossy(), &HISTORIES, &[])
}

/// `cargo xtask simulate`: histories from seeds, optimised.
pub fn simulate(arguments: &[String]) -> Result<()> {
    let mut all = vec![
        "run",
        "--release",
        "--locked",
        "--package",
        "caravel-simulation",
        "--",
    ];
    all.extend(arguments.iter().map(String::as_str));
    run("cargo", &all, &[])
}
