//! `velero repo …`.

mod change_password;
mod check;
mod describe;
mod export_password;
mod get;
mod maintain;

use clap::Subcommand;

use super::connection::Global;
use super::failure::Outcome;

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    ChangePassword(change_password::Args),
    Check(check::Args),
    Describe(describe::Args),
    ExportPassword(export_password::Args),
    Get(get::Args),
    Maintain(maintain::Args),
}

/// Runs the verb.
pub async fn run(verb: Verb, global: &Global) -> Outcome {
    match verb {
        Verb::ChangePassword(args) => change_password::run(&args, global).await,
        Verb::Check(args) => check::run(&args, global).await,
        Verb::Describe(args) => describe::run(&args, global).await,
        Verb::ExportPassword(args) => export_password::run(&args, global).await,
        Verb::Get(args) => get::run(&args, global).await,
        Verb::Maintain(args) => maintain::run(&args, global).await,
    }
}
