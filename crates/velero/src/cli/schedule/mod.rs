//! `velero schedule …`.

pub mod create;
pub mod delete;
pub mod describe;
pub mod get;
mod pause;

use clap::Subcommand;

use super::connection::Global;
use super::failure::Outcome;

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Create(Box<create::Args>),
    Delete(delete::Args),
    Describe(describe::Args),
    Get(get::Args),
    /// Pause schedules: they make no backups until they are unpaused.
    Pause(pause::Args),
    /// Unpause schedules.
    Unpause(pause::Args),
}

/// Runs the verb.
pub async fn run(verb: Verb, global: &Global) -> Outcome {
    match verb {
        Verb::Create(args) => create::run(&args, global).await,
        Verb::Delete(args) => delete::run(&args, global).await,
        Verb::Describe(args) => describe::run(&args, global).await,
        Verb::Get(args) => get::run(&args, global).await,
        Verb::Pause(args) => pause::run(&args, global, true).await,
        Verb::Unpause(args) => pause::run(&args, global, false).await,
    }
}
