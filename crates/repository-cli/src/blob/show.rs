//! `velero kopia blob show`: the bytes of blobs.

use crate::{app::App, failure::Outcome};

/// Print blobs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names of blobs.
    #[arg(required = true, value_name = "BLOB")]
    blob_ids: Vec<String>,
    /// Decrypted: index blobs, session markers and logs, which are sealed on their own.
    #[arg(long)]
    decrypt: bool,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open()?;
    for name in &args.blob_ids {
        if args.decrypt {
            app.console.raw(&repository.open_blob(name)?)?;
        } else {
            app.console.raw(&repository.read_blob(name)?)?;
        }
    }
    app.console.flush()
}
