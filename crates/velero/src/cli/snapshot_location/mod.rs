//! `velero snapshot-location …`: where native snapshots are taken.

pub mod create;
pub mod get;
mod set;

use clap::Subcommand;

use super::connection::Global;
use super::failure::Outcome;

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Create(create::Args),
    Get(get::Args),
    Set(set::Args),
}

/// Runs the verb.
pub async fn run(verb: Verb, global: &Global) -> Outcome {
    match verb {
        Verb::Create(args) => create::run(&args, global).await,
        Verb::Get(args) => get::run(&args, global).await,
        Verb::Set(args) => set::run(&args, global).await,
    }
}
