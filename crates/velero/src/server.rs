//! `velero server`: the list of controllers it starts, one line each.
//!
//! Flags are Velero's (velero-behaviour.md 9.1). A flag of something that this version does not have is accepted only
//! when ignoring it changes nothing (a connection limit, the interval of a job that does not exist yet); otherwise it
//! is refused. Start-up: namespace, metrics, the Lease (one server acts, others wait here), repository password, the data
//! mover's rights, what a former server left behind (`backup::recover`), controllers.

mod ensure;
mod metrics;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use caravel_api::labels;
use caravel_controllers::context::Context;
use caravel_controllers::lease::Candidate;
use caravel_controllers::lease::decide::Identity;
use caravel_controllers::restore::Priorities;
use caravel_controllers::{
    backup, backup_deletion, backup_finalizer, backup_operations, backup_queue, backup_repository,
    backup_storage_location, backup_sync, download_request, gc, repository_password, restore,
    restore_finalizer, restore_operations, schedule, server_status_request, snapshot_objects,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::node_agent::Logging;
use crate::process::Process;

/// Flags of `velero server`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    logging: Logging,
    /// The address to expose prometheus metrics.
    #[arg(long, default_value = ":8085")]
    metrics_address: String,
    /// List of feature flags.
    #[arg(long, default_value = "", value_delimiter = ',')]
    features: Vec<String>,
    /// List of controllers to disable on startup.
    #[arg(long, value_delimiter = ',')]
    disable_controllers: Vec<String>,
    /// Name of the default backup storage location (deprecated: set spec.default of the location).
    #[arg(long, default_value = "default")]
    default_backup_storage_location: String,
    /// How often to verify if the storage is valid.
    #[arg(long, default_value = "1m0s")]
    store_validation_frequency: caravel_api::Duration,
    /// Page size of requests by the server to the Kubernetes API when listing objects during a backup; 0 for no paging.
    #[arg(long, default_value_t = 500)]
    client_page_size: u32,
    /// How long to wait on persistent volumes and namespaces to terminate during a restore before timing out.
    #[arg(long, default_value = "10m0s")]
    terminating_resource_timeout: caravel_api::Duration,
    /// ConfigMap in Velero's namespace with volume policies that hold for every backup, after its own.
    #[arg(long)]
    global_backup_volume_policies_configmap: Option<String>,
    /// VolumeSnapshotLocation of each provider that has several: provider1:location1,provider2:location2.
    #[arg(long, default_value = "", value_parser = crate::cli::flags::pairs)]
    default_volume_snapshot_locations: BTreeMap<String, String>,
    /// Order in which resources are restored: first what stands before "-", last what stands after it, the others between.
    #[arg(long)]
    restore_resource_priorities: Option<Priorities>,
    /// How long to wait by default before backups can be garbage collected.
    #[arg(long, default_value = "720h0m0s")]
    default_backup_ttl: caravel_api::Duration,
    /// Label key that groups PVCs into a volume group snapshot.
    #[arg(long, default_value = labels::VOLUME_GROUP)]
    volume_group_snapshot_label_key: String,
    /// At least how long between two saves of the progress of running item operations; 0 for 10s.
    #[arg(long, default_value = "0s")]
    item_operation_sync_frequency: caravel_api::Duration,
    /// How long to wait on asynchronous item operations to complete before timing out.
    #[arg(long, default_value = "4h0m0s")]
    default_item_operation_timeout: caravel_api::Duration,
    /// How long to wait for resource processes which are not covered by other specific timeout parameters.
    #[arg(long, default_value = "10m0s")]
    resource_timeout: caravel_api::Duration,
    /// Move data by default for all snapshots supporting data movement.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    default_snapshot_move_data: bool,
    /// Number of backups that run at the same time.
    #[arg(long, default_value = "1")]
    concurrent_backups: NonZeroUsize,
    /// Type of uploader to handle the transfer of data of pod volumes; only kopia.
    #[arg(long, default_value = "kopia", value_parser = ["kopia"])]
    uploader_type: String,
    #[command(flatten)]
    without_effect: WithoutEffect,
    #[command(flatten)]
    not_yet: NotYet,
    /// What becomes of VolumeSnapshots and VolumeSnapshotContents whose snapshots stay in the storage when a backup ends.
    #[arg(long, value_enum, default_value = "remove")]
    csi_snapshot_objects: SnapshotObjects,
    /// How often a location is looked at for backups that the cluster does not have; 0 turns it off.
    #[arg(long, default_value = "1m0s")]
    backup_sync_period: caravel_api::Duration,
    /// How often expired backups are looked for; 0 means an hour.
    #[arg(long, default_value = "0s")]
    garbage_collection_frequency: caravel_api::Duration,
    /// How often backup repositories are maintained that do not say it themselves; 0 means an hour.
    #[arg(long, default_value = "0s")]
    default_repo_maintain_frequency: caravel_api::Duration,
    /// ConfigMap in Velero's namespace with the configuration of new backup repositories.
    #[arg(long, default_value = "")]
    backup_repository_configmap: String,
    /// ConfigMap in Velero's namespace with the configuration of maintenance Jobs.
    #[arg(long, default_value = "")]
    repo_maintenance_job_configmap: String,
    /// Schedules that do not say it skip the backup that is due right after they are made.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    schedule_skip_immediately: bool,
}

