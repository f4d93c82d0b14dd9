//! `velero kopia snapshot estimate`: how much a snapshot of a folder would hold, from names and sizes alone.

use std::{
    fs::{self, FileType},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

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

/// What was found.
#[derive(Default)]
struct Found {
    files: u64,
    bytes: u64,
    /// By power of ten: below 1 KB, below 10 KB, …
    buckets: [Bucket; 14],
    excluded: Vec<String>,
    errors: u64,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    if args.upload_speed.is_nan() || args.upload_speed <= 0.0 {
        return Err(Failure::usage("--upload-speed is a number above 0"));
    }
    // Kopia asks the repository for policies; ours is asked for being one.
    app.open()?;
    let root = std::path::absolute(&args.source)
        .map_err(|error| Failure::usage(format!("{} is not a path: {error}", args.source.display())))?;
    if !root.is_dir() {
        return Err(Failure::usage(format!("{} is not a folder", root.display())));
    }
    let mut found = Found::default();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        if !args.quiet {
            app.console.say(format!("Analyzing {}...", folder.display()));
        }
        folder_of(&folder, &root, args, app, &mut found, &mut folders);
    }
    report(args, &app.console, &found)
}

fn folder_of(
    folder: &Path,
    root: &Path,
    args: &Args,
    app: &App,
    found: &mut Found,
    folders: &mut Vec<PathBuf>,
) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return found.failed(&app.console, folder, &error),
    };
    for entry in entries {
        // No link is followed.
        let looked = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)));
        let (path, metadata) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                found.failed(&app.console, folder, &error);
                continue;
            }
        };
        let kind = metadata.file_type();
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        if kind.is_dir() {
            folders.push(path);
        } else if let Some(what) = never_stored(kind) {
            found.excluded.push(format!("{name} is a {what}"));
        } else if kind.is_file() {
            found.add(name, metadata.len(), args.max_examples_per_bucket);
        }
    }
}

/// What no snapshot can hold.
fn never_stored(kind: FileType) -> Option<&'static str> {
    [
        (kind.is_fifo(), "fifo"),
        (kind.is_socket(), "socket"),
        (kind.is_block_device(), "block device"),
        (kind.is_char_device(), "character device"),
    ]
    .into_iter()
    .find_map(|(is, name)| is.then_some(name))
}

impl Found {
    fn failed(&mut self, console: &Console, path: &Path, error: &std::io::Error) {
        console.say(format!("Error in {}: {error}", path.display()));
        self.errors += 1;
    }

    fn add(&mut self, name: String, length: u64, examples: usize) {
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
}

fn report(args: &Args, console: &Console, found: &Found) -> Outcome {
    console.line(format!(
        "Snapshot includes {} file(s), total size {}",
        found.files,
        units::bytes(found.bytes)
    ))?;
    for (power, bucket) in found
        .buckets
        .iter()
        .enumerate()
        .filter(|(_, bucket)| bucket.count > 0)
    {
        let from = 100 * 10u64.pow(power as u32);
        let range = match power {
            0 => format!("{:<6}...{:>6}", units::bytes(0), units::bytes(1000)),
            13 => format!("{:<6}...", units::bytes(from)),
            _ => format!("{:<6}...{:>6}", units::bytes(from), units::bytes(from * 10)),
        };
        let (count, size) = (bucket.count, units::bytes(bucket.bytes));
        console.line(format!("{range:>18}: {count:>7} files, total size {size}"))?;
        for example in bucket.examples.iter().filter(|_| args.show_files) {
            console.line(format!(" - {example}"))?;
        }
    }
    console.line("")?;
    match found.excluded.len() {
        0 => console.line("Snapshot excludes no files.")?,
        count => console.line(format!(
            "Snapshot excludes {count} file(s), which no snapshot can hold:"
        ))?,
    }
    for excluded in found.excluded.iter().take(args.max_examples_per_bucket) {
        console.line(format!(" - {excluded}"))?;
    }
    if found.errors > 0 {
        console.line(format!("Encountered {} error(s).", found.errors))?;
    }
    console.line("")?;
    let seconds = (found.bytes as f64 * 8.0 / 1_000_000.0 / args.upload_speed) as i64;
    console.line(format!(
        "Estimated upload time: {} at {} Mbit/s",
        units::duration(seconds.saturating_mul(1_000_000_000)),
        args.upload_speed
    ))?;
    console.flush()
}
