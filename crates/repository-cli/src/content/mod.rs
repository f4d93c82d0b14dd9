//! `velero kopia content …`. Here: which contents a verb is about.

mod list;
mod show;
mod stats;
mod verify;

use caravel_repository::ContentInfo;
use clap::Subcommand;

use crate::{app::App, failure::Outcome};
pub(crate) use stats::histogram;
pub(crate) use verify::{Misplaced, misplaced, packs};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(visible_alias = "ls")]
    List(list::Args),
    #[command(visible_alias = "cat")]
    Show(show::Args),
    Stats(stats::Args),
    Verify(verify::Args),
}

/// Runs the verb.
pub fn run(verb: Verb, app: &App) -> Outcome {
    match verb {
        Verb::List(args) => list::run(&args, app),
        Verb::Show(args) => show::run(&args, app),
        Verb::Stats(args) => stats::run(&args, app),
        Verb::Verify(args) => verify::run(&args, app),
    }
}

/// Flags that choose contents by their names.
#[derive(Debug, clap::Args)]
pub(crate) struct Range {
    /// Contents whose name starts with this.
    #[arg(long, value_name = "LETTERS", conflicts_with_all = ["prefixed", "non_prefixed"])]
    prefix: Option<String>,
    /// Contents with a prefix letter: directories, lists, manifests.
    #[arg(long, conflicts_with = "non_prefixed")]
    prefixed: bool,
    /// Contents without one: file data.
    #[arg(long)]
    non_prefixed: bool,
}

impl Range {
    fn has(&self, content: &ContentInfo) -> bool {
        let letter = content.id.prefix().is_some();
        if self.prefixed && !letter || self.non_prefixed && letter {
            return false;
        }
        match &self.prefix {
            Some(prefix) => content.id.to_string().starts_with(prefix),
            None => true,
        }
    }
}
