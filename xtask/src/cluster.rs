//! `cargo xtask cluster up|down|status`: the real Kubernetes of the scenarios (e2e/src/cluster/).

use anyhow::{Result, bail};
use clap::Subcommand;

/// What to do with the cluster.
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Bring it up, or repair what is missing; safe to repeat
    Up,
    /// Remove it with everything that it left on the machine
    Down,
    /// Say what runs and where its logs are; exit code 1 when something is missing
    Status,
}

/// Runs the command.
pub fn run(command: &Cluster) -> Result<()> {
    match command {
        Cluster::Up => caravel_e2e::cluster::up().map(|_| ()),
        Cluster::Down => caravel_e2e::cluster::down(),
        Cluster::Status => {
            if !caravel_e2e::cluster::status()? {
                bail!("the cluster is not whole; `cargo xtask cluster up` repairs it");
            }
            Ok(())
        }
    }
}
