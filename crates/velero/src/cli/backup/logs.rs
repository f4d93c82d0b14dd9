//! `velero backup logs NAME`; the fetch is in `cli/files.rs`.

use std::path::PathBuf;

use caravel_api::v1::Backup;

use super::super::connection::Global;
use super::super::failure::Outcome;
use super::super::files;
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
    let (namespace, client) = (global.namespace(), global.client().await?);
    let cacert = args.cacert.as_deref();
    emit(&files::log::<Backup>(&client, &namespace, &args.name, cacert, *args.timeout).await?)
}
