//! The kubelet of one node: a worker for each pod that was given to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::object::{host_ip, node_object};
use super::power::Left;
use super::worker::Worker;
use super::{Images, Volumes};
use crate::machinery::{Answer, Change, Context, Kinds, is_conflict, merge_status};

/// The client of a ServiceAccount, by namespace and name; dead from when the token is set.
pub type ClientFor = Arc<dyn Fn(&str, &str, CancellationToken) -> Client + Send + Sync>;

/// What a node is made of.
pub struct NodeSettings {
    pub name: String,
    /// 0 for the first node: names its addresses.
    pub number: usize,
    /// The node's root on the machine.
    pub root: PathBuf,
    pub images: Images,
    pub volumes: Arc<dyn Volumes>,
    pub client_for: ClientFor,
    /// The CSI driver that runs on it.
    pub driver: String,
}

/// What the workers of one node share.
pub struct NodeParts {
    pub context: Context,
    pub name: String,
    pub number: usize,
    pub host_ip: String,
    pub root: PathBuf,
    pub images: Images,
    pub volumes: Arc<dyn Volumes>,
    pub client_for: ClientFor,
    /// Set when the machine goes off; a new one when it is on again.
    pub(super) power: Mutex<CancellationToken>,
    driver: String,
    addresses: AtomicU64,
    containers: AtomicU64,
}

impl NodeParts {
    /// An address that no pod of this node has had.
    pub fn next_pod_ip(&self) -> String {
        let number = self.addresses.fetch_add(1, Ordering::Relaxed);
        format!(
            "10.{}.{}.{}",
            244 + self.number / 250,
            self.number % 250,
            number % 253 + 2
        )
    }

    /// The machine as it is on now.
    pub fn power(&self) -> CancellationToken {
        self.power.lock().clone()
    }

    /// A container's id: of this node, never given twice.
    pub fn next_container_id(&self) -> String {
        format!(
            "{}-{}",
            self.name,
            self.containers.fetch_add(1, Ordering::Relaxed)
        )
    }
}

pub(super) struct Hosted {
    changes: watch::Sender<Option<Pod>>,
    pub(super) worker: Arc<Worker>,
}

/// One node's kubelet.
pub struct Kubelet {
    pub(super) parts: Arc<NodeParts>,
    /// By UID.
    pub(super) pods: Mutex<BTreeMap<String, Hosted>>,
    /// What pods had when the machine went off, by UID.
    pub(super) left: Mutex<BTreeMap<String, Left>>,
}

impl Kubelet {
    /// A kubelet without pods.
    pub fn new(context: &Context, settings: NodeSettings) -> Self {
        let parts = NodeParts {
            context: context.clone(),
            host_ip: host_ip(settings.number),
            name: settings.name,
            number: settings.number,
            root: settings.root,
            images: settings.images,
            volumes: settings.volumes,
            client_for: settings.client_for,
            power: Mutex::default(),
            driver: settings.driver,
            addresses: AtomicU64::new(0),
            containers: AtomicU64::new(0),
        };
        Self {
            parts: Arc::new(parts),
            pods: Mutex::default(),
            left: Mutex::default(),
        }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// The node's address.
    pub fn host_ip(&self) -> &str {
        &self.parts.host_ip
    }

    /// Tells the API server that the node is there and ready.
    pub async fn register(&self) -> Answer<()> {
        let parts = &self.parts;
        let node = node_object(&parts.name, parts.number, &parts.driver, &parts.context.now());
        let api: Api<Node> = parts.context.client.wide();
        match api.create(&PostParams::default(), &node).await {
            Err(error) if !is_conflict(&error) => return Err(error),
            _ => {}
        }
        merge_status(&api, &parts.name, &json!({"status": node.status})).await?;
        Ok(())
    }

    /// Takes note of a change of a pod.
    pub fn note(self: &Arc<Self>, change: &Change<'_>) {
        if !change.is("", "Pod") {
            return;
        }
        let uid = change.meta().uid.clone().unwrap_or_default();
        if change.gone && self.is_off() {
            self.parts.context.tasks.spawn(self.clone().detach(uid));
            return;
        }
        if change.gone {
            if let Some(hosted) = self.pods.lock().remove(&uid) {
                hosted.changes.send_replace(None);
            }
            return;
        }
        if change.node().as_deref() != Some(&self.parts.name) {
            return;
        }
        let Some(pod) = change.parse::<Pod>() else {
            tracing::warn!(pod = ?change.key(), "pod cannot be read and will not run");
            return;
        };
        if !self.is_off() {
            self.host(pod);
        }
    }

    /// Runs a pod, or tells its worker how it is now.
    pub(super) fn host(&self, pod: Pod) {
        let uid = pod.uid().unwrap_or_default();
        let mut pods = self.pods.lock();
        match pods.get(&uid) {
            Some(hosted) => {
                hosted.changes.send_replace(Some(pod));
            }
            None => {
                let (changes, receiver) = watch::channel(Some(pod.clone()));
                let asked = self
                    .left
                    .lock()
                    .remove(&uid)
                    .map_or_else(BTreeSet::new, |left| left.volumes);
                let worker = Arc::new(Worker::new(self.parts.clone(), pod, receiver, asked));
                let (power, running) = (self.parts.power(), worker.clone());
                self.parts
                    .context
                    .tasks
                    .spawn(async move { power.run_until_cancelled(Box::pin(running.run())).await });
                pods.insert(uid, Hosted { changes, worker });
            }
        }
    }

    /// The pod's worker, if it is here.
    pub fn worker(&self, uid: &str) -> Option<Arc<Worker>> {
        self.pods.lock().get(uid).map(|hosted| hosted.worker.clone())
    }

    /// The worker of a pod by name.
    pub fn worker_of(&self, namespace: &str, name: &str) -> Option<Arc<Worker>> {
        let pods = self.pods.lock();
        let is_it = |hosted: &&Hosted| {
            let pod = &hosted.worker.pod;
            pod.name_any() == name && pod.namespace().as_deref() == Some(namespace)
        };
        pods.values().find(is_it).map(|hosted| hosted.worker.clone())
    }
}
