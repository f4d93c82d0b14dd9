//! `velero kopia manifest …`.

mod delete;
mod list;
mod show;

use clap::Subcommand;

use crate::{app::App, failure::Outcome};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(visible_alias = "ls")]
    List(list::Args),
    Show(show::Args),
    #[command(visible_aliases = ["rm", "remove"])]
    Delete(delete::Args),
}

/// Runs the verb.
pub fn run(verb: Verb, app: &App) -> Outcome {
    match verb {
        Verb::List(args) => list::run(&args, app),
        Verb::Show(args) => show::run(&args, app),
        Verb::Delete(args) => delete::run(&args, app),
    }
}
