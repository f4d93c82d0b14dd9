//! `velero restore …`.

pub mod create;
pub mod delete;
pub mod describe;
pub mod get;
mod logs;
mod spec;

#[cfg(test)]
pub use get::text as table;

use caravel_api::v1::Restore;
use clap::Subcommand;

use super::cancel;
use super::connection::Global;
use super::failure::Outcome;

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Cancel(cancel::Args),
    Create(Box<create::Args>),
    Delete(delete::Args),
    Describe(describe::Args),
    Get(get::Args),
    Logs(logs::Args),
}

/// Runs the verb.
pub async fn run(verb: Verb, global: &Global) -> Outcome {
    match verb {
        Verb::Cancel(args) => cancel::run::<Restore>(&args, global, "restore", ended).await,
        Verb::Create(args) => create::run(&args, global).await,
        Verb::Delete(args) => delete::run(&args, global).await,
        Verb::Describe(args) => describe::run(&args, global).await,
        Verb::Get(args) => get::run(&args, global).await,
        Verb::Logs(args) => logs::run(&args, global).await,
    }
}

fn ended(restore: &Restore) -> Option<String> {
    let phase = restore.phase();
    phase.is_finished().then(|| phase.to_string())
}
