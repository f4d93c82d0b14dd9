//! `velero version`: the version of this command. The server's comes with ServerStatusRequest in a later version.

use super::connection::Global;
use super::failure::{Failure, Outcome};
use super::flags::boolean;
use super::output::emit;

/// Print the version of velero.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only the version of this command, not the server's.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    client_only: Option<bool>,
}

/// Runs the command.
pub async fn run(args: &Args, _global: &Global) -> Outcome {
    emit(&client())?;
    if args.client_only.unwrap_or(false) {
        return Ok(());
    }
    Err(
        Failure::usage("this version does not have the server's part of `velero version` yet")
            .next("velero version --client-only"),
    )
}

fn client() -> String {
    format!(
        "Client:\n\tVersion: v{}\n\tGit commit: {}\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("CARAVEL_GIT_COMMIT").unwrap_or("-")
    )
}
