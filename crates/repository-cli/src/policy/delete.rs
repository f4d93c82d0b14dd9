//! `velero kopia policy delete`: a target without a policy of its own takes all from less specific ones.

use super::{Target, target_text};
use crate::{
    app::App,
    failure::{Failure, Outcome},
};

/// Remove a policy.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Say what would be removed, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let target = args.target.read(&app.connected()?)?;
    let text = target_text(&target);
    let repository = if args.dry_run {
        app.open()?
    } else {
        app.open_to_write()?
    };
    if repository.policy(&target)?.is_none() {
        return Err(
            Failure::new(format!("{text} has no policy of its own; nothing was removed"))
                .next("velero kopia policy list"),
        );
    }
    if args.dry_run {
        app.console.say(format!("Would remove the policy of {text}."));
        return Ok(());
    }
    repository.remove_policy(&target)?;
    app.console.say(format!("The policy of {text} is removed."));
    Ok(())
}
