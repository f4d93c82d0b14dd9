//! `velero kopia cache set`: of this connection.

use std::path::PathBuf;

use crate::{
    app::App,
    config_file,
    failure::{Failure, Outcome},
    units,
};

/// Say where the cache is, and how large it may be.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder; what lies in the old one stays until it is cleared.
    #[arg(long, value_name = "FOLDER")]
    cache_directory: Option<PathBuf>,
    /// Megabytes of file data.
    #[arg(long, value_name = "MB")]
    content_cache_size_mb: Option<u64>,
    /// Megabytes of directories and manifests.
    #[arg(long, value_name = "MB")]
    metadata_cache_size_mb: Option<u64>,
    /// How long a list of index blobs is believed, as 30s.
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    max_list_cache_duration: Option<i64>,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let mut connected = app.connected()?;
    let mut caching = app.caching()?;
    let before = caching.clone();
    if let Some(folder) = &args.cache_directory {
        caching.cache_directory = std::path::absolute(folder)
            .map_err(|error| Failure::usage(format!("--cache-directory {}: {error}", folder.display())))?;
    }
    let bytes = |megabytes: u64| megabytes.saturating_mul(1_000_000);
    caching.contents = args.content_cache_size_mb.map_or(caching.contents, bytes);
    caching.metadata = args.metadata_cache_size_mb.map_or(caching.metadata, bytes);
    if let Some(duration) = args.max_list_cache_duration {
        caching.list_seconds = duration.unsigned_abs() / 1_000_000_000;
    }
    if caching == before {
        return Err(
            Failure::usage("nothing to change: no flag says anything new").next("velero kopia cache info")
        );
    }
    connected.caching = Some(caching);
    config_file::write(&app.config_file()?, &connected)?;
    app.console
        .say("The cache's settings are changed, for commands from now on.");
    Ok(())
}