/// `--csi-snapshot-objects`, also of `velero install`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SnapshotObjects {
    /// They are removed: only the backup knows of the snapshots.
    Remove,
    /// They stay until the backup is deleted or expires, and clusters with the same bucket get a VolumeSnapshotContent of each
    /// snapshot; all of them say Retain.
    Keep,
}

impl SnapshotObjects {
    /// As it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Keep => "keep",
        }
    }
}

impl From<SnapshotObjects> for snapshot_objects::SnapshotObjects {
    fn from(flag: SnapshotObjects) -> Self {
        match flag {
            SnapshotObjects::Remove => Self::Remove,
            SnapshotObjects::Keep => Self::Keep,
        }
    }
}

/// Accepted, because ignoring them changes nothing here.
#[derive(clap::Args, Debug)]
#[allow(dead_code)]
struct WithoutEffect {
    /// Accepted without effect: the stores are built in.
    #[arg(long, default_value = "/plugins")]
    plugin_dir: String,
    /// Accepted without effect: there is no pprof.
    #[arg(long, default_value = "localhost:6060")]
    profiler_address: String,
    /// Accepted without effect: this version does not have file system backup yet.
    #[arg(long, default_value = "4h0m0s")]
    fs_backup_timeout: caravel_api::Duration,
    /// Accepted without effect: requests are not limited here, the API server's own fairness is.
    #[arg(long, default_value_t = 100.0)]
    client_qps: f32,
    /// Accepted without effect, as --client-qps.
    #[arg(long, default_value_t = 100)]
    client_burst: u32,
    /// Accepted without effect, as --client-qps.
    #[arg(long, default_value_t = 30)]
    max_concurrent_k8s_connections: u32,
    /// Accepted without effect: there is no informer cache.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    disable_informer_cache: bool,
    /// Accepted without effect: snapshots are taken at once, other items one after another.
    #[arg(long, default_value_t = 1)]
    item_block_worker_count: u32,
    /// Accepted without effect: output has no colours.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true")]
    colorized: bool,
}

/// Known, and refused when used: ignoring them would change what a backup holds or what a server does.
#[derive(clap::Args, Debug)]
struct NotYet {
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    restore_only: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    default_volumes_to_fs_backup: bool,
}

impl NotYet {
    fn used(&self) -> Option<&'static str> {
        let flags = [
            (self.restore_only, "--restore-only"),
            (
                self.default_volumes_to_fs_backup,
                "--default-volumes-to-fs-backup",
            ),
        ];
        flags.into_iter().find(|(used, _)| *used).map(|(_, flag)| flag)
    }
}

/// Velero's names; those that this version does not have can be disabled all the same.
const CONTROLLERS: [&str; 14] = [
    "backup",
    "backup-operations",
    "backup-deletion",
    "backup-finalizer",
    "backup-sync",
    "backup-queue",
    "download-request",
    "gc",
    "backup-repo",
    "restore",
    "restore-operations",
    "restore-finalizer",
    "schedule",
    "server-status-request",
];

/// The running process may take this long to end: Kubernetes kills it after 30 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Velero's default of `--garbage-collection-frequency`.
const HOUR: Duration = Duration::from_secs(3600);

/// Runs as this process, until SIGTERM or SIGINT.
pub async fn main(args: Args) -> anyhow::Result<()> {
    args.logging.start();
    args.check()?;
    run(args, Process::of_machine().await?.until_signal()?).await
}

impl Args {
    /// Refuses what this version cannot honour.
    fn check(&self) -> anyhow::Result<()> {
        if let Some(flag) = self.not_yet.used() {
            bail!("{flag}: this version does not have it yet; remove the flag");
        }
        let unknown = |name: &&String| !CONTROLLERS.contains(&name.as_str());
        if let Some(unknown) = self.disable_controllers.iter().find(unknown) {
            bail!(
                "--disable-controllers: unknown controller {unknown:?}; known are {}",
                CONTROLLERS.join(", ")
            );
        }
        Ok(())
    }
}

