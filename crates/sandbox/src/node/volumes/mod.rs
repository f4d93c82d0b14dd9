//! A pod's volumes as folders of the machine.
//!
//! Below the node's own root, where a kubelet has them:
//! `var/lib/kubelet/pods/<uid>/volumes/kubernetes.io~<kind>/<name>`; so what looks for volumes of pods through a
//! `hostPath` finds them. A `hostPath` never leaves the node's root.

mod files;

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume,
};
use kube::{Client, ResourceExt};

use super::environment::Addresses;
use crate::machinery::Kinds;

/// The CSI driver's node service, as the kubelet calls it.
#[async_trait]
pub trait Volumes: Send + Sync + 'static {
    /// Makes the volume reachable on the node: its folder, or of a Block volume its file. Idempotent.
    async fn publish(&self, driver: &str, handle: &str, node: &str) -> Result<PathBuf, String>;

    /// The pod does not use it any more. Idempotent.
    async fn unpublish(&self, driver: &str, handle: &str, node: &str) -> Result<(), String>;
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
}

/// A volume that is there.
#[derive(Debug, Clone)]
pub struct Mounted {
    pub path: PathBuf,
    /// Driver and handle, to be given back.
    pub published: Option<(String, String)>,
}

/// The reason of the event, and its message: `FailedMount`, `MountVolume.SetUp failed for …`.
pub type MountError = String;

/// `var/lib/kubelet/pods/<uid>` below the node's root.
pub fn pod_folder(root: &Path, pod: &Pod) -> PathBuf {
    root.join("var/lib/kubelet/pods")
        .join(pod.uid().unwrap_or_default())
}

impl Mounter<'_> {
    /// Mounts every volume of the pod, by name.
    pub async fn mount_all(&self) -> Result<BTreeMap<String, Mounted>, MountError> {
        let mut mounted = BTreeMap::new();
        for volume in self
            .pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten())
        {
            let done = self
                .mount(volume)
                .await
                .map_err(|why| format!("MountVolume.SetUp failed for volume \"{}\" : {why}", volume.name))?;
            mounted.insert(volume.name.clone(), done);
        }
        Ok(mounted)
    }

    async fn mount(&self, volume: &Volume) -> Result<Mounted, String> {
        let own = |path: PathBuf| Mounted {
            path,
            published: None,
        };
        if let Some(claim) = &volume.persistent_volume_claim {
            return self.mount_claim(claim).await;
        }
        if volume.ephemeral.is_some() {
            let claim_name = format!("{}-{}", self.pod.name_any(), volume.name);
            let claim = PersistentVolumeClaimVolumeSource {
                claim_name,
                read_only: None,
            };
            return self.mount_claim(&claim).await;
        }
        if let Some(host) = &volume.host_path {
            let path = within(self.root, &host.path)
                .ok_or_else(|| format!("hostPath {} is not a path", host.path))?;
            let is_file = host.type_.as_deref().is_some_and(|kind| kind.starts_with("File"));
            let folder = if is_file {
                path.parent().unwrap_or(&path)
            } else {
                &path
            };
            std::fs::create_dir_all(folder).map_err(|error| said(&error))?;
            return Ok(own(path));
        }
        let kind = kind_of(volume).ok_or("this kind of volume is not served by the sandbox")?;
        let folder = self.folder(kind, &volume.name);
        std::fs::create_dir_all(&folder).map_err(|error| said(&error))?;
        if let Some(files) = self.files(volume).await? {
            files::write(&folder, files).map_err(|error| said(&error))?;
        }
        Ok(own(folder))
    }

    fn folder(&self, kind: &str, name: &str) -> PathBuf {
        let volumes = pod_folder(self.root, self.pod).join("volumes");
        volumes.join(format!("kubernetes.io~{kind}")).join(name)
    }

    async fn mount_claim(&self, source: &PersistentVolumeClaimVolumeSource) -> Result<Mounted, String> {
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
        let volume =
            volume.ok_or_else(|| format!("PVC {namespace}/{name} has a volume that is not there"))?;
        let spec = volume.spec.clone().unwrap_or_default();
        if let Some(host) = &spec.host_path {
            let path = within(self.root, &host.path)
                .ok_or_else(|| format!("hostPath {} is not a path", host.path))?;
            std::fs::create_dir_all(&path).map_err(|error| said(&error))?;
            return Ok(Mounted {
                path,
                published: None,
            });
        }
        let csi = spec
            .csi
            .ok_or_else(|| format!("volume {} has no CSI driver", volume.name_any()))?;
        let path = self
            .volumes
            .publish(&csi.driver, &csi.volume_handle, self.node)
            .await?;
        if path.is_dir() {
            let link = self.folder("csi", &volume.name_any()).join("mount");
            files::link(&path, &link).map_err(|error| said(&error))?;
        }
        Ok(Mounted {
            path,
            published: Some((csi.driver, csi.volume_handle)),
        })
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
