//! `velero kopia manifest show`.

use caravel_repository::{Labels, ManifestId, Repository};

use crate::{
    app::App,
    failure::{Failure, Outcome},
    json, units,
};

/// Print manifests.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names of manifests.
    #[arg(required = true, value_name = "ID")]
    items: Vec<ManifestId>,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open()?;
    for manifest in find(&repository, &args.items)? {
        let console = &app.console;
        console.line(format!("// id: {}", manifest.id))?;
        console.line(format!("// length: {}", manifest.payload.get().len()))?;
        console.line(format!("// modified: {}", units::time(manifest.modified)))?;
        for (key, value) in &manifest.labels {
            console.line(format!("// label {key}:{value}"))?;
        }
        console.line(json::indent(manifest.payload.get()))?;
    }
    app.console.flush()
}

/// The manifests of these names, all of them or an error that names the first that is missing.
pub(super) fn find(
    repository: &Repository,
    ids: &[ManifestId],
) -> Outcome<Vec<caravel_repository::Manifest>> {
    let all = repository.find_manifests(&Labels::new())?;
    ids.iter()
        .map(|id| {
            let found = all.iter().find(|manifest| manifest.id == *id).cloned();
            found.ok_or_else(|| {
                Failure::new(format!("there is no manifest {id}")).next("velero kopia manifest list")
            })
        })
        .collect()
}
