//! `velero kopia show`: the bytes of one file out of a snapshot, without restoring the rest.

use crate::{app::App, failure::Outcome, place};

/// Print a file (or a directory's document) of a snapshot.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Snapshot or object, and a path below it: ID[/PATH].
    #[arg(value_name = "ID[/PATH]")]
    object_path: String,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open()?;
    let entry = place::find(&repository, &args.object_path)?;
    let mut reader = repository.open_object(entry.object)?;
    while let Some(piece) = reader.next_piece()? {
        app.console.raw(&piece)?;
    }
    app.console.flush()
}
