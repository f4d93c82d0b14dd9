//! `velero backup …`.

pub mod create;
pub mod delete;
pub mod describe;
mod download;
pub mod get;
mod logs;
pub mod spec;

#[cfg(test)]
pub use get::{sort, text as table};

use caravel_api::v1::Backup;
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
    Download(download::Args),
    Get(get::Args),
    Logs(logs::Args),
}

/// Runs the verb.
pub async fn run(verb: Verb, global: &Global) -> Outcome {
    match verb {
        Verb::Cancel(args) => cancel::run::<Backup>(&args, global, "backup", ended).await,
        Verb::Create(args) => create::run(&args, global).await,
        Verb::Delete(args) => delete::run(&args, global).await,
        Verb::Describe(args) => describe::run(&args, global).await,
        Verb::Download(args) => download::run(&args, global).await,
        Verb::Get(args) => get::run(&args, global).await,
        Verb::Logs(args) => logs::run(&args, global).await,
    }
}

fn ended(backup: &Backup) -> Option<String> {
    let phase = backup.phase();
    phase.is_finished().then(|| phase.to_string())
}
