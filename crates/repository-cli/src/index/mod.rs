//! `velero kopia index …`.

mod epoch_list;
mod inspect;
mod list;
mod optimize;
mod recover;

use clap::Subcommand;

use crate::{app::App, failure::Outcome};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(visible_alias = "ls")]
    List(list::Args),
    Inspect(inspect::Args),
    Recover(recover::Args),
    Optimize(optimize::Args),
    /// Look at epochs: stretches of the index that are compacted together.
    #[command(subcommand)]
    Epoch(Epoch),
}

/// The verbs of epochs.
#[derive(Debug, Subcommand)]
pub enum Epoch {
    #[command(visible_alias = "ls")]
    List(epoch_list::Args),
}

/// Runs the verb.
pub fn run(verb: Verb, app: &App) -> Outcome {
    match verb {
        Verb::List(args) => list::run(&args, app),
        Verb::Inspect(args) => inspect::run(&args, app),
        Verb::Recover(args) => recover::run(&args, app),
        Verb::Optimize(args) => optimize::run(&args, app),
        Verb::Epoch(Epoch::List(args)) => epoch_list::run(&args, app),
    }
}