/// Runs until it is told to end, or another server may act; dropped, it takes its controllers along.
pub async fn run(args: Args, process: Process) -> anyhow::Result<()> {
    args.check()?;
    let namespace = process
        .variable("VELERO_NAMESPACE")
        .unwrap_or_else(|| labels::DEFAULT_NAMESPACE.to_owned());
    let context = Context::new(process.client.clone(), namespace.clone(), process.credentials())
        .over(process.stores.clone(), process.environment.clone());
    let mut candidate = Candidate::new(
        &process.client,
        namespace,
        identity(&process),
        context.clock.clone(),
    );
    let context = context.led_by(candidate.leadership());
    let shutdown = &process.shutdown;
    let first = async {
        ensure::namespace(&context.client, &context.namespace).await?;
        // Also of one that waits for the Lease: it is alive.
        let metrics = if process.has_address {
            let serving = metrics::serve(&context, &args.metrics_address, shutdown.clone()).await?;
            Some(AbortOnDropHandle::new(serving))
        } else {
            None
        };
        candidate.acquire().await;
        anyhow::Ok(metrics)
    };
    let _metrics = tokio::select! {
        biased;
        ready = first => ready?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let given_back = CancellationToken::new();
    let keeping = candidate.keep(given_back.clone()).in_current_span();
    let keeping = AbortOnDropHandle::new(tokio::spawn(keeping));
    let ended = tokio::select! {
        biased;
        lost = context.leadership.lost() => Err(lost.into()),
        ended = Box::pin(lead(&args, &context, &process)) => ended,
    };
    // Nothing of ours acts any more.
    given_back.cancel();
    let _ = keeping.await;
    ended
}

/// Tells this start of the server from others. In a pod a restarted container need not wait for itself.
fn identity(process: &Process) -> Identity {
    let in_cluster = process.variable("KUBERNETES_SERVICE_HOST").is_some();
    // In a pod, Velero's manifest has only the host name, which is the pod's; at a terminal that is the machine's.
    let host = || process.variable("HOSTNAME").filter(|_| in_cluster);
    let pod = process.variable("POD_NAME").or_else(host);
    let mut random = [0; 8];
    process.environment.randomness.fill(&mut random);
    Identity::new(
        pod.as_deref().filter(|pod| !pod.is_empty()),
        u64::from_le_bytes(random),
    )
}

/// What the one server does that holds the Lease.
async fn lead(args: &Args, context: &Context, process: &Process) -> anyhow::Result<()> {
    let shutdown = &process.shutdown;
    tokio::select! {
        biased;
        prepared = prepare(args, context) => prepared?,
        () = shutdown.cancelled() => return Ok(()),
    }
    let running = start(args, context, &process.scratch(), shutdown);
    let running: Vec<_> = running.into_iter().map(AbortOnDropHandle::new).collect();
    shutdown.cancelled().await;
    tracing::info!("server stops");
    let ended = async {
        for task in running {
            task.await.context("a part of the server ended abnormally")?;
        }
        Ok(())
    };
    match tokio::time::timeout(STOP_TIMEOUT, ended).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!(
                "some controllers still work; they are cut off, and their objects are taken up again at the next start"
            );
            Ok(())
        }
    }
}

/// What must be there before the first controller starts.
async fn prepare(args: &Args, context: &Context) -> anyhow::Result<()> {
    let (client, namespace) = (&context.client, context.namespace.as_str());
    ensure::repository_password(client, namespace).await?;
    ensure::data_mover_rights(client, namespace).await?;
    backup::recover(context)
        .await
        .map_err(|error| anyhow::anyhow!("cannot take over from a former server: {error}"))?;
    tracing::info!(%namespace, features = %args.features.join(","), "server starts");
    Ok(())
}

/// Starts the controllers that are not disabled.
fn start(
    args: &Args,
    context: &Context,
    scratch: &Path,
    shutdown: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    let enabled = |name: &str| !args.disable_controllers.iter().any(|disabled| disabled == name);
    let with = || (context.clone(), shutdown.clone());
    let mut running = Vec::new();
    let mut add = |name: &'static str, spawn: &dyn Fn(Context, CancellationToken) -> JoinHandle<()>| {
        if enabled(name) {
            let (context, shutdown) = with();
            running.push(spawn(context, shutdown));
        } else {
            tracing::info!(controller = name, "controller is disabled");
        }
    };
    // Cannot be disabled: nothing works without locations.
    add("backup-storage-location", &|c, s| {
        backup_storage_location::spawn(c, location_settings(args), s)
    });
    add("backup-queue", &|c, s| {
        backup_queue::spawn(c, queue_settings(args), s)
    });
    add("backup", &|c, s| {
        backup::spawn(c, backup_settings(args, scratch), s)
    });
    add("backup-operations", &|c, s| {
        backup_operations::spawn(c, operations_settings(args), s)
    });
    add("backup-finalizer", &|c, s| {
        backup_finalizer::spawn(c, end_settings(args, scratch), s)
    });
    add("backup-repo", &|c, s| {
        backup_repository::spawn(c, repository_settings(args), s)
    });
    add("repository-password", &repository_password::spawn);
    add("download-request", &download_request::spawn);
    add("backup-deletion", &|c, s| {
        backup_deletion::spawn(c, scratch.to_owned(), s)
    });
    add("backup-sync", &|c, s| {
        backup_sync::spawn(c, sync_settings(args), s)
    });
    add("gc", &|c, s| {
        gc::spawn(c, args.garbage_collection_frequency.or(HOUR), s)
    });
    add("schedule", &|c, s| {
        schedule::spawn(c, args.schedule_skip_immediately, s)
    });
    add("restore", &|c, s| {
        restore::spawn(c, restore_settings(args, scratch), s)
    });
    add("restore-operations", &restore_operations::spawn);
    add("restore-finalizer", &|c, s| {
        restore_finalizer::spawn(c, finalizer_settings(args), s)
    });
    add("server-status-request", &|c, s| {
        server_status_request::spawn(c, status_settings(args), s)
    });
    running
}

