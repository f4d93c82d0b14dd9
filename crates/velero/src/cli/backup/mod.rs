//! `velero backup …`.

mod create;
mod describe;
mod get;
mod logs;

#[cfg(test)]
pub use get::{sort, text as table};

use clap::Subcommand;

use super::connection::Global;
use super::failure::Outcome;

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Create(create::Args),
    Describe(describe::Args),
    Get(get::Args),
    Logs(logs::Args),
}

/// Runs the verb.
pub async fn run(verb: Verb, global: &Global) -> Outcome {
    match verb {
        Verb::Create(args) => create::run(&args, global).await,
        Verb::Describe(args) => describe::run(&args, global).await,
        Verb::Get(args) => get::run(&args, global).await,
        Verb::Logs(args) => logs::run(&args, global).await,
    }
}
