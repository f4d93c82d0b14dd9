//! `velero repo describe [NAMES]`; the text is made in `cli/describe/repo.rs`. Not a verb of Velero's.

use caravel_api::v1::{BackupRepository, BackupStorageLocation};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::super::connection::Global;
use super::super::describe::repo::text;
use super::super::failure::{Outcome, kubernetes};
use super::super::listing::Which;
use super::super::output::emit;

/// Describe backup repositories.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let client = global.client().await?;
    let api: Api<BackupRepository> = Api::namespaced(client.clone(), &namespace);
    let mut repositories = args.which.fetch(&api, &namespace, "repo").await?;
    repositories.sort_by_key(ResourceExt::name_any);
    if repositories.is_empty() {
        return emit("No backup repositories found\n");
    }
    let locations: Api<BackupStorageLocation> = Api::namespaced(client, &namespace);
    let locations = locations
        .list(&ListParams::default())
        .await
        .map_err(|error| kubernetes("listing backup storage locations", &error))?;
    let texts: Vec<String> = repositories
        .iter()
        .map(|repository| {
            let name = &repository.spec.backup_storage_location;
            let location = locations.iter().find(|location| location.name_any() == *name);
            text(repository, location, global.colours())
        })
        .collect();
    emit(&texts.join("\n\n"))
}
