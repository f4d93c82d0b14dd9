//! A pod's volumes as folders of the machine.
//!
//! Below the node's own root, where a kubelet has them:
//! `var/lib/kubelet/pods/<uid>/volumes/kubernetes.io~<kind>/<name>`; so what looks for volumes of pods through a
//! `hostPath` finds them. A `hostPath` never leaves the node's root.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume,
};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;

use super::environment::Addresses;
use crate::machinery::Kinds;

/// The CSI driver's node service, as the kubelet calls it.
#[async_trait]
pub trait Volumes: Send + Sync + 'static {
    /// Makes the volume reachable for a pod on the node: its folder, or of a Block volume its file. Idempotent.
    async fn publish(
        &self,
        volume: &PersistentVolume,
        on: &OnPod<'_>,
        read_only: bool,
    ) -> Result<PathBuf, MountError>;

    /// The pod does not use it any more. Idempotent.
    async fn unpublish(&self, handle: &str, on: &OnPod<'_>) -> Result<(), String>;
}

/// A volume that a driver does not take back is tried again after this, doubled each time up to a kubelet's longest wait.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(122);

/// Gives a volume back, however often the driver refuses: while it is published nobody can delete it.
pub(super) async fn give_back(volumes: &dyn Volumes, handle: &str, on: &OnPod<'_>) {
    let mut wait = FIRST_WAIT;
    while let Err(why) = volumes.unpublish(handle, on).await {
        tracing::warn!(volume = %handle, pod = on.pod, why, "volume is not given back yet");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// The pod that a volume is for.
#[derive(Debug, Clone, Copy)]
pub struct OnPod<'a> {
    pub node: &'a str,
    /// The pod's UID.
    pub pod: &'a str,
}

/// What mounting needs to know.
pub struct Mounter<'a> {
    pub client: &'a Client,
    pub volumes: &'a dyn Volumes,
    pub node: &'a str,
    /// The node's root on the machine.
    pub root: &'a Path,
    pub pod: &'a Pod,
    pub addresses: &'a Addresses,
    /// Handles of volumes that were asked for, also of those whose asking was broken off: to be given back.
    pub asked: &'a Mutex<BTreeSet<String>>,
}

/// Why a volume is not there: the reason of the event, and its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountError {
    /// `FailedMount`, `FailedAttachVolume`.
    pub reason: &'static str,
    pub message: String,
}

/// `var/lib/kubelet/pods/<uid>` below the node's root.
pub fn pod_folder(root: &Path, pod: &Pod) -> PathBuf {
    root.join("var/lib/kubelet/pods")
        .join(pod.uid().unwrap_or_default())
}

