//! What a server, node agent or data mover takes from where it runs.
//!
//! In a cluster each is a process of its own ([`Process::of_machine`]); in `velero sandbox` they are tasks of one
//! process (`sandbox/container.rs`). What runs below asks for nothing else: no variables of the environment, no
//! kubeconfig, no absolute path, no signal, and it ends by returning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use caravel_backup_repository::Environment;
use caravel_backup_store::{NetworkStores, Stores};
use caravel_data_mover::{NodeVolumes, ProcessCredentials, Volumes};
use kube::Client;
use tokio_util::sync::CancellationToken;

/// A path as the program knows it → where that is on this machine.
pub type Paths = Arc<dyn Fn(&Path) -> PathBuf + Send + Sync>;

/// One running program; cheap to clone.
#[derive(Clone)]
pub struct Process {
    /// Speaks to the API server as the program's own account.
    pub client: Client,
    /// Its environment.
    pub variables: BTreeMap<String, String>,
    pub paths: Paths,
    /// Becomes the container's termination message.
    pub termination_log: PathBuf,
    /// Knows what is a volume (guarantee 1).
    pub volumes: Arc<dyn Volumes>,
    /// Whether it has a network address of its own to listen on. Tasks of one process share one machine's ports.
    pub has_address: bool,
    /// The way to object storage.
    pub stores: Arc<dyn Stores>,
    /// What the repository engine takes from the machine: time, randomness, threads.
    pub environment: Environment,
    /// Set when the program is to end.
    pub shutdown: CancellationToken,
}

impl Process {
    /// The real one: this process, in a pod or at a terminal. Nothing sets `shutdown` yet.
    ///
    /// # Errors
    /// No Kubernetes API is configured.
    pub async fn of_machine() -> anyhow::Result<Self> {
        // A variable that is no text cannot be one of ours.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut process = Self {
            client: Client::try_default()
                .await
                .context("cannot reach the Kubernetes API")?,
            variables: variables.collect(),
            paths: Arc::new(|path: &Path| path.to_owned()),
            termination_log: "/dev/termination-log".into(),
            volumes: Arc::new(NodeVolumes),
            has_address: true,
            stores: Arc::new(NetworkStores),
            environment: Environment::system(),
            shutdown: CancellationToken::new(),
        };
        process.environment.index_folder = Some(process.scratch());
        Ok(process)
    }

    /// The same, ended by the kubelet's SIGTERM or somebody's SIGINT.
    ///
    /// # Errors
    /// The signals cannot be listened for.
    pub fn until_signal(self) -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            shutdown.cancel();
        });
        Ok(self)
    }

    /// A variable of the environment.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    /// Where a path of the program is on this machine.
    pub fn on_machine(&self, path: impl AsRef<Path>) -> PathBuf {
        (self.paths)(path.as_ref())
    }

    /// What opens locations that name no Secret.
    pub fn credentials(&self) -> ProcessCredentials {
        ProcessCredentials::new(|name| self.variable(name), |path| self.on_machine(path))
    }

    /// The folder for what is needed only while it runs: `VELERO_SCRATCH_DIR`, the only one that the image can write
    /// to; at a terminal the usual one.
    pub fn scratch(&self) -> PathBuf {
        let named = self
            .variable("VELERO_SCRATCH_DIR")
            .or_else(|| self.variable("TMPDIR"));
        self.on_machine(named.as_deref().unwrap_or("/tmp"))
    }
}
