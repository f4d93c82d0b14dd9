//! `velero kopia blob stats`.

use crate::{app::App, content::histogram, failure::Outcome, units};

/// Count and size of blobs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Plain numbers.
    #[arg(short, long)]
    raw: bool,
    /// Blobs whose name starts with this.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "LETTERS")]
    prefix: String,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open()?;
    let lengths: Vec<u64> = repository
        .blobs(&args.prefix)?
        .iter()
        .map(|blob| blob.length)
        .collect();
    let total: u64 = lengths.iter().sum();
    let size = |bytes| units::bytes_or_raw(bytes, !args.raw);
    let console = &app.console;
    console.line(format!("Count: {}", lengths.len()))?;
    console.line(format!("Total: {}", size(total)))?;
    if !lengths.is_empty() {
        console.line(format!("Average: {}", size(total / lengths.len() as u64)))?;
        for line in histogram(lengths.into_iter(), !args.raw) {
            console.line(line)?;
        }
    }
    console.flush()
}
