//! `velero repo get [NAMES]`: the BackupRepositories. Mirrors `pkg/cmd/cli/repo/get.go`.

use caravel_api::v1::BackupRepository;
use kube::ResourceExt;
use kube::api::Api;

use super::super::connection::Global;
use super::super::describe::words;
use super::super::failure::Outcome;
use super::super::listing::Listing;

const HEADER: [&str; 3] = ["NAME", "STATUS", "LAST MAINTENANCE"];

/// Get backup repositories.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    listing: Listing,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let api: Api<BackupRepository> = Api::namespaced(global.client().await?, &namespace);
    let mut repositories = args.listing.which.fetch(&api, &namespace, "repo").await?;
    repositories.sort_by_key(ResourceExt::name_any);
    let table = args
        .listing
        .table(&repositories, &HEADER, row, "No backup repositories found");
    args.listing.print(&repositories, &table)
}

fn row(repository: &BackupRepository) -> Vec<String> {
    let status = repository.status.clone().unwrap_or_default();
    let maintained = status.last_maintenance_time.as_ref();
    vec![
        repository.name_any(),
        repository.phase().to_string(),
        maintained.map_or_else(|| "<never>".to_owned(), |time| words::time(Some(time))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_repository_that_was_never_maintained_says_so() {
        let repository = |status| {
            serde_json::from_value(
                json!({"metadata": {"name": "shop-default-kopia"}, "spec": {}, "status": status}),
            )
            .unwrap()
        };
        let cells = row(&repository(json!({})));
        assert_eq!(cells, ["shop-default-kopia", "New", "<never>"]);
        let ready = json!({"phase": "Ready", "lastMaintenanceTime": "2026-11-21T03:49:23Z"});
        let cells = row(&repository(ready));
        assert_eq!(cells[1..], ["Ready", "2026-11-21 03:49:23 +0000 UTC"]);
    }
}
