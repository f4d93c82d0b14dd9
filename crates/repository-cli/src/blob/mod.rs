//! `velero kopia blob …`.

mod gc;
mod list;
mod show;
mod stats;

use clap::Subcommand;

use crate::{app::App, failure::Outcome};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(visible_alias = "ls")]
    List(list::Args),
    #[command(visible_alias = "cat")]
    Show(show::Args),
    Stats(stats::Args),
    Gc(gc::Args),
}

/// Runs the verb.
pub fn run(verb: Verb, app: &App) -> Outcome {
    match verb {
        Verb::List(args) => list::run(&args, app),
        Verb::Show(args) => show::run(&args, app),
        Verb::Stats(args) => stats::run(&args, app),
        Verb::Gc(args) => gc::run(&args, app),
    }
}
