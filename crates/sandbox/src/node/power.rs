//! A machine that goes off, as if its plug were pulled, and on again.
//!
//! Off: every task of the node is dropped at this moment, nothing is told to the API server, its lease is not renewed and
//! its volumes stay attached. What follows from that is the affair of others (`../workloads/node_lifecycle.rs`).
//! On: the node says that it is ready; pods that are being deleted end, those that are gone give their volumes back, the
//! others' containers are started again as their restartPolicy says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Kubelet;
use super::volumes::{OnPod, give_back};
use crate::machinery::{Answer, Kinds, is_not_found, merge};

/// Namespace of the nodes' leases.
pub const LEASES: &str = "kube-node-lease";
/// Put on a node by a person who knows that it is off and will not come back by itself.
pub const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// `leaseDurationSeconds`, and how often a kubelet renews: a quarter of it.
const LEASE_SECONDS: i32 = 40;
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// The attach/detach controller takes a volume off a node that does not answer after this (`maxWaitForUnmountDuration`).
const DETACH_AFTER: Duration = Duration::from_secs(360);
/// How often it looks whether the node is out of service.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What a pod had on the machine.
pub struct Left {
    /// Handles of its volumes.
    pub volumes: BTreeSet<String>,
}

impl Kubelet {
    /// Whether the machine is off.
    pub fn is_off(&self) -> bool {
        self.parts.power().is_cancelled()
    }

    /// The machine goes off. False: it was off.
    pub fn fail(&self) -> bool {
        let power = self.parts.power();
        if power.is_cancelled() {
            return false;
        }
        // Drops the workers and cuts the clients of their containers.
        power.cancel();
        let hosted = std::mem::take(&mut *self.pods.lock());
        let mut left = self.left.lock();
        for (uid, hosted) in hosted {
            for started in hosted.worker.started.lock().values() {
                started.kill();
            }
            let volumes = hosted.worker.asked.lock().clone();
            // A machine that was on for a moment has more of the same pod.
            let before = left.entry(uid).or_insert_with(|| Left {
                volumes: BTreeSet::new(),
            });
            before.volumes.extend(volumes);
        }
        tracing::info!(node = %self.name(), "machine is off");
        true
    }

    /// The machine goes on again, if it was off.
    ///
    /// # Errors
    /// When the API server does not answer or take the node's status; the machine is off again.
    pub async fn recover(self: &Arc<Self>) -> Answer<()> {
        if !self.is_off() {
            return Ok(());
        }
        *self.parts.power.lock() = CancellationToken::new();
        let pods = self.join().await.inspect_err(|_| {
            self.fail();
        })?;
        for pod in pods {
            self.host(pod);
        }
        let gone: BTreeMap<String, Left> = std::mem::take(&mut *self.left.lock());
        for (uid, left) in gone {
            self.give_back(&uid, left).await;
        }
        Ok(())
    }

    /// Registers the node and begins to renew its lease; the pods that are to run on it.
    async fn join(self: &Arc<Self>) -> Answer<Vec<Pod>> {
        self.register().await?;
        self.start_beating();
        let here = ListParams::default().fields(&format!("spec.nodeName={}", self.name()));
        let pods = self.parts.context.client.wide::<Pod>().list(&here).await?;
        Ok(pods.items)
    }

    /// Renews the node's lease as long as the machine is on.
    pub fn start_beating(self: &Arc<Self>) {
        let (kubelet, power) = (self.clone(), self.parts.power());
        let shutdown = self.parts.context.shutdown.clone();
        let beating = async move {
            loop {
                if let Err(error) = kubelet.renew().await {
                    tracing::debug!(%error, node = %kubelet.name(), "lease is not renewed");
                }
                tokio::time::sleep(RENEW_EVERY).await;
            }
        };
        self.parts.context.tasks.spawn(async move {
            shutdown
                .run_until_cancelled(power.run_until_cancelled(beating))
                .await
        });
    }

    async fn renew(&self) -> Answer<()> {
        let parts = &self.parts;
        let api = parts.context.client.of::<Lease>(LEASES);
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(parts.context.clock.now());
        let renewed = json!({"spec": {"renewTime": now}});
        match merge(&api, &parts.name, &renewed).await {
            Err(error) if is_not_found(&error) => {}
            answer => return answer,
        }
        let node = parts.context.client.wide::<Node>().get(&parts.name).await?;
        let lease = json!({
            "metadata": {"name": parts.name, "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": parts.name, "uid": node.uid()},
            ]},
            "spec": {"holderIdentity": parts.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now},
        });
        let lease: Lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
        api.create(&PostParams::default(), &lease).await.map(drop)
    }

    /// Takes the volumes off the machine, which is off, of a pod that is gone: what the attach/detach controller does.
    pub(super) async fn detach(self: Arc<Self>, uid: String) {
        let (power, shutdown) = (self.parts.power(), self.parts.context.shutdown.clone());
        let mut waited = Duration::ZERO;
        while waited < DETACH_AFTER && !self.is_out_of_service().await {
            let slept = shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
            if slept.is_none() {
                return;
            }
            waited += LOOK_EVERY;
        }
        // Came back meanwhile: then it has done so itself.
        let is_still_off = power.is_cancelled() && self.is_off();
        let left = self.left.lock().remove(&uid).filter(|_| is_still_off);
        if let Some(left) = left {
            self.give_back(&uid, left).await;
        }
    }

    async fn is_out_of_service(&self) -> bool {
        let node = self
            .parts
            .context
            .client
            .wide::<Node>()
            .get_opt(self.name())
            .await;
        node.ok().flatten().is_some_and(|node| {
            let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
            taints.iter().any(|taint| taint.key == OUT_OF_SERVICE)
        })
    }

    async fn give_back(&self, uid: &str, left: Left) {
        let on = OnPod {
            node: self.name(),
            pod: uid,
        };
        for handle in left.volumes {
            give_back(&*self.parts.volumes, &handle, &on).await;
        }
    }
}
