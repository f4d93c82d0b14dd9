//! `velero backup describe [NAMES]`: reads the object, the bucket's files and the data movements; the text is made in
//! `cli/describe/backup.rs`.

use std::path::PathBuf;

use caravel_api::v1::{Backup, BackupPhase, DownloadTargetKind};
use caravel_api::v2alpha1::DataUpload;
use caravel_api::{label_value, labels};
use caravel_controllers::decoded;
use jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::super::connection::Global;
use super::super::describe::artifacts::Read;
use super::super::describe::backup::{Described, text};
use super::super::describe::stuck::{self, Movement};
use super::super::describe::words;
use super::super::download::{DEADLINE, Downloader};
use super::super::failure::Outcome;
use super::super::flags::boolean;
use super::super::output::emit;

/// Describe backups.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Names of backups; all of them when none is given.
    names: Vec<String>,
    /// Everything: operations, resources, volumes, every error and warning.
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
    let api: Api<Backup> = Api::namespaced(client.clone(), &namespace);
    let mut backups = words::fetch(&api, &namespace, "backup", &args.names).await?;
    super::get::sort(&mut backups);
    if backups.is_empty() {
        return emit("No backups found\n");
    }
    let details = args.details.unwrap_or(false);
    for (at, backup) in backups.into_iter().enumerate() {
        let described = describe(&client, &namespace, backup, args, details).await?;
        // Velero parts several backups by two empty lines.
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
    backup: Backup,
    args: &Args,
    details: bool,
) -> Outcome<Described> {
    let phase = backup.phase();
    let waits_for = waits_for(client, namespace, &backup).await;
    let mut described = Described {
        results: Read::Absent,
        operations: Read::Absent,
        resource_list: Read::Absent,
        volumes: Read::Absent,
        waits_for,
        backup,
    };
    if !has_files(&phase) {
        return Ok(described);
    }
    let name = described.backup.name_any();
    let location = described.backup.spec.storage_location.clone();
    let files = Downloader::new(
        client.clone(),
        namespace,
        &location,
        args.cacert.as_deref(),
        DEADLINE,
    )
    .await?;
    described.volumes = files.json(DownloadTargetKind::BackupVolumeInfos, &name).await;
    if details {
        described.results = files.json(DownloadTargetKind::BackupResults, &name).await;
        described.operations = files.json(DownloadTargetKind::BackupItemOperations, &name).await;
        described.resource_list = files.json(DownloadTargetKind::BackupResourceList, &name).await;
    }
    Ok(described)
}

/// True when the bucket holds the backup's files: it has got past collecting items.
fn has_files(phase: &BackupPhase) -> bool {
    use BackupPhase::{Deleting, Failed, FailedValidation, InProgress, New, Queued, ReadyToStart};
    !matches!(
        phase,
        New | Queued | ReadyToStart | FailedValidation | InProgress | Failed | Deleting
    )
}

async fn waits_for(client: &Client, namespace: &str, backup: &Backup) -> Vec<String> {
    let phase = backup.phase();
    let created = backup.metadata.creation_timestamp.as_ref();
    let movements = if phase == BackupPhase::Completed {
        Vec::new()
    } else {
        movements(client, namespace, backup).await
    };
    stuck::backup(&phase, created, namespace, &movements, Timestamp::now())
}

async fn movements(client: &Client, namespace: &str, backup: &Backup) -> Vec<Movement> {
    let api: Api<DataUpload> = Api::namespaced(client.clone(), namespace);
    let ours = ListParams::default().labels(&format!(
        "{}={}",
        labels::BACKUP_NAME,
        label_value(&backup.name_any())
    ));
    // Best effort: what waits is told as far as it can be read.
    decoded::list(&api, &ours)
        .await
        .map(|(uploads, _)| uploads.iter().map(Movement::from).collect())
        .unwrap_or_default()
}
