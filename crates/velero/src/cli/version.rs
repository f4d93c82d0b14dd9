//! `velero version`: the version of this command. The server's comes with ServerStatusRequest in a later version.

use super::connection::Global;
use super::failure::Outcome;
use super::flags::boolean;
use super::output::emit;

/// Print the version of velero.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only the version of this command, not the server's.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    client_only: Option<bool>,
}

/// Runs the command. As with Velero, an unknown server version is told and is no failure.
pub async fn run(args: &Args, _global: &Global) -> Outcome {
    emit(&client())?;
    if args.client_only.unwrap_or(false) {
        return Ok(());
    }
    emit(
        "<error getting server version: this version of the server does not answer ServerStatusRequests yet; see the image of its Deployment>\n",
    )
}

fn client() -> String {
    let commit = option_env!("CARAVEL_GIT_COMMIT").unwrap_or("-");
    format!(
        "Client:\n\tVersion: v{}\n\tGit commit: {commit}\n",
        env!("CARGO_PKG_VERSION")
    )
}