impl Mounter<'_> {
    /// Mounts every volume of the pod, by name.
    pub async fn mount_all(&self) -> Result<BTreeMap<String, PathBuf>, MountError> {
        let mut mounted = BTreeMap::new();
        for volume in self
            .pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten())
        {
            mounted.insert(volume.name.clone(), self.mount(volume).await?);
        }
        Ok(mounted)
    }

    async fn mount(&self, volume: &Volume) -> Result<PathBuf, MountError> {
        let failed = |why: String| MountError {
            reason: "FailedMount",
            message: format!("MountVolume.SetUp failed for volume \"{}\" : {why}", volume.name),
        };
        let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => claim.clone(),
            (None, Some(_)) => PersistentVolumeClaimVolumeSource {
                claim_name: format!("{}-{}", self.pod.name_any(), volume.name),
                read_only: None,
            },
            (None, None) => return self.mount_own(volume).await.map_err(failed),
        };
        let found = self.volume_of(&claim).await.map_err(failed)?;
        let spec = found.spec.clone().unwrap_or_default();
        if let Some(host) = &spec.host_path {
            return self.host_path(&host.path, false).map_err(failed);
        }
        let Some(csi) = spec.csi else {
            return Err(failed(format!("volume {} has no CSI driver", found.name_any())));
        };
        let uid = self.pod.uid().unwrap_or_default();
        let on = OnPod {
            node: self.node,
            pod: &uid,
        };
        let read_only = claim.read_only == Some(true) || self.is_only_read(&volume.name);
        self.asked.lock().insert(csi.volume_handle);
        let path = self.volumes.publish(&found, &on, read_only).await?;
        if path.is_dir() {
            let link = self.folder("csi", &found.name_any()).join("mount");
            files::link(&path, &link).map_err(|error| failed(error.to_string()))?;
        }
        Ok(path)
    }

    /// Every container that has the volume mounts it for reading.
    fn is_only_read(&self, volume: &str) -> bool {
        let spec = self.pod.spec.iter();
        let containers = spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
        let mut is_mounted = false;
        for container in containers {
            let devices = container.volume_devices.iter().flatten();
            if devices.into_iter().any(|device| device.name == volume) {
                return false;
            }
            for mount in container
                .volume_mounts
                .iter()
                .flatten()
                .filter(|it| it.name == volume)
            {
                if mount.read_only != Some(true) {
                    return false;
                }
                is_mounted = true;
            }
        }
        is_mounted
    }

    /// A volume that lives on the node only.
    async fn mount_own(&self, volume: &Volume) -> Result<PathBuf, String> {
        if let Some(host) = &volume.host_path {
            let is_file = host.type_.as_deref().is_some_and(|kind| kind.starts_with("File"));
            return self.host_path(&host.path, is_file);
        }
        let kind = kind_of(volume).ok_or("this kind of volume is not served by the sandbox")?;
        let folder = self.folder(kind, &volume.name);
        std::fs::create_dir_all(&folder).map_err(|error| said(&error))?;
        if let Some(files) = self.files(volume).await? {
            files::write(&folder, files).map_err(|error| said(&error))?;
        }
        Ok(folder)
    }

    fn folder(&self, kind: &str, name: &str) -> PathBuf {
        let volumes = pod_folder(self.root, self.pod).join("volumes");
        volumes.join(format!("kubernetes.io~{kind}")).join(name)
    }

    fn host_path(&self, path: &str, is_file: bool) -> Result<PathBuf, String> {
        let whole = within(self.root, path).ok_or_else(|| format!("hostPath {path} is not a path"))?;
        let folder = if is_file {
            whole.parent().unwrap_or(&whole)
        } else {
            &whole
        };
        std::fs::create_dir_all(folder).map_err(|error| said(&error))?;
        Ok(whole)
    }

    async fn volume_of(
        &self,
        source: &PersistentVolumeClaimVolumeSource,
    ) -> Result<PersistentVolume, String> {
        let namespace = self.pod.namespace().unwrap_or_default();
        let name = &source.claim_name;
        let claims = self.client.of::<PersistentVolumeClaim>(&namespace);
        let claim = claims.get_opt(name).await.map_err(|error| error.to_string())?;
        let claim = claim.ok_or_else(|| format!("persistentvolumeclaim \"{name}\" not found"))?;
        let volume = claim.spec.unwrap_or_default().volume_name.unwrap_or_default();
        if volume.is_empty() {
            return Err(format!("PVC {namespace}/{name} is not bound"));
        }
        let volumes = self.client.wide::<PersistentVolume>();
        let volume = volumes
            .get_opt(&volume)
            .await
            .map_err(|error| error.to_string())?;
        volume.ok_or_else(|| format!("PVC {namespace}/{name} has a volume that is not there"))
    }
}

/// The folder name of the volume's kind.
fn kind_of(volume: &Volume) -> Option<&'static str> {
    let kinds = [
        (volume.empty_dir.is_some(), "empty-dir"),
        (volume.secret.is_some(), "secret"),
        (volume.config_map.is_some(), "configmap"),
        (volume.downward_api.is_some(), "downward-api"),
        (volume.projected.is_some(), "projected"),
    ];
    kinds.into_iter().find(|(is_it, _)| *is_it).map(|(_, kind)| kind)
}

/// An absolute path of the node below its root; `None` when it has `..`.
fn within(root: &Path, path: &str) -> Option<PathBuf> {
    let mut whole = root.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => whole.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(whole)
}

fn said(error: &io::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::within;
    use std::path::Path;

    #[test]
    fn a_host_path_never_leaves_the_nodes_root() {
        let root = Path::new("/box/node");
        assert_eq!(
            within(root, "/var/lib").as_deref(),
            Some(Path::new("/box/node/var/lib"))
        );
        assert_eq!(within(root, "/var/../../etc"), None);
    }
}
