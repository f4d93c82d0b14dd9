//! `velero snapshot-location get [NAMES]`. Mirrors `pkg/cmd/cli/snapshotlocation/get.go`.

use caravel_api::v1::VolumeSnapshotLocation;
use kube::ResourceExt;
use kube::api::Api;

use super::super::connection::Global;
use super::super::failure::Outcome;
use super::super::listing::Listing;

const HEADER: [&str; 2] = ["NAME", "PROVIDER"];

/// Get snapshot locations.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    listing: Listing,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let api: Api<VolumeSnapshotLocation> = Api::namespaced(global.client().await?, &namespace);
    let mut locations = args
        .listing
        .which
        .fetch(&api, &namespace, "snapshot-location")
        .await?;
    locations.sort_by_key(ResourceExt::name_any);
    let row = |location: &VolumeSnapshotLocation| vec![location.name_any(), location.spec.provider.clone()];
    let table = args
        .listing
        .table(&locations, &HEADER, row, "No snapshot locations found");
    args.listing.print(&locations, &table)
}
