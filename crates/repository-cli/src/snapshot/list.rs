//! `velero kopia snapshot list`.

use std::collections::BTreeMap;

use caravel_repository::{DirectoryEntry, Repository, Snapshot, SnapshotFilter, SnapshotSource};

use super::{
    document::{Document, Stats},
    source, source_text, tags,
};
use crate::{app::App, console::Console, failure::Outcome, json, place, units};

/// List snapshots.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of this source: a folder, or USER@HOST:PATH.
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
    /// Also of other users and hosts.
    #[arg(short, long)]
    all: bool,
    /// Also unfinished ones.
    #[arg(short, long)]
    incomplete: bool,
    /// The name of each.
    #[arg(short, long)]
    manifest_id: bool,
    /// Sizes as plain numbers.
    #[arg(long)]
    no_human_readable: bool,
    /// How much larger each is than the one before.
    #[arg(short, long)]
    delta: bool,
    /// Owner of the root.
    #[arg(long)]
    owner: bool,
    /// Modification time of the root.
    #[arg(long)]
    mtime: bool,
    /// Every one, also those that are alike.
    #[arg(short = 'l', long)]
    show_identical: bool,
    /// Newest first.
    #[arg(long)]
    reverse: bool,
    /// So many of each source, the newest.
    #[arg(long, value_name = "N")]
    max_results: Option<usize>,
    /// Only with this tag, as KEY:VALUE; may be repeated.
    #[arg(long, value_name = "KEY:VALUE")]
    tags: Vec<String>,
    /// JSON, with Kopia's names.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let connected = app.connected()?;
    let wanted = args.source.as_deref().map(|text| source(text, &connected));
    let filter = SnapshotFilter {
        source: wanted.transpose()?,
        tags: tags(&args.tags)?,
        include_incomplete: args.incomplete || args.json,
    };
    let repository = app.open()?;
    let sources = by_source(&repository, &filter, args)?;
    if args.json {
        let all = sources.values().flatten();
        json::list(
            &app.console,
            all.map(|snapshot| Document::of(snapshot, Stats::Shown)),
        )?;
        return app.console.flush();
    }
    let mine = |source: &SnapshotSource| {
        args.all
            || args.source.is_some()
            || (source.host == connected.hostname && source.user_name == connected.username)
    };
    let mut shown = 0;
    for (source, snapshots) in sources.iter().filter(|(source, _)| mine(source)) {
        if shown > 0 {
            app.console.line("")?;
        }
        shown += 1;
        app.console.line(source_text(source))?;
        print(&app.console, snapshots, args)?;
    }
    if shown == 0 && !sources.is_empty() {
        app.console
            .say("No snapshots of this user and host; --all shows those of others.");
    }
    app.console.flush()
}

fn by_source(
    repository: &Repository,
    filter: &SnapshotFilter,
    args: &Args,
) -> Outcome<BTreeMap<SnapshotSource, Vec<Snapshot>>> {
    let mut sources: BTreeMap<SnapshotSource, Vec<Snapshot>> = BTreeMap::new();
    for snapshot in repository.find_snapshots(filter)? {
        let source = snapshot.manifest.source.clone();
        sources.entry(source).or_default().push(snapshot);
    }
    for snapshots in sources.values_mut() {
        if let Some(most) = args.max_results {
            snapshots.drain(..snapshots.len().saturating_sub(most));
        }
        if args.reverse {
            snapshots.reverse();
        }
    }
    Ok(sources)
}

fn print(console: &Console, snapshots: &[Snapshot], args: &Args) -> Outcome {
    let mut alike = 0;
    let mut size_before = 0;
    for (at, snapshot) in snapshots.iter().enumerate() {
        let manifest = &snapshot.manifest;
        let time = units::time(manifest.start_time);
        let Some(root) = &manifest.root_entry else {
            console.line(format!("  {time} <no root: nothing was saved>"))?;
            continue;
        };
        if alike == 0 {
            let bits = bits(snapshot, root, size_before, args).join(" ");
            console.line(format!("  {time} {} {bits}", root.object))?;
        }
        size_before = manifest.stats.total_size;
        let next = snapshots
            .get(at + 1)
            .and_then(|next| next.manifest.root_entry.as_ref());
        if !args.show_identical && next.is_some_and(|next| next.object == root.object) {
            alike += 1;
        } else if alike > 0 {
            console.line(format!("  + {alike} identical snapshots until {time}"))?;
            alike = 0;
        }
    }
    Ok(())
}

fn bits(snapshot: &Snapshot, root: &DirectoryEntry, size_before: u64, args: &Args) -> Vec<String> {
    let manifest = &snapshot.manifest;
    let size = place::size(root);
    let mut bits = Vec::new();
    if !manifest.incomplete.is_empty() {
        bits.push(format!("incomplete:{}", manifest.incomplete));
    }
    bits.push(units::bytes_or_raw(size, !args.no_human_readable));
    bits.push(place::mode_text(root));
    if args.owner {
        bits.push(format!("uid:{} gid:{}", root.uid, root.gid));
    }
    if args.mtime {
        bits.push(format!("modified:{}", units::time(root.mtime)));
    }
    if args.manifest_id {
        bits.push(format!("manifest:{}", snapshot.id));
    }
    if args.delta && size > size_before {
        bits.push(format!("(+{})", units::bytes(size - size_before)));
    }
    if let Some(summary) = &root.summary {
        bits.push(format!("files:{} dirs:{}", summary.files, summary.dirs));
        if summary.num_failed > 0 {
            bits.push(format!("errors:{}", summary.num_failed));
        }
    }
    if !manifest.pins.is_empty() {
        bits.push(format!("pins:{}", manifest.pins.join(",")));
    }
    bits
}
