//! `velero kopia snapshot restore`: a snapshot, a directory of one or a single file, to a folder.

use std::path::PathBuf;

use caravel_repository::EntryType;
use caravel_uploader::{CancelToken, EntryRestoreRequest, Progress, RestoreRules};

use crate::{
    app::{App, Sight},
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
    /// Files written at the same time [default: two a core up to 8, else one a core].
    #[arg(long, value_name = "N")]
    parallel: Option<usize>,
    /// Leave every block of zeros unwritten, not only long runs.
    #[arg(long)]
    write_sparse_files: bool,
    /// Whether files that are there are replaced.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    overwrite_files: bool,
    /// Whether folders that hold something are restored into.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    overwrite_directories: bool,
    /// Whether symbolic links that are there are replaced.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    overwrite_symlinks: bool,
    /// Leave files and links that are there as they are.
    #[arg(long)]
    skip_existing: bool,
    /// Go on with a restore that broke off: what is there as the snapshot has it, and without holes, is taken for done.
    #[arg(long)]
    resume: bool,
    /// Go on with the rest when an entry cannot be restored; those are listed at the end.
    #[arg(long)]
    ignore_errors: bool,
    /// Whether owners, modes and times that may not be set are left.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    ignore_permission_errors: bool,
    /// Set no owners.
    #[arg(long)]
    skip_owners: bool,
    /// Set no modes.
    #[arg(long)]
    skip_permissions: bool,
    /// Set no times.
    #[arg(long)]
    skip_times: bool,
}

impl Args {
    fn rules(&self) -> RestoreRules {
        RestoreRules {
            overwrite_files: self.overwrite_files,
            overwrite_directories: self.overwrite_directories,
            overwrite_symlinks: self.overwrite_symlinks,
            skip_existing: self.skip_existing,
            resume: self.resume,
            ignore_permission_errors: self.ignore_permission_errors,
            ignore_errors: self.ignore_errors,
            skip_owners: self.skip_owners,
            skip_permissions: self.skip_permissions,
            skip_times: self.skip_times,
        }
    }
}

/// Each waits for the disk half of its time, so two a core, as long as that is no more than Kopia's 8; on larger machines what
/// the engine takes. A data mover, whose memory is limited, takes one a core.
fn usual() -> Option<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let most = 8;
    (cores < most).then_some((2 * cores).min(most))
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open_seeing(Sight::Once)?;
    let entry = place::find_to_restore(&repository, &args.source)?;
    if entry.kind == EntryType::Directory {
        std::fs::create_dir_all(&args.target)
            .map_err(|error| Failure::new(format!("cannot make {}: {error}", args.target.display())))?;
    }
    let request = EntryRestoreRequest {
        path: args.target.clone(),
        sparse: args.write_sparse_files,
        parallel_files: args.parallel.or_else(usual),
        synced: true,
        rules: args.rules(),
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
    for failed in &done.failed {
        app.console
            .say(format!("not restored: {}: {}", failed.path, failed.error));
    }
    match done.failed.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "{count} entries could not be restored; they are named above"
        ))
        .next("velero kopia snapshot verify --verify-files-percent=100    (says why)")),
    }
}
