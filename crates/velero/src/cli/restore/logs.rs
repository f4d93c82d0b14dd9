//! `velero restore logs NAME`.

use std::path::PathBuf;

use caravel_api::v1::{DownloadTargetKind, Restore, RestorePhase};
use kube::api::Api;

use super::super::connection::Global;
use super::super::describe::words;
use super::super::download::{Downloader, location_of};
use super::super::failure::{Failure, Outcome};
use super::super::flags::duration;
use super::super::output::emit;

/// Get the logs of a restore.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the restore.
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
    let api: Api<Restore> = Api::namespaced(client.clone(), &namespace);
    let restore = words::one(&api, &namespace, "restore", name).await?;
    has_logs(&restore, name)?;
    let location = location_of(&client, &namespace, &restore.spec.backup_name).await;
    let files = Downloader::new(
        client,
        &namespace,
        &location,
        args.cacert.as_deref(),
        *args.timeout,
    )
    .await?;
    let log = files.bytes(DownloadTargetKind::RestoreLog, name).await?;
    emit(&String::from_utf8_lossy(&log))
}

fn has_logs(restore: &Restore, name: &str) -> Outcome {
    let describe = format!("velero restore describe {name}");
    match restore.phase() {
        RestorePhase::FailedValidation => {
            Err(Failure::new(format!("restore \"{name}\" was refused before it started, so it has no logs")).next(describe))
        }
        RestorePhase::New | RestorePhase::InProgress => Err(Failure::new(format!(
            "logs for restore \"{name}\" are not available until it's finished processing, please wait until the restore has a phase of Completed or Failed and try again"
        ))
        .next(describe)),
        _ => Ok(()),
    }
}
