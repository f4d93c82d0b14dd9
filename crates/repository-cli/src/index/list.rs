//! `velero kopia index list`.

use clap::ValueEnum;
use serde::Serialize;

use crate::{app::App, failure::Outcome, json, units};

/// List the blobs of the index.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many there are, at the end.
    #[arg(long)]
    summary: bool,
    /// Also those that a compacted one has replaced.
    #[arg(long)]
    superseded: bool,
    /// Order.
    #[arg(long, value_enum, default_value = "time")]
    sort: Order,
    /// JSON, with Kopia's names.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    Time,
    Size,
    Name,
}

#[derive(Serialize)]
struct IndexBlob<'a> {
    #[serde(flatten)]
    blob: json::Blob<'a>,
    #[serde(rename = "Superseded")]
    superseded: Option<()>,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open()?;
    let mut blobs = repository.index_blobs(args.superseded)?;
    match args.sort {
        Order::Time => blobs.sort_by_key(|found| found.blob.timestamp),
        Order::Size => blobs.sort_by_key(|found| found.blob.length),
        Order::Name => blobs.sort_by(|a, b| a.blob.id.cmp(&b.blob.id)),
    }
    if args.json {
        let element = |found| IndexBlob {
            blob: json::Blob::from(found),
            superseded: None,
        };
        json::list(&app.console, blobs.iter().map(|found| element(&found.blob)))?;
        return app.console.flush();
    }
    for found in &blobs {
        let (name, length) = (found.blob.id.as_str(), found.blob.length);
        let time = units::precise_time(found.blob.timestamp);
        let state = if found.active { "" } else { " superseded" };
        app.console
            .line(format!("{name:<60} {length:>10} {time}{state}"))?;
    }
    if args.summary {
        app.console.line(format!("total {} indexes", blobs.len()))?;
    }
    app.console.flush()
}
