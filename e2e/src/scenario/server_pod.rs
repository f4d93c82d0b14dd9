//! The pod of a server or node agent on our own node: its processes, to measure or to kill.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Cluster, Kind, NAMESPACE, until};
use crate::cluster::processes;

/// The Lease of the server that acts (docs/decisions/0007).
const LEASE: &str = "velero-server";
/// Pods of the Deployment `velero`, ours and the real Velero's.
const SERVERS: &str = "deploy=velero";

/// Pods of the DaemonSet `node-agent`, ours and the real Velero's.
const NODE_AGENTS: &str = "name=node-agent";

/// A running pod of a server or node agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPod {
    /// Its name.
    pub name: String,
    uid: String,
}

impl ServerPod {
    /// A server that runs in that namespace.
    pub fn running(cluster: &Cluster, namespace: &str) -> Result<Self> {
        Self::labelled(cluster, namespace, SERVERS)
    }

    /// A node agent that runs in that namespace.
    pub fn node_agent(cluster: &Cluster, namespace: &str) -> Result<Self> {
        Self::labelled(cluster, namespace, NODE_AGENTS)
    }

    fn labelled(cluster: &Cluster, namespace: &str, labels: &str) -> Result<Self> {
        let pods = cluster.list(Kind::POD, namespace, labels)?;
        pods.iter()
            .find(|pod| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null())
            .map(Self::of)
            .with_context(|| format!("no pod with {labels} runs in {namespace}"))
    }

    /// The one of ours that holds the Lease, while its process runs; waits for one.
    pub fn acting(cluster: &Cluster) -> Result<Self> {
        until("a server that acts", std::time::Duration::from_secs(90), || {
            let Some(holder) = Self::holder(cluster)? else {
                return Ok(Err("nobody holds the Lease".to_owned()));
            };
            let pods = cluster.list(Kind::POD, NAMESPACE, SERVERS)?;
            let found = pods.iter().map(Self::of).find(|pod| pod.name == holder);
            Ok(match found {
                Some(pod) if pod.server().is_some() => Ok(pod),
                Some(_) => Err(format!("{holder} holds the Lease, and its process does not run")),
                None => Err(format!("{holder} holds the Lease, and is gone")),
            })
        })
    }

    /// The pod that holds the Lease, whether it is there or not.
    pub fn holder(cluster: &Cluster) -> Result<Option<String>> {
        let lease = cluster.get(Kind::LEASE, NAMESPACE, LEASE)?.unwrap_or_default();
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        // `<pod>_<random>`: each start of the server is a holder of its own.
        Ok(holder.rsplit_once('_').map(|(pod, _)| pod.to_owned()))
    }

    fn of(pod: &Value) -> Self {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            uid: text("uid"),
        }
    }

    /// Its processes, by the control groups of the node's kernel.
    pub fn processes(&self) -> Vec<i32> {
        let in_the_pod = |pid: i32| {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            groups.contains(&self.uid)
        };
        processes::every()
            .into_iter()
            .map(|(pid, _)| pid)
            .filter(|pid| in_the_pod(*pid))
            .collect()
    }

    /// The process of the server itself; none while its container is not running.
    pub fn server(&self) -> Option<i32> {
        self.processes()
            .into_iter()
            .find(|pid| processes::command_line(*pid).starts_with("/velero server"))
    }

    /// Ends the server's process with SIGKILL; it learns nothing of it. The kubelet starts the container again.
    pub fn kill(&self) -> Result<()> {
        let server = self
            .server()
            .with_context(|| format!("no process of {} is a server; is this the node?", self.name))?;
        processes::kill_all(&[server]);
        Ok(())
    }
}
