//! `cargo xtask bench …`: figures for people; nothing asserts on them.

use anyhow::Result;
use clap::Subcommand;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// A backup of a 10 MB volume beside the least that the cluster itself needs; wants the image loaded and CARAVEL_VELERO or
    /// `velero` on PATH
    Floor,
}

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Floor => caravel_e2e::bench::floor(),
    }
}
