//! `velero restore describe [NAMES]`: reads the object, the bucket's files and the data movements; the text is made in
//! `cli/describe/restore.rs`.

use std::path::PathBuf;

use caravel_api::v1::{DownloadTargetKind, Restore, RestorePhase};
use caravel_api::v2alpha1::DataDownload;
use caravel_api::{label_value, labels};
use caravel_controllers::decoded;
use jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::super::connection::Global;
use super::super::describe::artifacts::Read;
use super::super::describe::restore::{Described, text};
use super::super::describe::stuck::{self, Movement};
use super::super::describe::words;
use super::super::download::{DEADLINE, Downloader, location_of};
use super::super::failure::Outcome;
use super::super::flags::boolean;
use super::super::output::emit;

/// Describe restores.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Names of restores; all of them when none is given.
    names: Vec<String>,
    /// Everything: operations, resources, volumes.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    details: Option<bool>,
    /// File with the certificates to trust when talking to the object store [default: the location's own].
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let client = global.client().await?;
    let api: Api<Restore> = Api::namespaced(client.clone(), &namespace);
    let mut restores = words::fetch(&api, &namespace, "restore", &args.names).await?;
    restores.sort_by_key(ResourceExt::name_any);
    if restores.is_empty() {
        return emit("No restores found\n");
    }
    let details = args.details.unwrap_or(false);
    for (at, restore) in restores.into_iter().enumerate() {
        let described = describe(&client, &namespace, restore, args, details).await?;
        let parting = if at == 0 { "" } else { "\n\n" };
        emit(&format!(
            "{parting}{}",
            text(&described, details, global.colours())
        ))?;
    }
    Ok(())
}

async fn describe(
    client: &Client,
    namespace: &str,
    restore: Restore,
    args: &Args,
    details: bool,
) -> Outcome<Described> {
    let phase = restore.phase();
    let waits_for = waits_for(client, namespace, &restore).await;
    let mut described = Described {
        results: Read::Absent,
        operations: Read::Absent,
        resource_list: Read::Absent,
        volumes: Read::Absent,
        waits_for,
        restore,
    };
    if !has_files(&phase) {
        return Ok(described);
    }
    let name = described.restore.name_any();
    let location = location_of(client, namespace, &described.restore.spec.backup_name).await;
    let files = Downloader::new(
        client.clone(),
        namespace,
        &location,
        args.cacert.as_deref(),
        DEADLINE,
    )
    .await?;
    described.results = files.json(DownloadTargetKind::RestoreResults, &name).await;
    described.volumes = files.json(DownloadTargetKind::RestoreVolumeInfo, &name).await;
    if details {
        described.operations = files.json(DownloadTargetKind::RestoreItemOperations, &name).await;
        described.resource_list = files.json(DownloadTargetKind::RestoreResourceList, &name).await;
    }
    Ok(described)
}

/// True when the bucket holds the restore's files: it has got past creating items.
fn has_files(phase: &RestorePhase) -> bool {
    use RestorePhase::{Failed, FailedValidation, InProgress, New};
    !matches!(phase, New | FailedValidation | InProgress | Failed)
}

async fn waits_for(client: &Client, namespace: &str, restore: &Restore) -> Vec<String> {
    let phase = restore.phase();
    let created = restore.metadata.creation_timestamp.as_ref();
    let movements = if phase == RestorePhase::Completed {
        Vec::new()
    } else {
        movements(client, namespace, restore).await
    };
    stuck::restore(&phase, created, namespace, &movements, Timestamp::now())
}

async fn movements(client: &Client, namespace: &str, restore: &Restore) -> Vec<Movement> {
    let api: Api<DataDownload> = Api::namespaced(client.clone(), namespace);
    let ours = ListParams::default().labels(&format!(
        "{}={}",
        labels::RESTORE_NAME,
        label_value(&restore.name_any())
    ));
    // Best effort: what waits is told as far as it can be read.
    decoded::list(&api, &ours)
        .await
        .map(|(downloads, _)| downloads.iter().map(Movement::from).collect())
        .unwrap_or_default()
}
