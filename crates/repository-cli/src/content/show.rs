//! `velero kopia content show`: the bytes of contents.

use std::io::Read as _;

use caravel_repository::ContentId;
use flate2::read::MultiGzDecoder;

use crate::{
    app::App,
    failure::{Failure, Outcome},
};

/// What a compressed manifest may unfold to.
const MAX_UNZIPPED: u64 = 1 << 30;

/// Print contents.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names of contents.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<ContentId>,
    /// Indented, for JSON.
    #[arg(short, long)]
    json: bool,
    /// Unzipped, for manifests.
    #[arg(short = 'z', long)]
    unzip: bool,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open()?;
    for id in &args.ids {
        let mut bytes = repository.read_content(id)?;
        if args.unzip {
            let mut plain = Vec::new();
            MultiGzDecoder::new(bytes.as_slice())
                .take(MAX_UNZIPPED)
                .read_to_end(&mut plain)
                .map_err(|error| Failure::new(format!("content {id} is not in gzip's format: {error}")))?;
            bytes = plain;
        }
        if args.json {
            let value: serde_json::Value = serde_json::from_slice(&bytes)
                .map_err(|error| Failure::new(format!("content {id} is not JSON: {error}")))?;
            bytes = serde_json::to_vec_pretty(&value)
                .map_err(|error| Failure::new(format!("content {id} cannot be shown: {error}")))?;
            bytes.push(b'\n');
        }
        app.console.raw(&bytes)?;
    }
    app.console.flush()
}