/// What `velero version` is told.
fn status_settings(args: &Args) -> server_status_request::Settings {
    server_status_request::Settings {
        server_version: crate::cli::version::own(),
        enable_csi: has_feature(args, labels::FEATURE_ENABLE_CSI),
    }
}

fn repository_settings(args: &Args) -> backup_repository::Settings {
    let named = |configmap: &String| (!configmap.is_empty()).then(|| configmap.clone());
    backup_repository::Settings {
        maintenance_frequency: args
            .default_repo_maintain_frequency
            .or(backup_repository::DEFAULT_MAINTENANCE_FREQUENCY),
        configmap: named(&args.backup_repository_configmap),
        job_configmap: named(&args.repo_maintenance_job_configmap),
        log_level: args.logging.log_level.clone(),
        log_format: args.logging.log_format.clone(),
    }
}

fn location_settings(args: &Args) -> backup_storage_location::Settings {
    backup_storage_location::Settings {
        validation_frequency: *args.store_validation_frequency,
    }
}

fn queue_settings(args: &Args) -> backup_queue::Settings {
    backup_queue::Settings {
        concurrent_backups: args.concurrent_backups,
    }
}

fn backup_settings(args: &Args, scratch: &Path) -> backup::Settings {
    backup::Settings {
        defaults: backup::defaults::Defaults {
            ttl: *args.default_backup_ttl,
            item_operation_timeout: *args.default_item_operation_timeout,
            resource_timeout: *args.resource_timeout,
            snapshot_move_data: args.default_snapshot_move_data,
            volumes_to_fs_backup: false,
            volume_group_label_key: args.volume_group_snapshot_label_key.clone(),
            snapshot_locations: args.default_volume_snapshot_locations.clone(),
            global_volume_policies: args
                .global_backup_volume_policies_configmap
                .clone()
                .filter(|name| !name.is_empty()),
        },
        default_location: args.default_backup_storage_location.clone(),
        enable_csi: has_feature(args, labels::FEATURE_ENABLE_CSI),
        all_versions: has_feature(args, labels::FEATURE_ENABLE_API_GROUP_VERSIONS),
        page_size: args.client_page_size,
        concurrent_backups: args.concurrent_backups.get(),
        scratch: scratch.to_owned(),
    }
}

fn has_feature(args: &Args, name: &str) -> bool {
    args.features.iter().any(|feature| feature == name)
}

fn operations_settings(args: &Args) -> backup_operations::Settings {
    backup_operations::Settings {
        sync_frequency: args
            .item_operation_sync_frequency
            .or(backup_operations::DEFAULT_SYNC_FREQUENCY),
        item_operation_timeout: *args.default_item_operation_timeout,
    }
}

fn end_settings(args: &Args, scratch: &Path) -> backup_finalizer::Settings {
    backup_finalizer::Settings {
        scratch: scratch.to_owned(),
        snapshot_objects: args.csi_snapshot_objects.into(),
    }
}

fn sync_settings(args: &Args) -> backup_sync::Settings {
    backup_sync::Settings {
        default_period: *args.backup_sync_period,
        snapshot_objects: args.csi_snapshot_objects.into(),
    }
}

fn restore_settings(args: &Args, scratch: &Path) -> restore::Settings {
    restore::Settings {
        item_operation_timeout: *args.default_item_operation_timeout,
        resource_timeout: *args.resource_timeout,
        terminating_timeout: *args.terminating_resource_timeout,
        priorities: args.restore_resource_priorities.clone().unwrap_or_default(),
        all_versions: has_feature(args, labels::FEATURE_ENABLE_API_GROUP_VERSIONS),
        ..restore::Settings::new(scratch.to_owned())
    }
}

fn finalizer_settings(args: &Args) -> restore_finalizer::Settings {
    restore_finalizer::Settings {
        resource_timeout: *args.resource_timeout,
    }
}
