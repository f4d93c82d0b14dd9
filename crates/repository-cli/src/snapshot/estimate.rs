//! `velero kopia snapshot estimate`: how much a snapshot of a folder would hold by the policies of its source, from names
//! and sizes alone.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use caravel_uploader::{Estimated, UploadRules};

use super::source;
use crate::{
    app::App,
    console::Console,
    failure::{Failure, Outcome},
    units,
};

/// Say how large a snapshot of a folder would be.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder.
    #[arg(value_name = "FOLDER")]
    source: PathBuf,
    /// Name some of the files.
    #[arg(long)]
    show_files: bool,
    /// Say nothing while looking.
    #[arg(short, long)]
    quiet: bool,
    /// Megabits a second, to say how long an upload takes.
    #[arg(long, value_name = "MBIT/S", default_value_t = 10.0)]
    upload_speed: f64,
    /// How many files of each size are named.
    #[arg(long, value_name = "N", default_value_t = 10)]
    max_examples_per_bucket: usize,
}

/// Files of one order of magnitude.
#[derive(Clone, Default)]
struct Bucket {
    count: u64,
    bytes: u64,
    examples: Vec<String>,
}

/// Files by power of ten: below 1 KB, below 10 KB, …
#[derive(Default)]
struct Sizes {
    files: u64,
    bytes: u64,
    buckets: [Bucket; 14],
}

/// What was found.
#[derive(Default)]
struct Found {
    included: Sizes,
    /// By policy.
    excluded: Sizes,
    excluded_directories: u64,
    /// Some of them.
    named_directories: Vec<String>,
    left_out: Vec<String>,
    errors: u64,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    if args.upload_speed.is_nan() || args.upload_speed <= 0.0 {
        return Err(Failure::usage("--upload-speed is a number above 0"));
    }
    let repository = app.open()?;
    let root = std::path::absolute(&args.source)
        .map_err(|error| Failure::usage(format!("{} is not a path: {error}", args.source.display())))?;
    if !root.is_dir() {
        return Err(Failure::usage(format!("{} is not a folder", root.display())));
    }
    let source = source(&root.to_string_lossy(), &app.connected()?)?;
    let rules = UploadRules {
        policy: Some(Arc::new(repository.effective_policy(&source)?.policy)),
        ..UploadRules::default()
    };
    let mut found = Found::default();
    caravel_uploader::estimate(&root, &rules, &mut |what| {
        found.note(what, args, &root, &app.console);
    })?;
    report(args, &app.console, &found)
}

impl Found {
    fn note(&mut self, what: Estimated<'_>, args: &Args, root: &Path, console: &Console) {
        let examples = args.max_examples_per_bucket;
        match what {
            Estimated::Directory(path) if !args.quiet => {
                console.say(format!("Analyzing {}...", root.join(path).display()));
            }
            Estimated::Directory(_) => {}
            Estimated::File { path, size } => self.included.add(path, size, examples),
            Estimated::ExcludedFile { path, size } => self.excluded.add(path, size, examples),
            Estimated::ExcludedDirectory(path) => {
                self.excluded_directories += 1;
                if self.named_directories.len() < examples {
                    self.named_directories.push(path.to_owned());
                }
            }
            Estimated::LeftOut { path, what } => self.left_out.push(format!("{path} is a {what}")),
            Estimated::Failed(error) => {
                console.say(format!("Error: {error}"));
                self.errors += 1;
            }
        }
    }
}

impl Sizes {
    fn add(&mut self, name: &str, length: u64, examples: usize) {
        self.files += 1;
        self.bytes += length;
        let power = (0..13)
            .find(|power| length < 1000 * 10u64.pow(*power))
            .unwrap_or(13);
        let bucket = &mut self.buckets[power as usize];
        bucket.count += 1;
        bucket.bytes += length;
        if bucket.examples.len() < examples {
            bucket.examples.push(format!("{name} - {}", units::bytes(length)));
        }
    }

    fn print(&self, console: &Console, show_files: bool) -> Outcome {
        for (power, bucket) in self.buckets.iter().enumerate().filter(|(_, b)| b.count > 0) {
            let from = 100 * 10u64.pow(power as u32);
            let range = match power {
                0 => format!("{:<6}...{:>6}", units::bytes(0), units::bytes(1000)),
                13 => format!("{:<6}...", units::bytes(from)),
                _ => format!("{:<6}...{:>6}", units::bytes(from), units::bytes(from * 10)),
            };
            let (count, size) = (bucket.count, units::bytes(bucket.bytes));
            console.line(format!("{range:>18}: {count:>7} files, total size {size}"))?;
            for example in bucket.examples.iter().filter(|_| show_files) {
                console.line(format!(" - {example}"))?;
            }
        }
        Ok(())
    }
}

fn report(args: &Args, console: &Console, found: &Found) -> Outcome {
    let Sizes { files, bytes, .. } = found.included;
    console.line(format!(
        "Snapshot includes {files} file(s), total size {}",
        units::bytes(bytes)
    ))?;
    found.included.print(console, args.show_files)?;
    console.line("")?;
    match found.excluded.files {
        0 => console.line("Snapshot excludes no files.")?,
        count => console.line(format!(
            "Snapshot excludes {count} file(s), total size {}",
            units::bytes(found.excluded.bytes)
        ))?,
    }
    found.excluded.print(console, true)?;
    match found.excluded_directories {
        0 => console.line("Snapshot excludes no directories.")?,
        count => console.line(format!("Snapshot excludes {count} directories. Examples:"))?,
    }
    for directory in &found.named_directories {
        console.line(format!(" - {directory}"))?;
    }
    if !found.left_out.is_empty() {
        console.line(format!("Snapshot cannot hold {} entries:", found.left_out.len()))?;
    }
    for entry in found.left_out.iter().take(args.max_examples_per_bucket) {
        console.line(format!(" - {entry}"))?;
    }
    if found.errors > 0 {
        console.line(format!("Encountered {} error(s).", found.errors))?;
    }
    console.line("")?;
    let seconds = (bytes as f64 * 8.0 / 1_000_000.0 / args.upload_speed) as i64;
    console.line(format!(
        "Estimated upload time: {} at {} Mbit/s",
        units::duration(seconds.saturating_mul(1_000_000_000)),
        args.upload_speed
    ))?;
    console.flush()
}
