//! `velero snapshot-location set NAME`. Mirrors `pkg/cmd/cli/snapshotlocation/set.go`.

use caravel_api::v1::VolumeSnapshotLocation;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::super::backup_location::credential;
use super::super::connection::Global;
use super::super::describe::words;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::output::emit;

/// Change a volume snapshot location.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the location.
    name: String,
    /// Secret and key with the credentials of this location: secret=key.
    #[arg(long)]
    credential: Vec<String>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let (namespace, name) = (global.namespace(), &args.name);
    let Some(credential) = credential(&args.credential)? else {
        return Err(Failure::usage("nothing to set: give --credential"));
    };
    let api: Api<VolumeSnapshotLocation> = Api::namespaced(global.client().await?, &namespace);
    words::one(&api, &namespace, "snapshot-location", name).await?;
    let patch = Patch::Merge(json!({"spec": {"credential": credential}}));
    api.patch(name, &PatchParams::default(), &patch)
        .await
        .map_err(|error| kubernetes(format!("changing snapshot-location {namespace}/{name}"), &error))?;
    emit(&format!(
        "Volume snapshot location \"{name}\" configured successfully.\n"
    ))
}
