//! `velero kopia snapshot create`: folders into the repository. What is left out of a snapshot is said.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use caravel_repository::{ManifestId, Repository, Snapshot};
use caravel_uploader::{
    CancelToken, DEFAULT_CHECKPOINT_INTERVAL, Progress, UploadOutcome, UploadRequest, UploadRules, VolumeMode,
};

use super::{
    document::{Document, Stats},
    source, source_text, tags,
};
use crate::{
    app::{App, Sight},
    config_file::Connected,
    console::Counting,
    failure::{Failure, Outcome},
    json, units,
};

/// Take snapshots of folders.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folders.
    #[arg(required = true, value_name = "FOLDER")]
    sources: Vec<PathBuf>,
    /// Free text in the snapshot.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    description: String,
    /// Tag, as KEY:VALUE; may be repeated.
    #[arg(long, value_name = "KEY:VALUE")]
    tags: Vec<String>,
    /// A reason never to expire the snapshot; may be repeated.
    #[arg(long, value_name = "TEXT")]
    pin: Vec<String>,
    /// Files read at the same time [default: one a core].
    #[arg(long, value_name = "N")]
    parallel: Option<usize>,
    /// Keep extended attributes and ACLs, which Kopia overlooks.
    #[arg(long)]
    extended_attributes: bool,
    /// Keep hard links: files with several names are one again when they are restored by us.
    #[arg(long)]
    hard_links: bool,
    /// Source that the snapshot is listed under, as USER@HOST:PATH or PATH.
    #[arg(long, value_name = "SOURCE")]
    override_source: Option<String>,
    /// JSON, with Kopia's names.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    if args.override_source.is_some() && args.sources.len() > 1 {
        return Err(Failure::usage("--override-source is for one folder at a time"));
    }
    let tags = tags(&args.tags)?;
    let connected = app.connected()?;
    // What it reads is what the snapshot before says: directories that never change under their names.
    let repository = app.open_to_write_seeing(Sight::Copies)?;
    let mut failed = 0;
    for path in &args.sources {
        let mut request = request(args, &connected, path, &tags)?;
        request.rules = rules(args, &repository, &request)?;
        let name = source_text(&request.source);
        app.console.say(format!("Snapshotting {name} ..."));
        let begun = app.environment.clock.now();
        let outcome = upload(app, &repository, &request)?;
        let snapshot = load(&repository, &outcome.snapshot_id)?;
        let took = app.environment.clock.now().duration_since(begun);
        tell(app, &outcome, &snapshot, took.as_secs());
        failed += (outcome.failed.len() as u64).saturating_sub(outcome.ignored_errors);
        if args.json {
            json::print(&app.console, &Document::of(&snapshot, Stats::Left))?;
        }
    }
    app.console.flush()?;
    match failed {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "{count} entries could not be read and are not in the snapshot; they are named above"
        ))
        .next("velero kopia policy set --help    (--ignore-file-errors and --ignore-dir-errors, when they need not be)")),
    }
}

/// What the policies of the source say, and what was asked for beside that.
fn rules(args: &Args, repository: &Repository, request: &UploadRequest) -> Outcome<UploadRules> {
    let policy = repository.effective_policy(&request.source)?.policy;
    Ok(UploadRules {
        policy: Some(Arc::new(policy)),
        extended_attributes: args.extended_attributes,
        hard_links: args.hard_links,
        ..UploadRules::default()
    })
}

fn request(
    args: &Args,
    connected: &Connected,
    path: &Path,
    tags: &std::collections::BTreeMap<String, String>,
) -> Outcome<UploadRequest> {
    let path = std::path::absolute(path)
        .map_err(|error| Failure::usage(format!("{} is not a path: {error}", path.display())))?;
    let meta = std::fs::metadata(&path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    if !meta.is_dir() {
        return Err(Failure::usage(format!(
            "{} is not a folder; this version takes snapshots of folders",
            path.display()
        )));
    }
    let text = args.override_source.clone();
    let text = text.unwrap_or_else(|| path.to_string_lossy().into_owned());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(UploadRequest {
        mode: VolumeMode::Filesystem,
        root_name: name.unwrap_or_else(|| "/".into()),
        source: source(&text, connected)?,
        path,
        tags: tags.clone(),
        description: args.description.clone(),
        pins: args.pin.clone(),
        parallel_files: args.parallel,
        checkpoint_interval: DEFAULT_CHECKPOINT_INTERVAL,
        rules: UploadRules::default(),
    })
}

fn upload(app: &App, repository: &Repository, request: &UploadRequest) -> Outcome<UploadOutcome> {
    let progress = Progress::default();
    let done = app.console.watch(
        "Snapshotting",
        Counting::Bytes,
        || (progress.bytes_done(), progress.total_bytes()),
        || caravel_uploader::upload(repository, request, &progress, &CancelToken::default()),
    );
    Ok(done?)
}

fn load(repository: &Repository, id: &str) -> Outcome<Snapshot> {
    let id: ManifestId = id.parse()?;
    Ok(repository.load_snapshot(&id)?)
}

fn tell(app: &App, outcome: &UploadOutcome, snapshot: &Snapshot, seconds: i64) {
    for left in &outcome.left_out {
        app.console.say(format!(
            "not in the snapshot: {} is a {}, which no snapshot can hold",
            left.path, left.what
        ));
    }
    for failed in &outcome.failed {
        app.console
            .say(format!("not in the snapshot: {}: {}", failed.path, failed.error));
    }
    if outcome.excluded > 0 {
        app.console
            .say(format!("{} entries are left out by policy.", outcome.excluded));
    }
    let root = snapshot.manifest.root_entry.as_ref();
    let object = root.map_or_else(String::new, |root| root.object.to_string());
    app.console.say(format!(
        "Created snapshot with root {object} and ID {} in {seconds}s ({}, of which {} were not in the snapshot before)",
        snapshot.id,
        units::bytes(outcome.total_bytes),
        units::bytes(outcome.incremental_bytes)
    ));
}
