//! `velero kopia manifest list`.

use caravel_repository::{Labels, Manifest};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    app::App,
    failure::{Failure, Outcome},
    json, units,
};

/// List manifests.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only with this label, as KEY:VALUE; may be repeated.
    #[arg(long, value_name = "KEY:VALUE")]
    filter: Vec<String>,
    /// Labels to sort by, before the time; may be repeated.
    #[arg(long, value_name = "KEY")]
    sort: Vec<String>,
    /// JSON, with Kopia's names.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    length: usize,
    labels: &'a Labels,
    mtime: Timestamp,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let mut labels = Labels::new();
    for filter in &args.filter {
        let (key, value) = filter
            .split_once(':')
            .ok_or_else(|| Failure::usage(format!("--filter {filter:?} is not KEY:VALUE")))?;
        labels.insert(key.to_owned(), value.to_owned());
    }
    let mut manifests = app.open()?.find_manifests(&labels)?;
    let keys = |manifest: &Manifest| -> Vec<Option<String>> {
        args.sort
            .iter()
            .map(|key| manifest.labels.get(key).cloned())
            .collect()
    };
    manifests.sort_by_cached_key(keys);
    if args.json {
        let listed = manifests.iter().map(|manifest| Listed {
            id: manifest.id.as_str(),
            length: manifest.payload.get().len(),
            labels: &manifest.labels,
            mtime: manifest.modified,
        });
        json::list(&app.console, listed)?;
        return app.console.flush();
    }
    for manifest in &manifests {
        let labels: Vec<String> = manifest
            .labels
            .iter()
            .map(|(key, value)| format!("{key}:{value}"))
            .collect();
        let (id, length) = (&manifest.id, manifest.payload.get().len());
        let time = units::time(manifest.modified);
        app.console
            .line(format!("{id} {length:>10} {time} {}", type_first(labels)))?;
    }
    app.console.flush()
}

/// What a manifest is comes first, as Kopia prints it.
fn type_first(mut labels: Vec<String>) -> String {
    labels.sort_by_key(|label| (!label.starts_with("type:"), label.clone()));
    labels.join(" ")
}
