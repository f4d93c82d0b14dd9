//! `velero kopia snapshot expire`: deletes what no policy keeps.

use std::collections::BTreeSet;

use caravel_repository::{SnapshotFilter, SnapshotSource};

use super::{source, source_text};
use crate::{
    app::App,
    failure::{Failure, Outcome},
    units,
};

/// Delete snapshots that their policies do not keep.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Sources: folders, or USER@HOST:PATH.
    #[arg(
        value_name = "SOURCE",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    sources: Vec<String>,
    /// Every source.
    #[arg(long)]
    all: bool,
    /// Confirms it; without it nothing is deleted.
    #[arg(long)]
    delete: bool,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let connected = app.connected()?;
    let repository = if args.delete {
        app.open_to_write()?
    } else {
        app.open()?
    };
    let mut sources: BTreeSet<SnapshotSource> = BTreeSet::new();
    for text in &args.sources {
        sources.insert(source(text, &connected)?);
    }
    let filter = SnapshotFilter {
        include_incomplete: true,
        ..SnapshotFilter::default()
    };
    let known: BTreeSet<_> = repository
        .find_snapshots(&filter)?
        .into_iter()
        .map(|snapshot| snapshot.manifest.source)
        .collect();
    if args.all {
        sources.clone_from(&known);
    }
    if let Some(unknown) = sources.iter().find(|source| !known.contains(source)) {
        return Err(
            Failure::new(format!("there is no snapshot of {}", source_text(unknown)))
                .next("velero kopia snapshot list --all"),
        );
    }
    for source in &sources {
        for one in repository.expire_snapshots(source, args.delete)? {
            let time = units::time(one.snapshot.manifest.start_time);
            let what = match (one.expired, args.delete) {
                (false, _) => continue,
                (true, true) => "Deleted",
                (true, false) => "Would delete",
            };
            app.console.say(format!(
                "{what} snapshot {} of {} at {time}{}",
                one.snapshot.id,
                source_text(source),
                if args.delete {
                    ""
                } else {
                    " (pass --delete to confirm)"
                }
            ));
        }
    }
    Ok(())
}
