//! `velero data-mover backup|restore`: what a data mover pod runs. Flags, variables and mounts are set by
//! `crates/exposer/src/mover_pod.rs`; the work is `crates/data-mover`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use caravel_data_mover::{Exit, Settings, VolumeMode};
use kube::Client;

use crate::node_agent::Logging;

/// The two directions.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Run the velero data-mover backup.
    Backup(BackupArgs),
    /// Run the velero data-mover restore.
    Restore(RestoreArgs),
}

/// Flags of `velero data-mover backup`.
#[derive(clap::Args, Debug)]
pub struct BackupArgs {
    /// The data upload name.
    #[arg(long)]
    pub data_upload: String,
    #[command(flatten)]
    pub volume: VolumeArgs,
}

/// Flags of `velero data-mover restore`.
#[derive(clap::Args, Debug)]
pub struct RestoreArgs {
    /// The data download name.
    #[arg(long)]
    pub data_download: String,
    #[command(flatten)]
    pub volume: VolumeArgs,
}

/// Flags of both.
#[derive(clap::Args, Debug)]
pub struct VolumeArgs {
    /// The full path of the volume.
    #[arg(long)]
    pub volume_path: PathBuf,
    /// The mode of the volume.
    #[arg(long, value_parser = ["Filesystem", "Block"])]
    pub volume_mode: String,
    /// How long to wait for resource processes which are not covered by other specific timeout parameters.
    #[arg(long, default_value = "10m0s")]
    pub resource_timeout: caravel_api::Duration,
    #[command(flatten)]
    pub logging: Logging,
}

/// Runs one movement; an error makes the exit code 1.
pub async fn run(command: Command) -> anyhow::Result<()> {
    let (name, volume) = match &command {
        Command::Backup(args) => (&args.data_upload, &args.volume),
        Command::Restore(args) => (&args.data_download, &args.volume),
    };
    volume.logging.start();
    let variable = |name: &str| {
        std::env::var(name).with_context(|| {
            format!("variable {name} is not set; a data mover runs in a pod that the node agent makes")
        })
    };
    let settings = Settings {
        namespace: variable("VELERO_NAMESPACE")?,
        name: name.clone(),
        volume_path: volume.volume_path.clone(),
        volume_mode: if volume.volume_mode == "Block" {
            VolumeMode::Block
        } else {
            VolumeMode::Filesystem
        },
        node: std::env::var("NODE_NAME").unwrap_or_default(),
        location: variable("CARAVEL_LOCATION")?,
        password_file: "/repository/password".into(),
        termination_log: "/dev/termination-log".into(),
    };
    let client = Client::try_default()
        .await
        .context("cannot reach the Kubernetes API")?;
    let exit = match command {
        Command::Backup(_) => caravel_data_mover::backup(client, &settings).await,
        Command::Restore(_) => caravel_data_mover::restore(client, &settings).await,
    };
    match exit {
        Exit::Success => Ok(()),
        Exit::Failure => bail!(
            "{name}: the data movement did not complete; its reason is in the log line before and in the object's events"
        ),
    }
}
