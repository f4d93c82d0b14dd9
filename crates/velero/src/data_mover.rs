//! `velero data-mover backup|restore`: what a data mover pod runs. Flags, variables and mounts are set by
//! `crates/exposer/src/mover_pod.rs`; the work is `crates/data-mover`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use caravel_api::repository_config::DEFAULT_CACHE_LIMIT_MB;
use caravel_data_mover::{CacheVolume, Exit, Settings, VolumeMode};
use caravel_exposer::cache_volume::CACHE_LIMIT_VARIABLE;
use caravel_exposer::mover_pod::{COMPRESSION_VARIABLE, LOCATION_VARIABLE, REPOSITORY_FOLDER};

use crate::node_agent::Logging;
use crate::process::Process;

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
    /// The full path of the cache volume.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub cache_volume_path: String,
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

impl Command {
    /// Name of the DataUpload or DataDownload, and the rest.
    fn parts(&self) -> (&str, &VolumeArgs) {
        match self {
            Self::Backup(args) => (&args.data_upload, &args.volume),
            Self::Restore(args) => (&args.data_download, &args.volume),
        }
    }

    /// Where a restore has its cache volume. Velero's node agent says `--cache-volume-path=` where there is none.
    fn cache_path(&self) -> Option<&str> {
        match self {
            Self::Backup(_) => None,
            Self::Restore(args) => Some(args.cache_volume_path.as_str()).filter(|path| !path.is_empty()),
        }
    }
}

/// Runs one movement as this process; an error makes the exit code 1.
pub async fn main(command: Command) -> anyhow::Result<()> {
    command.parts().1.logging.start();
    run(command, Process::of_machine().await?).await
}

/// Runs one movement. A pod has no grace period, so it ends at once when it is to end.
pub async fn run(command: Command, process: Process) -> anyhow::Result<()> {
    let settings = settings(&command, &process)?;
    let moved = async {
        let client = process.client.clone();
        match command {
            Command::Backup(_) => caravel_data_mover::backup(client, &settings).await,
            Command::Restore(_) => caravel_data_mover::restore(client, &settings).await,
        }
    };
    let exit = tokio::select! {
        biased;
        exit = moved => exit,
        () = process.shutdown.cancelled() => bail!("{}: the data mover was told to end", settings.name),
    };
    match exit {
        Exit::Success => Ok(()),
        Exit::Failure => bail!(
            "{}: the data movement did not complete; its reason is in the log line before and in the object's events",
            settings.name
        ),
    }
}

fn settings(command: &Command, process: &Process) -> anyhow::Result<Settings> {
    let (name, volume) = command.parts();
    let variable = |name: &str| {
        process.variable(name).with_context(|| {
            format!("variable {name} is not set; a data mover runs in a pod that the node agent makes")
        })
    };
    Ok(Settings {
        namespace: variable("VELERO_NAMESPACE")?,
        name: name.to_owned(),
        volume_path: volume.volume_path.clone(),
        volume: process.on_machine(&volume.volume_path),
        volume_mode: if volume.volume_mode == "Block" {
            VolumeMode::Block
        } else {
            VolumeMode::Filesystem
        },
        volumes: process.volumes.clone(),
        node: process.variable("NODE_NAME").unwrap_or_default(),
        location: variable(LOCATION_VARIABLE)?,
        credentials: process.credentials(),
        password_file: process.on_machine(Path::new(REPOSITORY_FOLDER).join("password")),
        termination_log: process.termination_log.clone(),
        stores: process.stores.clone(),
        environment: process.environment.clone(),
        enable_compression: process.variable(COMPRESSION_VARIABLE).as_deref() == Some("true"),
        cache: command.cache_path().map(|path| cache(path, process)),
    })
}

fn cache(path: &str, process: &Process) -> CacheVolume {
    let limit = process.variable(CACHE_LIMIT_VARIABLE);
    CacheVolume {
        folder: process.on_machine(path),
        limit_mb: limit
            .and_then(|limit| limit.parse().ok())
            .unwrap_or(DEFAULT_CACHE_LIMIT_MB),
    }
}
