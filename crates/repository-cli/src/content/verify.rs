//! `velero kopia content verify`: is every content where the index says, and, when asked, are its bytes its own?

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
};

use caravel_repository::{ContentInfo, Repository};
use serde::Serialize;

use super::Range;
use crate::{
    app::{App, Sight},
    console::{Console, Counting},
    failure::{Failure, Outcome},
};

/// Check that contents are there and whole.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Contents read at the same time.
    #[arg(long, default_value_t = 8)]
    parallel: usize,
    /// Read and check every content, not only that its blob is there and long enough.
    #[arg(long)]
    full: bool,
    /// Also those marked for deletion.
    #[arg(long)]
    include_deleted: bool,
    /// Read and check this many of a hundred, chosen by chance.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    download_percent: f64,
    #[command(flatten)]
    range: Range,
}

/// What was found, under Kopia's names.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counters {
    verified_contents: u64,
    total_error_count: u64,
    contents_in_missing_packs: u64,
    contents_in_truncated_packs: u64,
    unreadable_contents: u64,
    read_contents: u64,
    missing_packs: u64,
    truncated_packs: u64,
    corrupted_packs: u64,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    if !(0.0..=100.0).contains(&args.download_percent) {
        return Err(Failure::usage("--download-percent is a number from 0 to 100"));
    }
    let repository = app.open_seeing(Sight::Storage)?;
    app.console.say("Listing blobs...");
    let packs = packs(&repository)?;
    app.console.say(format!("Listed {} blobs.", packs.len()));
    let mut contents = repository.contents();
    contents.retain(|content| (args.include_deleted || !content.deleted) && args.range.has(content));
    // In the order of the blobs, so that what is fetched is fetched once.
    contents.sort_by(|a, b| (&a.pack, a.pack_offset).cmp(&(&b.pack, b.pack_offset)));
    let check = Check {
        repository: &repository,
        packs: &packs,
        percent: if args.full { 100.0 } else { args.download_percent },
        console: &app.console,
        next: AtomicUsize::new(0),
        done: AtomicU64::new(0),
    };
    let workers = args.parallel.max(1);
    let findings = app.console.watch(
        "Verifying contents",
        Counting::Things,
        || (check.done.load(Ordering::Relaxed), contents.len() as u64),
        || check.all(&contents, workers),
    );
    let counters = count(&findings, contents.len() as u64);
    let json = serde_json::to_string(&counters)
        .map_err(|error| Failure::new(format!("printing the result: {error}")))?;
    app.console.say(format!("verifyCounters: {json}"));
    if counters.total_error_count > 0 {
        return Err(Failure::new(format!(
            "{} of {} contents are missing or damaged",
            counters.total_error_count,
            contents.len()
        ))
        .next(
            "velero kopia snapshot verify --verify-files-percent=100    (says which files they belong to)",
        ));
    }
    Ok(())
}

/// Lengths of all packs, by name.
pub(crate) fn packs(repository: &Repository) -> Outcome<BTreeMap<String, u64>> {
    let mut packs = BTreeMap::new();
    for prefix in ["p", "q"] {
        let listed = repository.blobs(prefix)?;
        packs.extend(
            listed
                .into_iter()
                .map(|blob| (blob.id.as_str().to_owned(), blob.length)),
        );
    }
    Ok(packs)
}

/// What is wrong with where a content lies.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Misplaced {
    Missing,
    Truncated,
}

/// Whether the content's blob is there and long enough.
pub(crate) fn misplaced(content: &ContentInfo, packs: &BTreeMap<String, u64>) -> Option<Misplaced> {
    let end = u64::from(content.pack_offset) + u64::from(content.packed_length);
    match packs.get(&*content.pack) {
        None => Some(Misplaced::Missing),
        Some(length) if *length < end => Some(Misplaced::Truncated),
        Some(_) => None,
    }
}

enum Found {
    Good { read: bool },
    Misplaced(Misplaced, String),
    Unreadable(String),
}

struct Check<'a> {
    repository: &'a Repository,
    packs: &'a BTreeMap<String, u64>,
    percent: f64,
    console: &'a Console,
    next: AtomicUsize,
    done: AtomicU64,
}

impl Check<'_> {
    fn all(&self, contents: &[ContentInfo], workers: usize) -> Vec<Found> {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..workers)
                .map(|_| scope.spawn(|| self.some(contents)))
                .collect();
            let joined = threads.into_iter().map(|thread| match thread.join() {
                Ok(found) => found,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.flatten().collect()
        })
    }

    fn some(&self, contents: &[ContentInfo]) -> Vec<Found> {
        let mut findings = Vec::new();
        while let Some(content) = contents.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            findings.push(self.one(content));
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        findings
    }

    fn one(&self, content: &ContentInfo) -> Found {
        let (id, pack) = (content.id, &content.pack);
        if let Some(how) = misplaced(content, self.packs) {
            let why = match how {
                Misplaced::Missing => "does not exist",
                Misplaced::Truncated => "is too short for it",
            };
            self.console.say(format!("content {id}: its blob {pack} {why}"));
            return Found::Misplaced(how, pack.to_string());
        }
        if self.percent <= 0.0 || rand::random::<f64>() * 100.0 >= self.percent {
            return Found::Good { read: false };
        }
        let problem = match self.repository.content_matches_name(&id) {
            Ok(true) => return Found::Good { read: true },
            Ok(false) => "its bytes are not those of its name".to_owned(),
            Err(error) => error.to_string(),
        };
        self.console
            .say(format!("content {id} in blob {pack}: {problem}"));
        Found::Unreadable(pack.to_string())
    }
}

fn count(findings: &[Found], verified: u64) -> Counters {
    let mut counters = Counters {
        verified_contents: verified,
        ..Counters::default()
    };
    let [mut missing, mut truncated, mut corrupted] = [(); 3].map(|()| std::collections::BTreeSet::new());
    for found in findings {
        match found {
            Found::Good { read } => counters.read_contents += u64::from(*read),
            Found::Misplaced(Misplaced::Missing, pack) => {
                counters.contents_in_missing_packs += 1;
                missing.insert(pack);
            }
            Found::Misplaced(Misplaced::Truncated, pack) => {
                counters.contents_in_truncated_packs += 1;
                truncated.insert(pack);
            }
            Found::Unreadable(pack) => {
                counters.unreadable_contents += 1;
                corrupted.insert(pack);
            }
        }
    }
    counters.total_error_count = counters.contents_in_missing_packs
        + counters.contents_in_truncated_packs
        + counters.unreadable_contents;
    counters.missing_packs = missing.len() as u64;
    counters.truncated_packs = truncated.len() as u64;
    counters.corrupted_packs = corrupted.len() as u64;
    counters
}
