//! `velero kopia cache clear`: the next command reads everything from the storage again. Only the cache's own subfolders
//! are removed, whatever else lies beside them.

use std::{fs, io::ErrorKind};

use clap::builder::PossibleValuesParser;

use crate::{
    app::App,
    caching::PARTS,
    failure::{Failure, Outcome},
};

/// Empty the cache.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this part.
    #[arg(long, value_name = "PART", value_parser = PossibleValuesParser::new(PARTS))]
    partial: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let folder = app.caching()?.cache_directory;
    for part in PARTS {
        if args.partial.as_ref().is_some_and(|only| only != part) {
            continue;
        }
        let part = folder.join(part);
        match fs::remove_dir_all(&part) {
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
