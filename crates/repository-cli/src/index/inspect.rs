//! `velero kopia index inspect`: the entries of index blobs, one a line.

use caravel_repository::{ContentId, ContentInfo};
use caravel_storage::BlobMetadata;

use crate::{
    app::App,
    failure::{Failure, Outcome},
    units,
};

/// Print the entries of index blobs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names of index blobs.
    #[arg(value_name = "BLOB", required_unless_present_any = ["all", "active"], conflicts_with_all = ["all", "active"])]
    blobs: Vec<String>,
    /// All of them, also those that a compacted one has replaced.
    #[arg(long)]
    all: bool,
    /// All that readers use.
    #[arg(long, conflicts_with = "all")]
    active: bool,
    /// Only entries of this content; may be repeated.
    #[arg(long, value_name = "ID")]
    content_id: Vec<ContentId>,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open()?;
    let mut blobs: Vec<BlobMetadata> = repository
        .index_blobs(!args.active)?
        .into_iter()
        .map(|found| found.blob)
        .collect();
    if !args.blobs.is_empty() {
        for name in &args.blobs {
            if !blobs.iter().any(|blob| blob.id.as_str() == name) {
                return Err(Failure::new(format!("there is no index blob {name}"))
                    .next("velero kopia index list --superseded"));
            }
        }
        blobs.retain(|blob| args.blobs.iter().any(|name| name == blob.id.as_str()));
    }
    for blob in &blobs {
        for entry in repository.read_index_blob(blob.id.as_str())? {
            if args.content_id.is_empty() || args.content_id.contains(&entry.id) {
                app.console.line(line(blob, &entry))?;
            }
        }
    }
    app.console.flush()
}

fn line(blob: &BlobMetadata, entry: &ContentInfo) -> String {
    let state = if entry.deleted { "deleted" } else { "created" };
    format!(
        "{} {} {} {state} {} {} {} {}",
        units::precise_time(blob.timestamp),
        blob.id,
        entry.id,
        units::precise_time(units::seconds(entry.timestamp)),
        entry.pack,
        entry.pack_offset,
        entry.packed_length
    )
}
