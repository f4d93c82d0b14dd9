//! The whole of Caravel in one thread: the sandbox cluster with two nodes, our installation as `velero install` makes it,
//! the object store, applications, and a namespace that nobody names.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use caravel_api::v1::BackupStorageLocation;
use caravel_api_server::clock::TokioClock;
use caravel_api_server::faults::Rules;
use caravel_sandbox::Sandbox;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::time::Instant;
use velero::in_process::{self, Velero};

use crate::application::{self, Application};
use crate::bucket::Bucket;
use crate::checks::{BYSTANDER, Checks};
use crate::trace::Trace;
use crate::{engine, interposed};

/// Velero's namespace.
pub const VELERO: &str = "velero";
/// The namespaces that operations name, and their claims.
pub const APPLICATIONS: [(&str, &[&str]); 2] = [("shop", &["data", "logs"]), ("desk", &["data"])];
/// Nodes of the cluster.
const NODES: usize = 2;
/// The cluster and our installation come up within this virtual time, or not at all.
const STARTS_WITHIN: Duration = Duration::from_secs(900);

/// One running world.
pub struct World {
    pub sandbox: Sandbox,
    pub client: Client,
    pub trace: Arc<Trace>,
    pub checks: Arc<Checks>,
    pub bucket: Bucket,
    /// What goes wrong at the API server.
    pub api_faults: Arc<Rules>,
    pub applications: Application,
    /// For what applications write.
    pub rng: Mutex<StdRng>,
    _folder: tempfile::TempDir,
}

impl World {
    /// Starts all of it, to be called on a runtime whose clock is paused.
    ///
    /// # Errors
    /// Something does not come up.
    pub async fn start(seed: u64, start: Instant) -> anyhow::Result<Self> {
        let mut seeds = StdRng::seed_from_u64(seed);
        let folder = folder()?;
        let trace = Arc::new(Trace::new());
        let bucket = Bucket::new(trace.clone(), seeds.random());
        let applications = Application::default();
        let product = Velero {
            stores: Arc::new(bucket.clone()),
            environment: engine::environment(seeds.random(), start),
        };
        let sandbox = Sandbox::builder()
            .folder(folder.path().join("cluster"))
            .nodes(NODES)
            .seed(seeds.random())
            .clock(Arc::new(TokioClock::starting_at(Timestamp::from_second(
                interposed::BEGINNING,
            )?)))
            .image(in_process::IMAGE, Arc::new(product))
            .image(application::IMAGE, Arc::new(applications.clone()))
            .start()
            .await?;
        let checks = Arc::new(Checks::new(
            trace.clone(),
            folder.path().join("cluster/volumes/snapshots"),
        ));
        let api_faults = Arc::new(Rules::new(seeds.random()));
        sandbox.api().set_observer(Some(checks.clone()));
        sandbox.api().set_faults(Some(api_faults.clone()));
        let world = Self {
            client: sandbox.client(),
            sandbox,
            trace,
            checks,
            bucket,
            api_faults,
            applications,
            rng: Mutex::new(StdRng::seed_from_u64(seeds.random())),
            _folder: folder,
        };
        let ready = tokio::time::timeout(STARTS_WITHIN, world.install()).await;
        ready.map_err(|_| anyhow!("the world does not start within {STARTS_WITHIN:?}"))??;
        Ok(world)
    }

    async fn install(&self) -> anyhow::Result<()> {
        let credentials = self._folder.path().join("credentials");
        std::fs::write(
            &credentials,
            "[default]\naws_access_key_id=a\naws_secret_access_key=b\n",
        )?;
        let installed = in_process::install(&self.client, VELERO, &credentials).await;
        installed.map_err(|failure| anyhow!("velero install: {failure}"))?;
        for (namespace, claims) in APPLICATIONS.into_iter().chain([(BYSTANDER, &["data"][..])]) {
            for object in application::objects(namespace, claims) {
                self.create(&object).await?;
            }
        }
        let locations: Api<BackupStorageLocation> = Api::namespaced(self.client.clone(), VELERO);
        loop {
            let location = locations.get("default").await?;
            let phase = serde_json::to_value(&location.status)?["phase"].clone();
            let is_mounted = |(namespace, claims): (&str, &[&str])| {
                claims
                    .iter()
                    .all(|claim| self.applications.volume(namespace, claim).is_some())
            };
            if phase == "Available"
                && APPLICATIONS.into_iter().all(is_mounted)
                && is_mounted((BYSTANDER, &["data"]))
            {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        for (namespace, claims) in APPLICATIONS.into_iter().chain([(BYSTANDER, &["data"][..])]) {
            for claim in claims {
                self.write(namespace, claim, 3)?;
            }
        }
        Ok(())
    }

    /// Makes some changes on a volume, if a pod has it mounted: all at once, as a program under the writer's lock would.
    ///
    /// # Errors
    /// The volume cannot be written to.
    pub fn write(&self, namespace: &str, claim: &str, changes: u32) -> anyhow::Result<bool> {
        let Some(volume) = self.applications.volume(namespace, claim) else {
            return Ok(false);
        };
        let mut rng = self.rng.lock();
        for _ in 0..changes {
            application::change(&volume, &mut rng)
                .with_context(|| format!("writing to {}", volume.display()))?;
        }
        Ok(true)
    }

    /// Creates any object.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn create(&self, object: &Value) -> anyhow::Result<()> {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let Some(types) = &object.types else {
            bail!("an object without kind")
        };
        let kind = GroupVersionKind::try_from(types)?;
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), &namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        api.create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// Objects of a kind everywhere.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn list(&self, group: &str, version: &str, kind: &str) -> anyhow::Result<Vec<DynamicObject>> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        Ok(api.list(&ListParams::default()).await?.items)
    }

    /// Pods of the product, each with its only container.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn product_pods(&self) -> anyhow::Result<Vec<(String, String)>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), VELERO);
        let pods = api.list(&ListParams::default()).await?.items;
        let container = |pod: &Pod| Some(pod.spec.as_ref()?.containers.first()?.name.clone());
        Ok(pods
            .iter()
            .filter_map(|pod| Some((pod.name_any(), container(pod)?)))
            .collect())
    }
}

/// In memory where the machine has such a place: nothing here needs to outlive the process.
fn folder() -> anyhow::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("caravel-simulation-");
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(folder) = builder.tempdir_in(memory)
    {
        return Ok(folder);
    }
    builder.tempdir().context("cannot make a folder for volumes")
}
