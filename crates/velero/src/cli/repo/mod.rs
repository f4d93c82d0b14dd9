//! `velero repo …`.

mod change_password;
mod export_password;
mod get;

use clap::Subcommand;

use super::connection::Global;
use super::failure::Outcome;

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    ChangePassword(change_password::Args),
    ExportPassword(export_password::Args),
    Get(get::Args),
}

/// Runs the verb.
pub async fn run(verb: Verb, global: &Global) -> Outcome {
    match verb {
        Verb::ChangePassword(args) => change_password::run(&args, global).await,
        Verb::ExportPassword(args) => export_password::run(&args, global).await,
        Verb::Get(args) => get::run(&args, global).await,
    }
}
