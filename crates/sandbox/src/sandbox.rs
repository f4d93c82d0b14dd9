//! A cluster in one process: made, running, ended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api_server::faults::{Faults, Observer};
use caravel_api_server::{ApiServer, Authorization, Clock, LoadError, ServeError, SystemClock, User};
use caravel_csi_driver::{Config, Driver};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Client;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::machinery::{Context, Watches, spawn};
use crate::node::{Images, Kubelet, Machines, MountError, NodeSettings, OnPod, Scheduler, Volumes};
use crate::storage::{self, CsiRules, PublishError};
use crate::{Program, workloads};

/// Programs have this long to end when the sandbox does; then their tasks are dropped.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(10);

/// Why a sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot make the folder {}", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot open the volumes' folder")]
    Driver(#[source] anyhow::Error),
    #[error("the saved cluster cannot be read")]
    Saved(#[source] LoadError),
    #[error(transparent)]
    Install(#[from] storage::InstallError),
    #[error("cannot make the API server's certificate authority")]
    Authority(#[source] ServeError),
    #[error("cannot make node {name}")]
    Node {
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("the API server's kinds were not all listed in time")]
    Watches,
}

/// How a sandbox is made.
pub struct Builder {
    nodes: usize,
    folder: Option<PathBuf>,
    images: Images,
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
    authorization: Authorization,
    saved: Option<Value>,
    faults: Option<Arc<dyn Faults>>,
    observer: Option<Arc<dyn Observer>>,
    csi_faults: Option<Arc<CsiRules>>,
    inline: bool,
}

impl Builder {
    /// So many nodes, `sandbox-0` first; 1 when not said.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Where volumes and the nodes' files are kept. When not said: a temporary folder that goes with the sandbox.
    #[must_use]
    pub fn folder(mut self, folder: PathBuf) -> Self {
        self.folder = Some(folder);
        self
    }

    /// What runs in containers of this image; registry and tag do not matter.
    #[must_use]
    pub fn image(mut self, name: &str, program: Arc<dyn Program>) -> Self {
        self.images.add(name, program);
        self
    }

    /// Where timestamps come from; the machine's clock when not said.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes uids and generated names repeat from run to run.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether RBAC decides what ServiceAccounts may do; all may do everything when not said.
    #[must_use]
    pub fn authorization(mut self, authorization: Authorization) -> Self {
        self.authorization = authorization;
        self
    }

    /// Begins with what [`ApiServer::save`] gave, over the folder of that time.
    #[must_use]
    pub fn saved(mut self, saved: Value) -> Self {
        self.saved = Some(saved);
        self
    }

    /// What goes wrong at the API server ([`caravel_api_server::faults`]); nothing when not said. The sandbox's own
    /// controllers ask as `system:sandbox`, programs as their ServiceAccounts.
    #[must_use]
    pub fn faults(mut self, faults: Arc<dyn Faults>) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Who is told of every write to the API server.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// What goes wrong with volumes and snapshots ([`crate::storage::CsiFault`]); nothing when not said.
    #[must_use]
    pub fn csi_faults(mut self, faults: Arc<CsiRules>) -> Self {
        self.csi_faults = Some(faults);
        self
    }

    /// Copies and deletes volumes on the thread that everything runs on: with a runtime of one thread, a paused clock,
    /// [`caravel_api_server::TokioClock`] and a seed, a run repeats exactly.
    #[must_use]
    pub fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// Starts the cluster; returns when its controllers have seen everything that is there.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs any more then.
    pub async fn start(self) -> Result<Sandbox, StartError> {
        let mut server = ApiServer::builder()
            .clock(self.clock.clone())
            .authorization(self.authorization);
        if let Some(seed) = self.seed {
            server = server.seed(seed);
        }
        if let Some(faults) = self.faults {
            server = server.faults(faults);
        }
        if let Some(observer) = self.observer {
            server = server.observer(observer);
        }
        let api = server.build();
        if let Some(saved) = &self.saved {
            api.load(saved).map_err(StartError::Saved)?;
        }
        let (folder, temporary) = match self.folder {
            Some(folder) => (folder, None),
            None => {
                let made = tempfile::tempdir().map_err(|source| StartError::Folder {
                    path: std::env::temp_dir(),
                    source,
                })?;
                (made.path().to_owned(), Some(made))
            }
        };
        let folder = folders(folder)?;
        let context = Context::new(api.client_as(User::component("sandbox")), self.clock);
        // Whatever fails from here on: what has been started ends.
        let end_if_dropped = context.shutdown.clone().drop_guard();
        storage::install(&context.client).await?;
        let storage = start_storage(&context, &folder, self.csi_faults, self.inline)?;
        let kubelets = kubelets(&context, &api, &folder, self.nodes, &self.images, storage.volumes);
        for kubelet in &kubelets {
            kubelet.register().await.map_err(|source| StartError::Node {
                name: kubelet.name().to_owned(),
                source: Box::new(source),
            })?;
        }
        let mut watches = Watches::new(context.client.clone());
        spawn(&context, &mut watches, Scheduler::new(context.clone()));
        for kubelet in kubelets.clone() {
            kubelet.start_beating();
            watches.subscribe(move |change| kubelet.note(change));
        }
        let authority = api.certificate_authority().map_err(StartError::Authority)?;
        workloads::start(&context, &mut watches, authority);
        let machines = Machines::new(kubelets);
        api.attach(Arc::new(machines.clone()));
        if !watches.start(&context).await {
            return Err(StartError::Watches);
        }
        end_if_dropped.disarm();
        Ok(Sandbox {
            api,
            context,
            machines,
            storage: Some(storage.controllers),
            _temporary: temporary,
        })
    }
}

/// A running cluster. Ends when [`Sandbox::shutdown`] is called, at once and without waiting when it is dropped.
pub struct Sandbox {
    api: ApiServer,
    context: Context,
    machines: Machines,
    storage: Option<JoinHandle<()>>,
    _temporary: Option<tempfile::TempDir>,
}

impl Sandbox {
    /// A sandbox to be.
    pub fn builder() -> Builder {
        Builder {
            nodes: 1,
            folder: None,
            images: Images::default(),
            clock: Arc::new(SystemClock),
            seed: None,
            authorization: Authorization::default(),
            saved: None,
            faults: None,
            observer: None,
            csi_faults: None,
            inline: false,
        }
    }

    /// Its API server.
    pub fn api(&self) -> &ApiServer {
        &self.api
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.api.client()
    }

    /// Its nodes: to kill a container or a node, as a fault.
    pub fn machines(&self) -> &Machines {
        &self.machines
    }

    /// The default StorageClass.
    pub fn storage_class(&self) -> &'static str {
        storage::STORAGE_CLASS
    }

    /// The VolumeSnapshotClass of the same driver.
    pub fn snapshot_class(&self) -> &'static str {
        storage::SNAPSHOT_CLASS
    }

    /// Asks everything to end and waits for it, not longer than 10 s. Objects and volumes stay as they are.
    pub async fn shutdown(mut self) {
        self.context.shutdown.cancel();
        self.context.tasks.close();
        let storage = self.storage.take();
        let ended = async {
            self.context.tasks.wait().await;
            if let Some(storage) = storage {
                // It ends by itself; if it panicked, that is in the log.
                let _ = storage.await;
            }
        };
        if tokio::time::timeout(SHUTDOWN_WITHIN, ended).await.is_err() {
            tracing::warn!("the sandbox did not end within {SHUTDOWN_WITHIN:?}");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.context.shutdown.cancel();
    }
}

/// The parts of the sandbox's folder.
struct Folders {
    /// The CSI driver's.
    volumes: PathBuf,
    /// Where it shows volumes to pods.
    published: PathBuf,
    /// A root for each node.
    nodes: PathBuf,
}

fn folders(folder: PathBuf) -> Result<Folders, StartError> {
    let make = |name: &str| {
        let path = folder.join(name);
        match std::fs::create_dir_all(&path).and_then(|()| std::fs::canonicalize(&path)) {
            Ok(path) => Ok(path),
            Err(source) => Err(StartError::Folder { path, source }),
        }
    };
    Ok(Folders {
        volumes: make("volumes")?,
        published: make("published")?,
        nodes: make("nodes")?,
    })
}

fn start_storage(
    context: &Context,
    folder: &Folders,
    faults: Option<Arc<CsiRules>>,
    inline: bool,
) -> Result<storage::Storage, StartError> {
    let config = Config {
        endpoint: folder.volumes.join("csi.sock"),
        node_id: "sandbox".to_owned(),
        state_dir: folder.volumes.clone(),
        registration_dir: None,
        driver_name: storage::DRIVER.to_owned(),
        store_bytes: 0,
    };
    let clock = context.clock.clone();
    let driver = Driver::open_folders(config, Arc::new(move || clock.now().into()))
        .map_err(|error| StartError::Driver(anyhow::Error::new(error)))?;
    let driver = if inline { driver.inline() } else { driver };
    let settings = storage::Settings {
        driver_name: storage::DRIVER.to_owned(),
        pods: folder.published.clone(),
        clock: context.clock.clone(),
        faults: faults.unwrap_or_else(|| Arc::new(CsiRules::new(0))),
    };
    Ok(storage::spawn(
        context.client.clone(),
        driver,
        settings,
        context.shutdown.clone(),
    ))
}

fn kubelets(
    context: &Context,
    api: &ApiServer,
    folder: &Folders,
    count: usize,
    images: &Images,
    volumes: storage::Volumes,
) -> Vec<Arc<Kubelet>> {
    let volumes: Arc<dyn Volumes> = Arc::new(volumes);
    let kubelet = |number: usize| {
        let name = format!("sandbox-{number}");
        let api = api.clone();
        let settings = NodeSettings {
            number,
            root: folder.nodes.join(&name),
            name,
            images: images.clone(),
            volumes: volumes.clone(),
            client_for: Arc::new(move |namespace, account, dead| {
                api.client_until(User::service_account(namespace, account), dead)
            }),
            driver: storage::DRIVER.to_owned(),
        };
        Arc::new(Kubelet::new(context, settings))
    };
    (0..count).map(kubelet).collect()
}

#[async_trait]
impl Volumes for storage::Volumes {
    async fn publish(
        &self,
        volume: &PersistentVolume,
        on: &OnPod<'_>,
        read_only: bool,
    ) -> Result<PathBuf, MountError> {
        let published = self.publish_volume(volume, on.node, on.pod, read_only).await;
        published.map_err(|error| MountError {
            reason: match error {
                PublishError::MultiAttach { .. } => "FailedAttachVolume",
                _ => "FailedMount",
            },
            message: error.to_string(),
        })
    }

    async fn unpublish(&self, handle: &str, on: &OnPod<'_>) -> Result<(), String> {
        let taken = storage::Volumes::unpublish(self, handle, on.node, on.pod).await;
        taken.map_err(|error| error.to_string())
    }
}
