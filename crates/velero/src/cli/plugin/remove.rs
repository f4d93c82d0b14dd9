//! `velero plugin remove NAME|IMAGE`: what is built in cannot be taken out. Velero: `pkg/cmd/cli/plugin/remove.go`.

use super::super::failure::{Failure, Outcome};

/// Remove a plug-in; those that are built in cannot be.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name or image of the plug-in.
    plugin: String,
}

/// Runs the command.
pub fn run(args: &Args) -> Outcome {
    Err(Failure::usage(format!(
        "plug-in {} is not removed: this version hosts no plug-ins, and what is built in stays",
        args.plugin
    ))
    .next("velero plugin get"))
}
