//! The connection to a cluster: objects by the API, commands as a user types them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{Kind, until};
use crate::facts::Facts;
use crate::run::{self, Said};

/// A cluster that a scenario works on. Its methods block: a scenario is one story, told in order.
pub struct Cluster {
    facts: Facts,
    runtime: Runtime,
    client: Client,
    velero: Option<PathBuf>,
    home: tempfile::TempDir,
}

impl Cluster {
    /// Connects to the cluster that `CARAVEL_E2E` names (a facts file), else to our own one.
    pub fn connect() -> Result<Self> {
        Self::connect_to(Facts::read()?)
    }

    /// Connects to this cluster.
    pub fn connect_to(facts: Facts) -> Result<Self> {
        // An error means that a provider is installed already, which is just as well.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = Runtime::new().context("cannot start a runtime")?;
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(&facts.kubeconfig)
                .with_context(|| format!("cannot read {}", facts.kubeconfig.display()))?;
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
            anyhow::Ok(Client::try_from(config)?)
        })?;
        let home = tempfile::tempdir().context("cannot make a home for the commands")?;
        let velero = std::env::var_os("CARAVEL_VELERO")
            .map(PathBuf::from)
            .or_else(|| facts.velero.clone());
        Ok(Self {
            facts,
            runtime,
            client,
            velero,
            home,
        })
    }

    /// Does what takes many requests at once, to its end.
    pub fn with_client<T, F: Future<Output = T>>(&self, work: impl FnOnce(Client) -> F) -> T {
        self.runtime.block_on(work(self.client.clone()))
    }

    /// Addresses, classes and files of this cluster.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Runs `velero` and prints what it was asked and what it said; any exit code is an answer.
    pub fn velero(&self, arguments: &[&str]) -> Result<Said> {
        let program = self.velero.clone().unwrap_or_else(|| PathBuf::from("velero"));
        self.velero_of(&program, arguments)
    }

    /// The same with another `velero` than ours.
    pub fn velero_of(&self, program: &Path, arguments: &[&str]) -> Result<Said> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("KUBECONFIG", &self.facts.kubeconfig)
            .env("HOME", self.home.path());
        let said = run::said(&mut command)?;
        println!("   $ velero {}\n{}", arguments.join(" "), indented(&said.both()));
        Ok(said)
    }

    /// Runs `velero`, which must succeed; returns standard output.
    pub fn velero_ok(&self, arguments: &[&str]) -> Result<String> {
        let said = self.velero(arguments)?;
        if !said.succeeded() {
            bail!(
                "`velero {}` ended with {}: {}",
                arguments.join(" "),
                said.code,
                said.both().trim()
            );
        }
        Ok(said.stdout)
    }

    /// Runs `kubectl`, which must succeed; returns standard output.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run::checked(self.kubectl_command().args(arguments))
    }

    /// Applies YAML or JSON text, one or more objects.
    pub fn apply(&self, objects: &str) -> Result<()> {
        let mut command = self.kubectl_command();
        let said = run::said_after_reading(
            command.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]),
            objects.as_bytes(),
        )?;
        if !said.succeeded() {
            bail!("kubectl apply failed: {}", said.both().trim());
        }
        Ok(())
    }

    /// Runs a shell line in a pod; standard output.
    pub fn exec(&self, namespace: &str, pod: &str, line: &str) -> Result<String> {
        self.kubectl(&[
            "exec",
            "--namespace",
            namespace,
            pod,
            "--",
            "/bin/sh",
            "-ec",
            line,
        ])
    }

    /// Where the node has a pod's volume (a PersistentVolume's name), by way of a process in the cluster's mount namespace;
    /// it may not be mounted.
    pub fn mount_on_node(&self, pod_uid: &str, volume: &str) -> Result<PathBuf> {
        let process = self
            .facts
            .mounts_pid
            .context("volumes can only be read on the node of our own cluster; this one's is out of reach")?;
        Ok(PathBuf::from(format!(
            "/proc/{process}/root/var/lib/kubelet/pods/{pod_uid}/volumes/kubernetes.io~csi/{volume}/mount"
        )))
    }

    /// An object, if it exists. Cluster-scoped ones have the namespace "".
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Value>> {
        let found = self
            .runtime
            .block_on(self.api(kind, namespace).get_opt(name))
            .with_context(|| format!("cannot get {} {namespace}/{name}", kind.name()))?;
        found
            .map(|object| serde_json::to_value(object).context("an object is JSON"))
            .transpose()
    }

    /// An object that must exist.
    pub fn must_get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Value> {
        self.get(kind, namespace, name)?
            .with_context(|| format!("there is no {} {namespace}/{name}", kind.name()))
    }

    /// The objects of a kind with these labels (`a=b,c=d`; "" is all), in one namespace or, with "", in all.
    pub fn list(&self, kind: Kind, namespace: &str, labels: &str) -> Result<Vec<Value>> {
        let listed = self
            .runtime
            .block_on(
                self.api(kind, namespace)
                    .list(&ListParams::default().labels(labels)),
            )
            .with_context(|| format!("cannot list {}", kind.name()))?;
        listed
            .items
            .into_iter()
            .map(|object| serde_json::to_value(object).context("an object is JSON"))
            .collect()
    }

    /// Changes an object by a JSON merge patch.
    pub fn merge(&self, kind: Kind, namespace: &str, name: &str, patch: &Value) -> Result<()> {
        self.runtime
            .block_on(
                self.api(kind, namespace)
                    .patch(name, &PatchParams::default(), &Patch::Merge(patch)),
            )
            .with_context(|| format!("cannot patch {} {namespace}/{name}", kind.name()))?;
        Ok(())
    }

    /// Deletes an object, if it exists, and waits until it is gone.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Result<()> {
        self.begin_deletion(kind, namespace, name)?;
        self.wait_until_gone(kind, namespace, name, Duration::from_secs(120))
    }

    /// Asks for the deletion of an object, if it exists.
    pub fn begin_deletion(&self, kind: Kind, namespace: &str, name: &str) -> Result<()> {
        let asked = self.api(kind, namespace);
        match self
            .runtime
            .block_on(asked.delete(name, &DeleteParams::default()))
        {
            Ok(_) => Ok(()),
            // There is none, or (409) its namespace's deletion is under way.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("cannot delete {} {namespace}/{name}", kind.name()))
            }
        }
    }

    /// Waits until an object is gone.
    pub fn wait_until_gone(&self, kind: Kind, namespace: &str, name: &str, deadline: Duration) -> Result<()> {
        let what = format!("the end of {} {namespace}/{name}", kind.name());
        until(&what, deadline, || {
            Ok(match self.get(kind, namespace, name)? {
                None => Ok(()),
                Some(left) => Err(format!(
                    "it still has the finalizers {}, conditions {}",
                    left["metadata"]["finalizers"], left["status"]["conditions"]
                )),
            })
        })
    }

    /// Waits for an object to be as `wanted` says: `wanted` returns the answer, or what is missing.
    pub fn wait_for<T>(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        deadline: Duration,
        wanted: impl Fn(&Value) -> std::result::Result<T, String>,
    ) -> Result<T> {
        until(&format!("{} {namespace}/{name}", kind.name()), deadline, || {
            Ok(match self.get(kind, namespace, name)? {
                None => Err("it does not exist".to_owned()),
                Some(object) => {
                    wanted(&object).map_err(|missing| format!("{missing}; status {}", object["status"]))
                }
            })
        })
    }

    /// Waits until `status.phase` is one of these, and returns the object.
    pub fn wait_for_phase(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        phases: &[&str],
        deadline: Duration,
    ) -> Result<Value> {
        self.wait_for(kind, namespace, name, deadline, |object| {
            let now = super::phase(object);
            if phases.contains(&now) {
                Ok(object.clone())
            } else {
                Err(format!("phase `{now}`, not one of {phases:?}"))
            }
        })
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        let resource = kind.resource();
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }

    fn kubectl_command(&self) -> Command {
        let mut command = Command::new("kubectl");
        command
            .env("KUBECONFIG", &self.facts.kubeconfig)
            .env("HOME", self.home.path());
        command
    }
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("   | {line}\n"))
        .collect::<String>()
        .trim_end()
        .to_owned()
}
