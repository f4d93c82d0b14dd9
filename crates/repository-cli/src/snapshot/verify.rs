//! `velero kopia snapshot verify`: can every file of a snapshot be restored? Three levels: every content is where the
//! index says (always), files chosen by chance are read (`--verify-files-percent`), all are (100).

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::{AtomicU64, Ordering},
};

use caravel_repository::{
    DirectoryEntry, EntryType, ObjectId, Repository, RepositoryErrorKind, Snapshot, SnapshotFilter,
};
use serde::Serialize;

use super::source;
use crate::{
    app::{App, Sight},
    console::{Console, Counting},
    content::{Misplaced, misplaced, packs},
    failure::{Failure, Outcome},
    json, place, units,
};

/// Check that snapshots can be restored.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Snapshots [default: all].
    #[arg(value_name = "ID")]
    snapshot_ids: Vec<String>,
    /// Only of these sources; may be repeated.
    #[arg(long, value_name = "SOURCE")]
    sources: Vec<String>,
    /// Directories to check by their objects; may be repeated.
    #[arg(long, value_name = "OBJECT")]
    directory_id: Vec<ObjectId>,
    /// Files to check by their objects; may be repeated.
    #[arg(long, value_name = "OBJECT")]
    file_id: Vec<ObjectId>,
    /// Read so many of a hundred files, chosen by chance.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    verify_files_percent: f64,
    /// JSON, with Kopia's names.
    #[arg(long)]
    json: bool,
}

/// What was done, under Kopia's names.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    processed_object_count: u64,
    processed_bytes: u64,
    read_file_count: u64,
    read_bytes: u64,
    expected_total_object_count: u64,
    expected_total_file_count: u64,
    expected_total_bytes: u64,
}

impl Stats {
    /// With what the snapshots' own summaries promise.
    fn expecting(snapshots: &[Snapshot]) -> Self {
        let roots = snapshots
            .iter()
            .filter_map(|one| one.manifest.root_entry.as_ref());
        let mut stats = Self::default();
        for summary in roots.filter_map(|root| root.summary.as_ref()) {
            stats.expected_total_object_count += summary.files + summary.dirs + summary.symlinks;
            stats.expected_total_file_count += summary.files;
            stats.expected_total_bytes += summary.size;
        }
        stats
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict<'a> {
    stats: &'a Stats,
    error_count: usize,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    error_strings: &'a [String],
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    if !(0.0..=100.0).contains(&args.verify_files_percent) {
        return Err(Failure::usage("--verify-files-percent is a number from 0 to 100"));
    }
    let repository = app.open_seeing(Sight::Storage)?;
    let chosen = choose(args, app, &repository)?;
    let packs = packs(&repository)?;
    let stats = Stats::expecting(&chosen);
    let total = stats.expected_total_object_count;
    let done = AtomicU64::new(0);
    let mut check = Check {
        repository: &repository,
        console: &app.console,
        packs: &packs,
        percent: args.verify_files_percent,
        done: &done,
        seen: HashSet::new(),
        damaged: HashSet::new(),
        level: 0,
        stats,
        errors: Vec::new(),
    };
    app.console.watch(
        "Verifying snapshots",
        Counting::Things,
        || (done.load(Ordering::Relaxed), total),
        || {
            for snapshot in &chosen {
                check.snapshot(snapshot);
            }
            check.objects(args);
        },
    );
    report(args, app, &check)
}

fn report(args: &Args, app: &App, check: &Check<'_>) -> Outcome {
    let stats = &check.stats;
    if args.json {
        let verdict = Verdict {
            stats,
            error_count: check.errors.len(),
            error_strings: &check.errors,
        };
        json::print(&app.console, &verdict)?;
        app.console.flush()?;
    }
    app.console.say(format!(
        "Finished processing {} objects ({}). Read {} files ({}).",
        stats.processed_object_count,
        units::bytes(stats.processed_bytes),
        stats.read_file_count,
        units::bytes(stats.read_bytes)
    ));
    match check.errors.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "{count} entries cannot be restored; they are named above"
        ))
        .next("velero kopia content verify --full    (says which blobs are missing or damaged)")),
    }
}

fn choose(args: &Args, app: &App, repository: &Repository) -> Outcome<Vec<Snapshot>> {
    let only_objects = !args.directory_id.is_empty() || !args.file_id.is_empty();
    if only_objects && args.snapshot_ids.is_empty() && args.sources.is_empty() {
        return Ok(Vec::new());
    }
    let filter = SnapshotFilter {
        include_incomplete: true,
        ..SnapshotFilter::default()
    };
    let mut all = repository.find_snapshots(&filter)?;
    let connected = app.connected()?;
    let sources = args.sources.iter().map(|text| source(text, &connected));
    let sources = sources.collect::<Outcome<Vec<_>>>()?;
    if !sources.is_empty() {
        all.retain(|snapshot| sources.contains(&snapshot.manifest.source));
    }
    for id in &args.snapshot_ids {
        if !all.iter().any(|snapshot| snapshot.id.as_str() == id) {
            return Err(Failure::new(format!("there is no snapshot {id}"))
                .next("velero kopia snapshot list --all --manifest-id"));
        }
    }
    if !args.snapshot_ids.is_empty() {
        all.retain(|snapshot| args.snapshot_ids.iter().any(|id| id == snapshot.id.as_str()));
    }
    Ok(all)
}

