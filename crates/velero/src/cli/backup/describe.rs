//! `velero backup describe [NAMES]`: reads the object, the bucket's files and the data movements; the text is made in
//! `cli/describe/backup.rs`.

use std::path::{Path, PathBuf};

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupPhase};
use caravel_api::v2alpha1::DataUpload;
use jiff::Timestamp;
use kube::api::Api;
use kube::{Client, ResourceExt};

use super::super::connection::Global;
use super::super::describe::backup::{Described, text};
use super::super::describe::stuck;
use super::super::describe::words;
use super::super::failure::Outcome;
use super::super::files;
use super::super::flags::boolean;
use super::super::listing::Which;
use super::super::output::emit;

/// Describe backups.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
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
    let mut backups = args.which.fetch(&api, &namespace, "backup").await?;
    super::get::sort(&mut backups);
    if backups.is_empty() {
        return emit("No backups found\n");
    }
    let details = args.details.unwrap_or(false);
    for (at, backup) in backups.into_iter().enumerate() {
        let described = described(&client, &namespace, backup, args.cacert.as_deref(), details).await?;
        // Velero parts several backups by two empty lines.
        let parting = if at == 0 { "" } else { "\n\n" };
        emit(&format!(
            "{parting}{}",
            text(&described, details, global.colours())
        ))?;
    }
    Ok(())
}

/// One backup with all details, without colours: for `velero debug`.
pub async fn one(client: &Client, namespace: &str, name: &str) -> Outcome<String> {
    let api: Api<Backup> = Api::namespaced(client.clone(), namespace);
    let backup = words::one(&api, namespace, "backup", name).await?;
    let described = described(client, namespace, backup, None, true).await?;
    Ok(text(&described, true, false))
}

async fn described(
    client: &Client,
    namespace: &str,
    backup: Backup,
    cacert: Option<&Path>,
    details: bool,
) -> Outcome<Described> {
    Ok(Described {
        files: files::read(client, namespace, &backup, cacert, details).await?,
        waits_for: waits_for(client, namespace, &backup).await,
        backup,
    })
}

async fn waits_for(client: &Client, namespace: &str, backup: &Backup) -> Vec<String> {
    let phase = backup.phase();
    let created = backup.metadata.creation_timestamp.as_ref();
    let movements = if phase == BackupPhase::Completed {
        Vec::new()
    } else {
        stuck::movements::<DataUpload>(client, namespace, labels::BACKUP_NAME, &backup.name_any()).await
    };
    stuck::backup(&phase, created, namespace, &movements, Timestamp::now())
}
