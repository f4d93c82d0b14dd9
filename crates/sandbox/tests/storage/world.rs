//! An API server with the storage's controllers, and short ways to make and await objects.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use caravel_api_server::{ApiServer, SystemClock};
use caravel_csi::{VolumeSnapshot, VolumeSnapshotContent};
use caravel_csi_driver::{Config, Driver};
use caravel_sandbox::storage::{self, CsiRules, Settings, Storage};
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct World {
    pub client: Client,
    pub storage: Storage,
    pub faults: Arc<CsiRules>,
    pub folder: tempfile::TempDir,
    _stop: DropGuard,
    _server: ApiServer,
}

impl World {
    pub async fn new() -> Self {
        let server = ApiServer::builder().build();
        let client = server.client();
        let folder = tempfile::tempdir().unwrap();
        let driver = Driver::open_folders(
            Config {
                endpoint: folder.path().join("csi.sock"),
                node_id: "node-1".into(),
                state_dir: folder.path().join("storage"),
                registration_dir: None,
                driver_name: storage::DRIVER.into(),
                store_bytes: 0,
            },
            Arc::new(SystemTime::now),
        )
        .unwrap();
        storage::install(&client).await.unwrap();
        let stop = CancellationToken::new();
        let faults = Arc::new(CsiRules::new(1));
        let settings = Settings {
            driver_name: storage::DRIVER.into(),
            pods: folder.path().join("pods"),
            clock: Arc::new(SystemClock),
            faults: faults.clone(),
        };
        let storage = storage::spawn(client.clone(), driver, settings, stop.clone());
        let world = Self {
            client,
            storage,
            faults,
            folder,
            _stop: stop.drop_guard(),
            _server: server,
        };
        world.namespace("shop").await;
        world
    }

    pub async fn namespace(&self, name: &str) {
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        create(&namespaces, json!({"metadata": {"name": name}})).await;
    }

    pub fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), "shop")
    }

    pub fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    pub fn classes(&self) -> Api<StorageClass> {
        Api::all(self.client.clone())
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "shop")
    }

    pub fn snapshots(&self) -> Api<VolumeSnapshot> {
        Api::namespaced(self.client.clone(), "shop")
    }

    pub fn contents(&self) -> Api<VolumeSnapshotContent> {
        Api::all(self.client.clone())
    }

    /// A claim for 64Mi; `more` is merged into its spec.
    pub async fn claim(&self, name: &str, more: Value) -> PersistentVolumeClaim {
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}},
        });
        merge(&mut spec, more);
        create(&self.claims(), json!({"metadata": {"name": name}, "spec": spec})).await
    }

    pub async fn class(&self, name: &str, more: Value) {
        let mut class = json!({"metadata": {"name": name}, "provisioner": storage::DRIVER});
        merge(&mut class, more);
        create(&self.classes(), class).await;
    }

    pub async fn snapshot(&self, name: &str, source: Value) -> VolumeSnapshot {
        let object = json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
            "metadata": {"name": name, "namespace": "shop"}, "spec": {"source": source},
        });
        create(&self.snapshots(), object).await
    }

    pub async fn bound(&self, name: &str) -> PersistentVolumeClaim {
        self.until(&self.claims(), name, |claim: &PersistentVolumeClaim| {
            phase(claim) == "Bound"
        })
        .await
    }

    pub async fn ready(&self, name: &str) -> VolumeSnapshot {
        self.until(&self.snapshots(), name, |snapshot: &VolumeSnapshot| {
            snapshot
                .status
                .as_ref()
                .is_some_and(|s| s.ready_to_use == Some(true))
        })
        .await
    }

    /// The volume of a bound claim.
    pub async fn volume_of(&self, claim: &PersistentVolumeClaim) -> PersistentVolume {
        let name = claim.spec.as_ref().unwrap().volume_name.clone().unwrap();
        self.volumes().get(&name).await.unwrap()
    }

    /// The folder of a bound claim, published for a pod.
    pub async fn folder_of(&self, claim: &str, pod: &str) -> PathBuf {
        let claim = self.bound(claim).await;
        let handle = handle(&self.volume_of(&claim).await);
        self.storage
            .volumes
            .publish(&handle, "node-1", pod, false)
            .await
            .unwrap()
    }

    pub async fn unpublish(&self, claim: &str, pod: &str) {
        let claim = self.bound(claim).await;
        let handle = handle(&self.volume_of(&claim).await);
        self.storage
            .volumes
            .unpublish(&handle, "node-1", pod)
            .await
            .unwrap();
    }

    pub async fn until<K>(&self, api: &Api<K>, name: &str, holds: impl Fn(&K) -> bool) -> K
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let condition = |object: Option<&K>| object.is_some_and(&holds);
        let awaited = Box::pin(await_condition(api.clone(), name, condition));
        match tokio::time::timeout(PATIENCE, awaited).await {
            Ok(found) => found.unwrap().unwrap(),
            Err(_) => panic!(
                "{name} did not become so; it is {:#?}; events {:#?}",
                api.get_opt(name).await,
                self.events().await
            ),
        }
    }

    pub async fn gone<K>(&self, api: &Api<K>, name: &str)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let awaited = Box::pin(await_condition(api.clone(), name, |object: Option<&K>| {
            object.is_none()
        }));
        if tokio::time::timeout(PATIENCE, awaited).await.is_err() {
            panic!("{name} is still there: {:#?}", api.get_opt(name).await);
        }
    }

    /// `reason: message` of all events.
    pub async fn events(&self) -> Vec<String> {
        let events: Api<Event> = Api::all(self.client.clone());
        let all = events.list(&ListParams::default()).await.unwrap();
        all.items
            .into_iter()
            .map(|event| {
                format!(
                    "{}: {}",
                    event.reason.unwrap_or_default(),
                    event.message.unwrap_or_default()
                )
            })
            .collect()
    }

    pub async fn said(&self, sentence: &str) {
        let wait = async {
            while !self.events().await.iter().any(|event| event.contains(sentence)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("no event says {sentence:?}: {:#?}", self.events().await);
        }
    }
}

pub async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize,
{
    let object: K = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap()
}

pub async fn patch<K>(api: &Api<K>, name: &str, patch: Value) -> K
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap()
}

pub fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

pub fn volume_phase(volume: &PersistentVolume) -> &str {
    volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

pub fn handle(volume: &PersistentVolume) -> String {
    let spec = volume.spec.as_ref().unwrap();
    spec.csi.as_ref().unwrap().volume_handle.clone()
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}
