//! `velero backup logs NAME`.

use std::path::PathBuf;

use caravel_api::v1::{Backup, BackupPhase, DownloadTargetKind};
use kube::api::Api;

use super::super::connection::Global;
use super::super::describe::words;
use super::super::download::Downloader;
use super::super::failure::{Failure, Outcome};
use super::super::flags::duration;
use super::super::output::emit;

/// Get the logs of a backup.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the backup.
    name: String,
    /// How long the server may take to answer.
    #[arg(long, default_value = "1m", value_parser = duration)]
    timeout: caravel_api::Duration,
    /// File with the certificates to trust when talking to the object store [default: the location's own].
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let (namespace, name) = (global.namespace(), &args.name);
    let client = global.client().await?;
    let api: Api<Backup> = Api::namespaced(client.clone(), &namespace);
    let backup = words::one(&api, &namespace, "backup", name).await?;
    has_logs(&backup, name)?;
    let files = Downloader::new(
        client,
        &namespace,
        &backup.spec.storage_location,
        args.cacert.as_deref(),
        *args.timeout,
    )
    .await?;
    let log = files.bytes(DownloadTargetKind::BackupLog, name).await?;
    emit(&String::from_utf8_lossy(&log))
}

fn has_logs(backup: &Backup, name: &str) -> Outcome {
    let describe = format!("velero backup describe {name}");
    match backup.phase() {
        BackupPhase::FailedValidation => {
            Err(Failure::new(format!("backup \"{name}\" was refused before it started, so it has no logs")).next(describe))
        }
        BackupPhase::New | BackupPhase::Queued | BackupPhase::ReadyToStart | BackupPhase::InProgress => Err(Failure::new(format!(
            "logs for backup \"{name}\" are not available until it's finished processing, please wait until the backup has a phase of Completed or Failed and try again"
        ))
        .next(describe)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use caravel_api::v1::{BackupSpec, BackupStatus};

    #[test]
    fn a_backup_that_still_runs_has_no_logs_yet() {
        let mut backup = Backup::new("b1", BackupSpec::default());
        backup.status = Some(BackupStatus {
            phase: Some(BackupPhase::InProgress),
            ..BackupStatus::default()
        });
        assert!(
            has_logs(&backup, "b1")
                .unwrap_err()
                .to_string()
                .contains("not available until it's finished")
        );
        backup.status = Some(BackupStatus {
            phase: Some(BackupPhase::WaitingForPluginOperations),
            ..BackupStatus::default()
        });
        assert!(has_logs(&backup, "b1").is_ok());
    }
}
