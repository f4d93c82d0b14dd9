//! `velero node-agent server`: the controllers that move data, one pod per node.
//!
//! Flags and variables are Velero's (velero-behaviour.md 5.8); what they start is `controllers/src/data_upload/` and
//! `controllers/src/data_download/`; the ConfigMap of `--node-agent-configmap` is read and followed by
//! `controllers/src/node_agent_configuration/`.

use std::sync::Arc;

use anyhow::Context as _;
use caravel_controllers::context::Context;
use caravel_controllers::data_movement::{Policy, PrepareQueue, Shared, Slots, hold_running};
use caravel_controllers::node_agent_configuration::{self, Follower};
use caravel_controllers::{data_download, data_upload};
use tokio_util::task::AbortOnDropHandle;

use crate::process::Process;

/// Flags of `velero node-agent server`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    pub logging: Logging,
    /// How long to wait for resource processes which are not covered by other specific timeout parameters.
    #[arg(long, default_value = "10m0s")]
    pub resource_timeout: caravel_api::Duration,
    /// How long to wait for preparing a DataUpload/DataDownload.
    #[arg(long, default_value = "30m0s")]
    pub data_mover_prepare_timeout: caravel_api::Duration,
    /// The address to expose prometheus metrics.
    #[arg(long, default_value = ":8085")]
    pub metrics_address: String,
    /// The name of ConfigMap containing node-agent configurations.
    #[arg(long, default_value = "")]
    pub node_agent_configmap: String,
    /// Accepted without effect: each BackupRepository says what the server has read there.
    #[arg(long, default_value = "")]
    pub backup_repository_configmap: String,
    /// List of feature flags.
    #[arg(long, default_value = "")]
    pub features: String,
}

/// How a process of ours logs.
#[derive(clap::Args, Clone, Debug)]
pub struct Logging {
    /// The level at which to log.
    #[arg(long, default_value = "info", value_parser = ["trace", "debug", "info", "warning", "warn", "error", "fatal", "panic"])]
    pub log_level: String,
    /// The format for log output.
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,
}

impl Logging {
    /// Logs to standard error, as these flags say.
    pub fn start(&self) {
        let level = match self.log_level.as_str() {
            "trace" => "trace",
            "debug" => "debug",
            "warning" | "warn" => "warn",
            "error" | "fatal" | "panic" => "error",
            _ => "info",
        };
        // Libraries are heard from warnings on, except when everything is wanted.
        let quiet = if level == "trace" { "trace" } else { "warn" };
        let filter = format!(
            "{quiet},velero={level},caravel_controllers={level},caravel_exposer={level},caravel_data_mover={level},caravel_uploader={level},caravel_repository={level},caravel_backup_repository={level}"
        );
        let lines = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false);
        // It fails only when a subscriber is set already, which then logs instead.
        let _ = if self.log_format == "json" {
            lines.json().try_init()
        } else {
            lines.try_init()
        };
    }
}

/// Runs as this process, until SIGTERM or SIGINT.
pub async fn main(args: Args) -> anyhow::Result<()> {
    args.logging.start();
    run(args, Process::of_machine().await?.until_signal()?).await
}

/// Runs until it is told to end; dropped, it takes its controllers along.
pub async fn run(args: Args, process: Process) -> anyhow::Result<()> {
    let (shared, follower) = tokio::select! {
        biased;
        prepared = prepare(&args, &process) => prepared?,
        () = process.shutdown.cancelled() => return Ok(()),
    };
    let shutdown = &process.shutdown;
    let follows = follower.map(|follower| node_agent_configuration::spawn(follower, shutdown.clone()));
    let controllers: Vec<_> = [
        data_upload::spawn(shared.clone(), shutdown.clone()),
        data_download::spawn(shared, shutdown.clone()),
    ]
    .into_iter()
    .chain(follows)
    .map(AbortOnDropHandle::new)
    .collect();
    shutdown.cancelled().await;
    tracing::info!("node agent stops");
    for controller in controllers {
        controller.await.context("a controller ended abnormally")?;
    }
    Ok(())
}

/// What the controllers share, and what keeps their configuration up to date.
async fn prepare(args: &Args, process: &Process) -> anyhow::Result<(Shared, Option<Follower>)> {
    let node = process
        .variable("NODE_NAME")
        .context("variable NODE_NAME is not set; the DaemonSet sets it from spec.nodeName")?;
    let namespace = process
        .variable("VELERO_NAMESPACE")
        .unwrap_or_else(|| "velero".into());
    let context = Context::new(process.client.clone(), namespace.clone(), process.credentials())
        .over(process.stores.clone(), process.environment.clone());
    let (slots, queue) = (Arc::new(Slots::new(1)), Arc::new(PrepareQueue::default()));
    let configmap = &args.node_agent_configmap;
    let follower = if configmap.is_empty() {
        None
    } else {
        Some(Follower::begin(context.clone(), configmap, &node, slots.clone(), queue.clone()).await?)
    };
    let shared = Shared {
        context,
        policy: Arc::new(Policy::for_node(&node, "linux", *args.data_mover_prepare_timeout)),
        slots,
        queue,
        in_force: follower.as_ref().map(Follower::in_force).unwrap_or_default(),
        resource_timeout: *args.resource_timeout,
    };
    hold_running(&shared).await.map_err(|error| {
        anyhow::anyhow!("cannot list DataUploads and DataDownloads in namespace {namespace}: {error}")
    })?;
    tracing::info!(%node, %namespace, %configmap, "node agent starts");
    Ok((shared, follower))
}
