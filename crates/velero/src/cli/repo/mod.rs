//! `velero repo …`.

mod export_password;
mod get;

use clap::Subcommand;

use super::connection::Global;
use super::failure::Outcome;

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    ExportPassword(export_password::Args),
    Get(get::Args),
}

/// Runs the verb.
pub async fn run(verb: Verb, global: &Global) -> Outcome {
    match verb {
        Verb::ExportPassword(args) => export_password::run(&args, global).await,
        Verb::Get(args) => get::run(&args, global).await,
    }
}
