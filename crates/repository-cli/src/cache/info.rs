//! `velero kopia cache info`: what lies in the cache's folder, from the folder itself.

use std::{fs, io::ErrorKind, path::Path};

use crate::{
    app::App,
    caching::PARTS,
    failure::{Failure, Outcome},
    units,
};

/// Where the cache is, and how large.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only its folder.
    #[arg(long)]
    path: bool,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let caching = app.caching()?;
    let folder = &caching.cache_directory;
    if args.path {
        app.console.line(folder.display().to_string())?;
        return app.console.flush();
    }
    for part in PARTS {
        let folder = folder.join(part);
        let Some((files, bytes)) = size(&folder)? else {
            continue;
        };
        let limit = match (part, caching.limit(part)) {
            (_, Some(limit)) => format!(" (limit: {})", units::bytes(limit)),
            ("blob-list", _) => format!(" (duration: {}s)", caching.list_seconds),
            _ => String::new(),
        };
        let bytes = units::bytes(bytes);
        app.console
            .line(format!("{}: {files} files {bytes}{limit}", folder.display()))?;
    }
    if app
        .connected()?
        .caching
        .and_then(|caching| caching.settings())
        .is_none()
    {
        app.console
            .say("This connection keeps no copies: every command reads from the storage.");
    }
    app.console
        .say("To adjust cache sizes use 'velero kopia cache set'.");
    app.console.say("To clear caches use 'velero kopia cache clear'.");
    app.console.flush()
}

/// Files below a folder and their bytes; none when it does not exist.
fn size(folder: &Path) -> Outcome<Option<(u64, u64)>> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot read {}: {error}", folder.display()));
    let (mut files, mut bytes) = (0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = match fs::read_dir(&next) {
            // The part itself was never made, or another process clears it.
            Err(error) if error.kind() == ErrorKind::NotFound && next == folder => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            match entry.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => {
                    files += 1;
                    bytes += metadata.len();
                }
            }
        }
    }
    Ok(Some((files, bytes)))
}