struct Check<'a> {
    repository: &'a Repository,
    console: &'a Console,
    packs: &'a BTreeMap<String, u64>,
    percent: f64,
    done: &'a AtomicU64,
    /// Objects that were good: snapshots share most of theirs.
    seen: HashSet<ObjectId>,
    /// Directories of this snapshot in which something was not.
    damaged: HashSet<ObjectId>,
    /// How deep in a tree it is.
    level: usize,
    stats: Stats,
    errors: Vec<String>,
}

impl Check<'_> {
    fn snapshot(&mut self, snapshot: &Snapshot) {
        match &snapshot.manifest.root_entry {
            Some(root) => {
                self.damaged.clear();
                self.entry(root, snapshot.id.as_str());
            }
            None => self.error(snapshot.id.as_str(), "it has no root"),
        }
    }

    fn objects(&mut self, args: &Args) {
        for object in args.directory_id.iter().chain(&args.file_id) {
            let name = object.to_string();
            match place::find(self.repository, &name) {
                Ok(entry) => self.entry(&entry, &name),
                Err(failure) => self.error(&name, failure.message()),
            }
        }
    }

    fn entry(&mut self, entry: &DirectoryEntry, path: &str) {
        self.done.fetch_add(1, Ordering::Relaxed);
        if self.damaged.contains(&entry.object) {
            return self.error(
                path,
                "it is the same as a directory named before, with the same damage",
            );
        }
        if !self.seen.insert(entry.object) {
            return;
        }
        self.stats.processed_object_count += 1;
        self.stats.processed_bytes += entry.size;
        let whole = match entry.kind {
            EntryType::Directory => self.directory(entry, path),
            EntryType::File | EntryType::Symlink => self.file(entry, path),
        };
        if !whole {
            // The next snapshot that has it says so too, under its own path.
            self.seen.remove(&entry.object);
            if entry.kind == EntryType::Directory {
                self.damaged.insert(entry.object);
            }
        }
    }

    fn directory(&mut self, entry: &DirectoryEntry, path: &str) -> bool {
        let errors = self.errors.len();
        match place::directory(self.repository, entry, self.level) {
            Ok(directory) => {
                self.level += 1;
                for child in &directory.entries {
                    self.entry(child, &format!("{path}/{}", child.name));
                }
                self.level -= 1;
            }
            Err(failure) => self.error(path, failure.message()),
        }
        self.errors.len() == errors
    }

    fn file(&mut self, entry: &DirectoryEntry, path: &str) -> bool {
        if let Some(problem) = self.problem(entry) {
            self.error(path, &problem);
            return false;
        }
        true
    }

    fn problem(&mut self, entry: &DirectoryEntry) -> Option<String> {
        let mut missing = None;
        let walked = self.repository.for_each_content(entry.object, &mut |id| {
            let found = self.repository.content_info(id);
            missing = match found {
                None => Some(format!("content {id} is in no index")),
                Some(content) => misplaced(&content, self.packs).map(|how| {
                    let why = match how {
                        Misplaced::Missing => "does not exist",
                        Misplaced::Truncated => "is too short",
                    };
                    format!("blob {} of content {id} {why}", content.pack)
                }),
            };
            Ok(missing.is_none())
        });
        if let Err(error) = walked {
            return Some(error.to_string());
        }
        if missing.is_some() {
            return missing;
        }
        if self.percent <= 0.0 || rand::random::<f64>() * 100.0 >= self.percent {
            return None;
        }
        self.read(entry).err()
    }

    fn read(&mut self, entry: &DirectoryEntry) -> Result<(), String> {
        let text = |error: caravel_repository::RepositoryError| match error.kind() {
            RepositoryErrorKind::Damaged => format!("damaged: {error}"),
            _ => error.to_string(),
        };
        let mut reader = self.repository.open_object(entry.object).map_err(text)?;
        let mut length = 0;
        while let Some(piece) = reader.next_piece().map_err(text)? {
            length += piece.len() as u64;
        }
        self.stats.read_file_count += 1;
        self.stats.read_bytes += length;
        if length == entry.size {
            return Ok(());
        }
        Err(format!(
            "it has {length} bytes, its directory says {}",
            entry.size
        ))
    }

    fn error(&mut self, path: &str, problem: &str) {
        let line = format!("{path}: {problem}");
        self.console.say(&line);
        self.errors.push(line);
    }
}
