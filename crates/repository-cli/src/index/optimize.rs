//! `velero kopia index optimize`: the index as small as its epochs allow, now. Maintenance does a step of it each time.

use caravel_repository::maintenance::MaintenanceOptions;

use crate::{app::App, console::Counting, failure::Outcome};

/// Merge the blobs of the index.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print what would be done first, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = if args.dry_run {
        app.open()?
    } else {
        app.open_to_write()?
    };
    let options = MaintenanceOptions {
        lock_file: Some(app.maintenance_lock()?),
        ..MaintenanceOptions::default()
    };
    let plan = app.console.watch(
        "Merging the index",
        Counting::Things,
        || (0, 0),
        || repository.optimize_index(&options, args.dry_run),
    )?;
    app.console.raw(plan.to_string().as_bytes())?;
    app.console.flush()
}
