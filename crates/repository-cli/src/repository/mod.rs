//! `velero kopia repository …`.

mod change_password;
mod connect;
mod create;
mod disconnect;
mod format;
mod identity;
mod provider;
mod retention;
mod set_parameters;
mod status;
mod sync_to;
mod validate_provider;

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
    ChangePassword(change_password::Args),
    #[command(visible_alias = "set-params")]
    SetParameters(set_parameters::Args),
    ValidateProvider(validate_provider::Args),
    /// Copy the repository to another place, and keep the copy up to date.
    #[command(subcommand)]
    SyncTo(sync_to::Place),
    Disconnect(disconnect::Args),
}

/// Runs the verb.
pub fn run(verb: Verb, app: &App) -> Outcome {
    match verb {
        Verb::Create(place) => create::run(&place, app),
        Verb::Connect(place) => connect::run(&place, app),
        Verb::Status(args) => status::run(&args, app),
        Verb::ChangePassword(args) => change_password::run(&args, app),
        Verb::SetParameters(args) => set_parameters::run(&args, app),
        Verb::ValidateProvider(args) => validate_provider::run(&args, app),
        Verb::SyncTo(place) => sync_to::run(&place, app),
        Verb::Disconnect(args) => disconnect::run(&args, app),
    }
}
