//! `velero kopia snapshot delete`: the manifest goes, the space comes back with maintenance.

use caravel_repository::{Repository, Snapshot, SnapshotFilter};

use super::{source, source_text};
use crate::{
    app::App,
    failure::{Failure, Outcome},
    units,
};

/// Delete snapshots.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Snapshots, or their root objects; with --all-snapshots-for-source: sources.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Every snapshot of the sources named.
    #[arg(long)]
    all_snapshots_for_source: bool,
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
    let mut chosen: Vec<Snapshot> = Vec::new();
    for id in &args.ids {
        let found = if args.all_snapshots_for_source {
            let filter = SnapshotFilter {
                source: Some(source(id, &connected)?),
                include_incomplete: true,
                ..SnapshotFilter::default()
            };
            repository.find_snapshots(&filter)?
        } else {
            by_id(&repository, id)?
        };
        if found.is_empty() {
            return Err(
                Failure::new(format!("there is no snapshot {id}; nothing was deleted"))
                    .next("velero kopia snapshot list --all --manifest-id"),
            );
        }
        chosen.extend(found);
    }
    chosen.sort_by(|a, b| a.id.cmp(&b.id));
    chosen.dedup_by(|a, b| a.id == b.id);
    for snapshot in &chosen {
        let manifest = &snapshot.manifest;
        let (source, time) = (source_text(&manifest.source), units::time(manifest.start_time));
        app.console.say(match args.delete {
            true => format!("Deleting snapshot {} of {source} at {time}...", snapshot.id),
            false => format!(
                "Would delete snapshot {} of {source} at {time} (pass --delete to confirm)",
                snapshot.id
            ),
        });
    }
    if args.delete {
        let ids: Vec<_> = chosen.into_iter().map(|snapshot| snapshot.id).collect();
        app.wait(repository.delete_snapshots(&ids))?;
    }
    Ok(())
}

/// By the snapshot's own name, or all whose root object has this name.
fn by_id(repository: &Repository, id: &str) -> Outcome<Vec<Snapshot>> {
    let filter = SnapshotFilter {
        include_incomplete: true,
        ..SnapshotFilter::default()
    };
    let mut all = repository.find_snapshots(&filter)?;
    all.retain(|snapshot| {
        let root = snapshot.manifest.root_entry.as_ref();
        snapshot.id.as_str() == id || root.is_some_and(|root| root.object.to_string() == id)
    });
    Ok(all)
}
