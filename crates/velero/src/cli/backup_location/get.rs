//! `velero backup-location get [NAMES]`. Columns: velero-behaviour.md 10.2, sample `backup-location-get.txt`.

use caravel_api::v1::BackupStorageLocation;
use kube::ResourceExt;
use kube::api::Api;

use super::super::connection::Global;
use super::super::describe::words;
use super::super::failure::Outcome;
use super::super::flags::boolean;
use super::super::listing::Listing;

const HEADER: [&str; 7] = [
    "NAME",
    "PROVIDER",
    "BUCKET/PREFIX",
    "PHASE",
    "LAST VALIDATED",
    "ACCESS MODE",
    "DEFAULT",
];

/// Get backup storage locations.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    listing: Listing,
    /// Only the default one.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    default: Option<bool>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let api: Api<BackupStorageLocation> = Api::namespaced(global.client().await?, &namespace);
    let mut locations = args
        .listing
        .which
        .fetch(&api, &namespace, "backup-location")
        .await?;
    if args.default == Some(true) {
        locations.retain(|location| location.spec.default);
    }
    locations.sort_by_key(ResourceExt::name_any);
    args.listing.print(&locations, &text(&args.listing, &locations))
}

/// The table; one line says so when it would be empty.
fn text(listing: &Listing, locations: &[BackupStorageLocation]) -> String {
    listing.table(locations, &HEADER, row, "No backup storage locations found")
}

fn row(location: &BackupStorageLocation) -> Vec<String> {
    let (spec, status) = (&location.spec, location.status.clone().unwrap_or_default());
    let storage = &spec.object_storage;
    let bucket = match &*storage.prefix {
        "" => storage.bucket.clone(),
        prefix => format!("{}/{prefix}", storage.bucket),
    };
    let validated = status.last_validation_time.as_ref();
    let unknown = || "Unknown".to_owned();
    vec![
        location.name_any(),
        spec.provider.clone(),
        bucket,
        status.phase.map_or_else(unknown, |phase| phase.to_string()),
        validated.map_or_else(unknown, |time| words::time(Some(time))),
        spec.access_mode
            .as_ref()
            .map_or_else(|| "ReadWrite".to_owned(), ToString::to_string),
        if spec.default { "true" } else { "" }.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_location_table_is_veleros() {
        let location = |name: &str, bucket: &str, default: bool, validated: &str| {
            serde_json::from_value(json!({"metadata": {"name": name},
                "spec": {"provider": "aws", "default": default, "objectStorage": {"bucket": bucket}, "accessMode": "ReadWrite"},
                "status": {"phase": "Available", "lastValidationTime": validated}}))
            .unwrap()
        };
        let text = text(
            &Listing::default(),
            &[
                location("default", "backups", true, "2026-11-21T03:49:23Z"),
                location("fix", "fixture", false, "2026-11-21T03:48:33Z"),
            ],
        );
        assert_eq!(
            text,
            "NAME      PROVIDER   BUCKET/PREFIX   PHASE       LAST VALIDATED                  ACCESS MODE   DEFAULT\n\
             default   aws        backups         Available   2026-11-21 03:49:23 +0000 UTC   ReadWrite     true\n\
             fix       aws        fixture         Available   2026-11-21 03:48:33 +0000 UTC   ReadWrite     \n"
        );
    }

    #[test]
    fn a_location_that_was_not_checked_yet_says_so() {
        let location = BackupStorageLocation::new("new", Default::default());
        assert_eq!(
            text(&Listing::default(), &[location]).matches("Unknown").count(),
            2
        );
    }
}
