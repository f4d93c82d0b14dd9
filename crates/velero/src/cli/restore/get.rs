//! `velero restore get [NAMES]`.
//!
//! Columns: velero-behaviour.md 10.2, sample `restore-get.txt`.

use caravel_api::v1::Restore;
use kube::ResourceExt;
use kube::api::Api;

use super::super::connection::Global;
use super::super::describe::words;
use super::super::failure::Outcome;
use super::super::flags::format_label_selector;
use super::super::listing::Listing;

const HEADER: [&str; 9] = [
    "NAME",
    "BACKUP",
    "STATUS",
    "STARTED",
    "COMPLETED",
    "ERRORS",
    "WARNINGS",
    "CREATED",
    "SELECTOR",
];

/// Get restores.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    listing: Listing,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let api: Api<Restore> = Api::namespaced(global.client().await?, &namespace);
    let mut restores = args.listing.which.fetch(&api, &namespace, "restore").await?;
    restores.sort_by_key(ResourceExt::name_any);
    args.listing.print(&restores, &text(&args.listing, &restores))
}

/// The table; one line says so when it would be empty.
pub fn text(listing: &Listing, restores: &[Restore]) -> String {
    listing.table(restores, &HEADER, row, "No restores found")
}

fn row(restore: &Restore) -> Vec<String> {
    let status = restore.status.clone().unwrap_or_default();
    vec![
        restore.name_any(),
        restore.spec.backup_name.clone(),
        restore.phase().to_string(),
        words::time(status.start_timestamp.as_ref()),
        words::time(status.completion_timestamp.as_ref()),
        status.errors.to_string(),
        status.warnings.to_string(),
        words::time(restore.metadata.creation_timestamp.as_ref()),
        format_label_selector(restore.spec.label_selector.as_ref()),
    ]
}
