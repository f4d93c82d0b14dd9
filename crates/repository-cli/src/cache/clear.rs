//! `velero kopia cache clear`: the next command reads everything from the storage again. Only the cache's own subfolders
//! are removed, whatever else lies beside them.

use std::{fs, io::ErrorKind, path::Path};

use clap::builder::{PossibleValue, PossibleValuesParser};

use crate::{
    app::App,
    caching::PARTS,
    failure::{Failure, Outcome},
};

/// Empty the cache.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this part.
    #[arg(long, value_name = "PART", value_parser = parts())]
    partial: Option<String>,
}

/// The subfolders; Kopia's word for the index's is another one.
fn parts() -> PossibleValuesParser {
    let part = |name: &'static str| match name {
        "index-blobs" => PossibleValue::new(name).alias("indexes"),
        name => PossibleValue::new(name),
    };
    PossibleValuesParser::new(PARTS.map(part))
}

/// How often a folder is removed that others fill meanwhile.
const ATTEMPTS: usize = 20;

/// Another process puts files there, or takes some away.
fn is_in_use(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound)
}

/// Removes a folder, also one that another process puts files into. Who reads one of them reads it to its end.
fn remove(folder: &Path) -> std::io::Result<()> {
    for _ in 1..ATTEMPTS {
        match fs::remove_dir_all(folder) {
            Err(error) if is_in_use(&error) && folder.exists() => {}
            removed => return removed,
        }
    }
    fs::remove_dir_all(folder)
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let folder = app.caching()?.cache_directory;
    for part in PARTS {
        let chosen = |only: &String| only == part || (only == "indexes" && part == "index-blobs");
        if !args.partial.as_ref().is_none_or(chosen) {
            continue;
        }
        let part = folder.join(part);
        match remove(&part) {
            Ok(()) => app.console.say(format!("Removed {}.", part.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Failure::new(format!("cannot remove {}: {error}", part.display()))
                    .next("velero kopia cache clear    (again: another process may be using it)"));
            }
        }
    }
    app.console.say("The cache is empty.");
    Ok(())
}
