//! The application of the scenarios: a namespace with one volume and a busybox pod that holds it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Cluster, Kind, Tree, until};

const CLAIM: &str = "data";
const MOUNT: &str = "/data";
/// Where a device is in the pod.
const DEVICE: &str = "/dev/data";

/// A namespace with a PersistentVolumeClaim `data`, a Deployment `shop` that mounts it at /data, and a few small objects.
#[derive(Debug, Clone)]
pub struct Shop {
    namespace: String,
    size: String,
    storage_class: Option<String>,
    block: bool,
}

impl Shop {
    /// A shop in the namespace of that name.
    pub fn named(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            size: "1Gi".to_owned(),
            storage_class: None,
            block: false,
        }
    }

    /// Size of its volume, as Kubernetes writes it.
    pub fn size(mut self, size: &str) -> Self {
        self.size = size.to_owned();
        self
    }

    /// Another StorageClass than the cluster's first.
    pub fn storage_class(mut self, class: &str) -> Self {
        self.storage_class = Some(class.to_owned());
        self
    }

    /// Its volume is a device, /dev/data.
    pub fn block(mut self) -> Self {
        self.block = true;
        self
    }

    /// Deletes a shop of that name and makes it anew; returns when its pod runs.
    pub fn create(self, cluster: &Cluster) -> Result<Self> {
        cluster.delete(Kind::NAMESPACE, "", &self.namespace)?;
        cluster.apply(&self.objects(cluster).to_string())?;
        self.pod(cluster)?;
        Ok(self)
    }

    /// Deletes the namespace, as a disaster would.
    pub fn destroy(&self, cluster: &Cluster) -> Result<()> {
        cluster.delete(Kind::NAMESPACE, "", &self.namespace)
    }

    /// The words of `velero` that back it up and move its data, with further ones (`--wait`).
    pub fn backup_words<'a>(&'a self, name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let words = [
            "backup",
            "create",
            name,
            "--include-namespaces",
            &self.namespace,
            "--snapshot-move-data",
        ];
        [&words[..], more].concat()
    }

    /// Name of its running pod; waits for one.
    pub fn pod(&self, cluster: &Cluster) -> Result<String> {
        let pod = self.running_pod(cluster)?;
        Ok(pod["metadata"]["name"].as_str().unwrap_or_default().to_owned())
    }

    /// Runs a shell line in the pod, in the volume's folder where it has one.
    pub fn run(&self, cluster: &Cluster, line: &str) -> Result<String> {
        cluster.exec(
            &self.namespace,
            &self.pod(cluster)?,
            &format!("cd {}\n{line}", if self.block { "/" } else { MOUNT }),
        )
    }

    /// Everything in the volume, read on the node, so that no time of access or tool of the pod stands between.
    pub fn tree(&self, cluster: &Cluster) -> Result<Tree> {
        Tree::read(&self.volume_on_node(cluster)?)
    }

    /// The volume as the node sees it, by way of a process in the cluster's mount namespace.
    pub fn volume_on_node(&self, cluster: &Cluster) -> Result<PathBuf> {
        let pod = self.running_pod(cluster)?;
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        let claim = cluster.must_get(Kind::PERSISTENT_VOLUME_CLAIM, &self.namespace, CLAIM)?;
        let volume = claim["spec"]["volumeName"]
            .as_str()
            .context("the claim is bound to no volume")?;
        let path = cluster.mount_on_node(uid, volume)?;
        anyhow::ensure!(path.is_dir(), "{} is missing on the node", path.display());
        Ok(path)
    }

    fn running_pod(&self, cluster: &Cluster) -> Result<Value> {
        until(
            &format!("a running pod in {}", self.namespace),
            Duration::from_secs(120),
            || {
                let pods = cluster.list(Kind::POD, &self.namespace, "app=shop")?;
                let ready = pods.iter().find(|pod| {
                    let conditions = pod["status"]["conditions"].as_array();
                    let ready = conditions.is_some_and(|all| {
                        all.iter()
                            .any(|one| one["type"] == "Ready" && one["status"] == "True")
                    });
                    ready && pod["metadata"]["deletionTimestamp"].is_null()
                });
                Ok(ready.cloned().ok_or_else(|| match pods.first() {
                    Some(pod) => format!("{}", pod["status"]["conditions"]),
                    None => "there is none".to_owned(),
                }))
            },
        )
    }

    fn objects(&self, cluster: &Cluster) -> Value {
        let facts = cluster.facts();
        let namespace = &self.namespace;
        let class = self.storage_class.as_ref().unwrap_or(&facts.storage_class);
        let mut container = json!({
            "name": "shop", "image": facts.application_image, "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/sh", "-c", "sleep 2147483647"],
        });
        let volume_mode = if self.block {
            container["volumeDevices"] = json!([{"name": CLAIM, "devicePath": DEVICE}]);
            "Block"
        } else {
            container["volumeMounts"] = json!([{"name": CLAIM, "mountPath": MOUNT}]);
            "Filesystem"
        };
        json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prices", "namespace": namespace},
             "data": {"apple": "3", "pear": "4"}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "till", "namespace": namespace},
             "stringData": {"code": "0000"}},
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM, "namespace": namespace},
             "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "volumeMode": volume_mode,
                      "resources": {"requests": {"storage": self.size}}}},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop", "namespace": namespace},
             "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]}},
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop", "namespace": namespace},
             "spec": {
                "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": "shop"}},
                "template": {"metadata": {"labels": {"app": "shop"}}, "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [container],
                    "volumes": [{"name": CLAIM, "persistentVolumeClaim": {"claimName": CLAIM}}],
                }},
             }},
        ]})
    }
}
