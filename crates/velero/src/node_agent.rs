//! `velero node-agent server`: the controllers that move data, one pod per node.
//!
//! Flags and variables are Velero's (velero-behaviour.md 5.8); what they start is `controllers/src/data_upload/` and
//! `controllers/src/data_download/`. Of the node agent's ConfigMap this version honours `loadConcurrency.globalConfig`
//! and says so about the rest.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use caravel_controllers::context::Context;
use caravel_controllers::data_movement::{Policy, Shared, Slots, hold_running};
use caravel_controllers::{data_download, data_upload};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use serde::Deserialize;
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
    let shared = tokio::select! {
        biased;
        prepared = prepare(&args, &process) => prepared?,
        () = process.shutdown.cancelled() => return Ok(()),
    };
    let shutdown = &process.shutdown;
    let controllers = [
        data_upload::spawn(shared.clone(), shutdown.clone()),
        data_download::spawn(shared, shutdown.clone()),
    ]
    .map(AbortOnDropHandle::new);
    shutdown.cancelled().await;
    tracing::info!("node agent stops");
    for controller in controllers {
        controller.await.context("a controller ended abnormally")?;
    }
    Ok(())
}

async fn prepare(args: &Args, process: &Process) -> anyhow::Result<Shared> {
    let node = process
        .variable("NODE_NAME")
        .context("variable NODE_NAME is not set; the DaemonSet sets it from spec.nodeName")?;
    let namespace = process
        .variable("VELERO_NAMESPACE")
        .unwrap_or_else(|| "velero".into());
    let client = process.client.clone();
    let limit = load_concurrency(&client, &namespace, &args.node_agent_configmap).await?;
    let shared = Shared {
        context: Context::new(client, namespace.clone(), process.credentials())
            .over(process.stores.clone(), process.environment.clone()),
        policy: Arc::new(Policy::for_node(&node, "linux", *args.data_mover_prepare_timeout)),
        slots: Arc::new(Slots::new(limit)),
        resource_timeout: *args.resource_timeout,
    };
    hold_running(&shared).await.map_err(|error| {
        anyhow::anyhow!("cannot list DataUploads and DataDownloads in namespace {namespace}: {error}")
    })?;
    tracing::info!(%node, %namespace, concurrency = limit, "node agent starts");
    Ok(shared)
}

/// The ConfigMap's one JSON value, as far as this version reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    load_concurrency: LoadConcurrency,
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LoadConcurrency {
    global_config: usize,
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, serde_json::Value>,
}

/// Data movements at once on this node; 1 unless the ConfigMap says otherwise.
async fn load_concurrency(client: &Client, namespace: &str, configmap: &str) -> anyhow::Result<usize> {
    if configmap.is_empty() {
        return Ok(1);
    }
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let Some(found) = api
        .get_opt(configmap)
        .await
        .with_context(|| format!("cannot read ConfigMap {namespace}/{configmap}"))?
    else {
        tracing::warn!(%configmap, "the node agent's ConfigMap does not exist, defaults are used");
        return Ok(1);
    };
    let data = found.data.unwrap_or_default();
    let Some(text) = data.values().next().filter(|_| data.len() == 1) else {
        bail!(
            "ConfigMap {namespace}/{configmap} must have exactly one key with JSON, it has {}",
            data.len()
        );
    };
    let read = configuration(text)
        .with_context(|| format!("ConfigMap {namespace}/{configmap} is not the JSON expected"))?;
    for key in read.rest.keys().chain(read.load_concurrency.rest.keys()) {
        tracing::warn!(%configmap, %key, "this version does not honour this setting of the node agent yet");
    }
    Ok(read.load_concurrency.global_config.max(1))
}

fn configuration(text: &str) -> serde_json::Result<Configuration> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configmap_says_how_many_data_movers_run_at_once() {
        let read =
            configuration(r#"{"loadConcurrency":{"globalConfig":3,"perNodeConfig":[]},"podResources":{}}"#)
                .unwrap();
        assert_eq!(read.load_concurrency.global_config, 3);
        assert!(read.rest.contains_key("podResources"));
        assert!(read.load_concurrency.rest.contains_key("perNodeConfig"));
    }
}
