//! `velero kopia cache …`.

mod clear;
mod info;
mod set;

use clap::Subcommand;

use crate::{app::App, failure::Outcome};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Info(info::Args),
    Clear(clear::Args),
    Set(set::Args),
}

/// Runs the verb.
pub fn run(verb: Verb, app: &App) -> Outcome {
    match verb {
        Verb::Info(args) => info::run(&args, app),
        Verb::Clear(args) => clear::run(&args, app),
        Verb::Set(args) => set::run(&args, app),
    }
}
