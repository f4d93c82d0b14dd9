//! `velero kopia snapshot restore`: a snapshot, a directory of one or a single file, to a folder.

use std::path::PathBuf;

use caravel_repository::EntryType;
use caravel_uploader::{CancelToken, EntryRestoreRequest, Progress};

use crate::{
    app::App,
    console::Counting,
    failure::{Failure, Outcome},
    place, units,
};

/// Restore a snapshot, or a part of one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Snapshot or object, and a path below it: ID[/PATH].
    #[arg(value_name = "ID[/PATH]")]
    source: String,
    /// Folder to restore into (it is made), or the file to write.
    target: PathBuf,
    /// Files written at the same time [default: one a core].
    #[arg(long, value_name = "N")]
    parallel: Option<usize>,
    /// Leave every block of zeros unwritten, not only long runs.
    #[arg(long)]
    write_sparse_files: bool,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open()?;
    let entry = place::find(&repository, &args.source)?;
    if entry.kind == EntryType::Directory {
        std::fs::create_dir_all(&args.target)
            .map_err(|error| Failure::new(format!("cannot make {}: {error}", args.target.display())))?;
    }
    let request = EntryRestoreRequest {
        path: args.target.clone(),
        sparse: args.write_sparse_files,
        parallel_files: args.parallel,
        synced: true,
        rules: caravel_uploader::RestoreRules::default(),
    };
    let progress = Progress::default();
    let total = place::size(&entry);
    let done = app.console.watch(
        "Restoring",
        Counting::Bytes,
        || (progress.bytes_done(), total),
        || caravel_uploader::restore_entry(&repository, &entry, &request, &progress, &CancelToken::default()),
    )?;
    let what = match &entry.summary {
        Some(summary) => format!(
            "{} files, {} directories and {} symbolic links",
            summary.files, summary.dirs, summary.symlinks
        ),
        None if entry.kind == EntryType::Directory => "a directory".into(),
        None => "1 file".into(),
    };
    app.console
        .say(format!("Restored {what} ({}).", units::bytes(done.total_bytes)));
    Ok(())
}
