//! `velero kopia blob list`.

use caravel_storage::BlobMetadata;

use crate::{app::App, failure::Outcome, json, units};

/// List blobs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Blobs whose name starts with this.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "LETTERS")]
    prefix: String,
    /// Not those whose name starts with this; may be repeated.
    #[arg(long, value_name = "LETTERS")]
    exclude_prefix: Vec<String>,
    /// Bytes at least.
    #[arg(long, value_name = "BYTES")]
    min_size: Option<u64>,
    /// Bytes at most.
    #[arg(long, value_name = "BYTES")]
    max_size: Option<u64>,
    /// Only packs: no index, log or settings.
    #[arg(long)]
    data_only: bool,
    /// JSON, with Kopia's names.
    #[arg(long)]
    json: bool,
}

/// What is no data.
const NOT_DATA: [&str; 4] = ["n", "x", "_log", "kopia."];

impl Args {
    fn has(&self, blob: &BlobMetadata) -> bool {
        let starts = |prefix: &str| blob.id.as_str().starts_with(prefix);
        let no_data = self.data_only && NOT_DATA.iter().any(|prefix| starts(prefix));
        let excluded = self.exclude_prefix.iter().any(|prefix| starts(prefix));
        !(no_data || excluded)
            && self.min_size.is_none_or(|least| blob.length >= least)
            && self.max_size.is_none_or(|most| blob.length <= most)
    }
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open()?;
    let mut blobs = repository.blobs(&args.prefix)?;
    blobs.retain(|blob| args.has(blob));
    if args.json {
        json::list(&app.console, blobs.iter().map(json::Blob::from))?;
        return app.console.flush();
    }
    for blob in &blobs {
        let (name, length) = (blob.id.as_str(), blob.length);
        app.console
            .line(format!("{name:<70} {length:>10} {}", units::time(blob.timestamp)))?;
    }
    app.console.flush()
}
