//! `velero kopia repository …`.

mod connect;
mod create;
mod disconnect;
mod format;
mod identity;
mod provider;
mod status;

use clap::Subcommand;

use crate::{app::App, failure::Outcome};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create a repository and connect to it.
    #[command(subcommand)]
    Create(create::Place),
    /// Connect to a repository that is there.
    #[command(subcommand)]
    Connect(connect::Place),
    Status(status::Args),
    Disconnect(disconnect::Args),
}

/// Runs the verb.
pub fn run(verb: Verb, app: &App) -> Outcome {
    match verb {
        Verb::Create(place) => create::run(&place, app),
        Verb::Connect(place) => connect::run(&place, app),
        Verb::Status(args) => status::run(&args, app),
        Verb::Disconnect(args) => disconnect::run(&args, app),
    }
}
