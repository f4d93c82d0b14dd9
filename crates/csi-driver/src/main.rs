//! `caravel-csi-driver`: flags and signals; everything else is in the library.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use caravel_csi_driver::{Config, Driver, serve};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// A CSI driver for tests: volumes are image files, snapshots are reflinks.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The CSI socket, such as /var/lib/kubelet/plugins/csi.caravel.dev/csi.sock
    #[arg(long, required_unless_present = "release")]
    endpoint: Option<PathBuf>,
    /// Name of this node
    #[arg(long, required_unless_present = "release")]
    node_id: Option<String>,
    /// Where everything is kept
    #[arg(long)]
    state_dir: PathBuf,
    /// The kubelet's folder for new plug-ins, such as /var/lib/kubelet/plugins_registry; without it the driver is not registered
    #[arg(long)]
    registration_dir: Option<PathBuf>,
    /// As in CSIDriver and StorageClass
    #[arg(long, default_value = "csi.caravel.dev")]
    driver_name: String,
    /// Room of the store in bytes, when it is made; a sparse file
    #[arg(long, default_value_t = 64 << 30)]
    store_size: u64,
    /// Volumes are folders and snapshots are copies: needs no root, and enforces no capacity
    #[arg(long)]
    folders: bool,
    /// Take all mounts and loop devices of this state dir off the machine, and exit
    #[arg(long)]
    release: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let arguments = Arguments::parse();
    let state_dir = std::path::absolute(&arguments.state_dir)?;
    if arguments.release {
        return Driver::release(&state_dir)
            .with_context(|| format!("releasing the mounts of {}", state_dir.display()));
    }
    std::fs::create_dir_all(&state_dir).with_context(|| format!("creating {}", state_dir.display()))?;
    let config = Config {
        endpoint: std::path::absolute(arguments.endpoint.context("--endpoint is required")?)?,
        node_id: arguments.node_id.context("--node-id is required")?,
        state_dir,
        registration_dir: arguments.registration_dir,
        driver_name: arguments.driver_name,
        store_bytes: arguments.store_size,
    };
    let driver = if arguments.folders {
        Driver::open_folders(config, Arc::new(SystemTime::now)).context("opening the state dir")?
    } else {
        Driver::open(config)
            .context("opening the state dir (the driver needs root, xfsprogs and loop devices)")?
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(serve(driver, shutdown).await?)
}
