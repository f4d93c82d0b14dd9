//! `velero plugin …`: what the server has built in. Plug-ins of others cannot be added: this version hosts none.

mod add;
pub mod get;
mod remove;

use clap::Subcommand;

use super::connection::Global;
use super::failure::Outcome;

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Add(add::Args),
    Get(get::Args),
    Remove(remove::Args),
}

/// Runs the verb.
pub async fn run(verb: Verb, global: &Global) -> Outcome {
    match verb {
        Verb::Add(args) => add::run(&args),
        Verb::Get(args) => get::run(&args, global).await,
        Verb::Remove(args) => remove::run(&args),
    }
}
