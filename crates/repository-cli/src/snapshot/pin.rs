//! `velero kopia snapshot pin`: reasons never to expire a snapshot.

use caravel_repository::ManifestId;

use crate::{
    app::App,
    failure::{Failure, Outcome},
};

/// Pin snapshots, so that they never expire.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Snapshots.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<ManifestId>,
    /// Reason to add; may be repeated.
    #[arg(long, value_name = "TEXT")]
    add: Vec<String>,
    /// Reason to remove; may be repeated.
    #[arg(long, value_name = "TEXT")]
    remove: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    if args.add.is_empty() && args.remove.is_empty() {
        return Err(Failure::usage("--add or --remove must say which pin"));
    }
    let repository = app.open_to_write()?;
    for id in &args.ids {
        let now = repository.pin_snapshot(id, &args.add, &args.remove)?;
        app.console.say(if now == *id {
            format!("Snapshot {id} has these pins already.")
        } else {
            format!("Snapshot {id} is now {now}.")
        });
    }
    Ok(())
}
