//! `velero kopia repository disconnect`.

use crate::{app::App, config_file, failure::Outcome};

/// Forget which repository is connected. The repository itself stays as it is.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_: &Args, app: &App) -> Outcome {
    let file = app.config_file()?;
    app.console.say(if config_file::remove(&file)? {
        format!("Disconnected ({} is removed).", file.display())
    } else {
        format!("Nothing was connected ({} does not exist).", file.display())
    });
    Ok(())
}
