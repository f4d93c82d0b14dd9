//! Volumes at the paths of pods: what the attach/detach controller and the kubelet's CSI volume plugin do.
//! Source: Kubernetes v1.34 `pkg/volume/csi/csi_mounter.go`, `pkg/controller/volume/attachdetach`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::ListParams;
use kube::{Api, Client};
use parking_lot::Mutex;

use super::csi::{Csi, capability};
use super::volume;

/// Why a pod does not get its volume; the text is for the event `FailedMount` or `FailedAttachVolume`.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("cannot list PersistentVolumes: {0}")]
    Api(#[from] Box<kube::Error>),
    #[error("no PersistentVolume has the volume handle {0:?}")]
    Unknown(String),
    /// The volume may be on one node only, and is on another.
    #[error(
        "Multi-Attach error for volume \"{volume}\" Volume is already exclusively attached to one node ({node}) and can't be attached to another"
    )]
    MultiAttach { volume: String, node: String },
    /// The driver refused.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {cause}")]
    Driver { volume: String, cause: String },
    #[error("{}: {source}", path.display())]
    Path { path: PathBuf, source: std::io::Error },
}

/// Node, and UID of a pod on it.
type User = (String, String);

/// Shows volumes to pods; cheap to clone.
#[derive(Clone)]
pub struct Volumes {
    client: Client,
    csi: Csi,
    pods: PathBuf,
    /// By volume handle.
    published: Arc<Mutex<BTreeMap<String, BTreeSet<User>>>>,
}

impl Volumes {
    pub(super) fn new(client: Client, csi: Csi, pods: PathBuf) -> Self {
        Self {
            client,
            csi,
            pods,
            published: Arc::default(),
        }
    }

    /// Publishes a volume for a pod: the folder of the volume, or the file of a block volume. Repeated, it gives the same
    /// path. That a volume is read-only is the program's to honour.
    ///
    /// # Errors
    /// [`PublishError`]; all but `Unknown` may pass when tried again.
    pub async fn publish(
        &self,
        volume_handle: &str,
        node: &str,
        pod_uid: &str,
        read_only: bool,
    ) -> Result<PathBuf, PublishError> {
        let found = self.find(volume_handle).await?;
        self.publish_volume(&found, node, pod_uid, read_only).await
    }

    /// As [`Self::publish`], of a volume that was read already.
    ///
    /// # Errors
    /// [`PublishError`]; `Unknown` of a volume that is no driver's.
    pub async fn publish_volume(
        &self,
        found: &PersistentVolume,
        node: &str,
        pod_uid: &str,
        read_only: bool,
    ) -> Result<PathBuf, PublishError> {
        let name = found.metadata.name.clone().unwrap_or_default();
        let Some(volume_handle) = volume::handle(found) else {
            return Err(PublishError::Unknown(name));
        };
        let modes = found
            .spec
            .as_ref()
            .and_then(|spec| spec.access_modes.clone())
            .unwrap_or_default();
        let is_shared = modes
            .iter()
            .any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany");
        self.attach(volume_handle, &name, node, pod_uid, is_shared)?;
        let target = self.target(volume_handle, pod_uid);
        let wanted = capability(volume::mode(found) == "Block", &modes);
        let published = self.csi.publish(volume_handle, &target, wanted, read_only).await;
        let path = published
            .map_err(|cause| PublishError::Driver {
                volume: name,
                cause: cause.to_string(),
            })
            .and_then(|()| {
                std::fs::canonicalize(&target).map_err(|source| PublishError::Path { path: target, source })
            });
        if path.is_err() {
            self.detach(volume_handle, node, pod_uid);
        }
        path
    }

    /// Takes a volume off a pod; one that it does not have is fine.
    ///
    /// # Errors
    /// [`PublishError::Driver`].
    pub async fn unpublish(
        &self,
        volume_handle: &str,
        node: &str,
        pod_uid: &str,
    ) -> Result<(), PublishError> {
        let target = self.target(volume_handle, pod_uid);
        let taken = self.csi.unpublish(volume_handle, &target).await;
        match taken {
            // A volume that is gone is nowhere.
            Err(cause) if cause.code != tonic::Code::NotFound => Err(PublishError::Driver {
                volume: volume_handle.to_owned(),
                cause: cause.to_string(),
            }),
            _ => {
                self.detach(volume_handle, node, pod_uid);
                Ok(())
            }
        }
    }

    /// `<pods>/<uid>/volumes/kubernetes.io~csi/<volume>/mount`, as the kubelet has it.
    fn target(&self, volume_handle: &str, pod_uid: &str) -> PathBuf {
        self.pods
            .join(pod_uid)
            .join("volumes/kubernetes.io~csi")
            .join(volume_handle)
            .join("mount")
    }

    fn attach(
        &self,
        volume_handle: &str,
        name: &str,
        node: &str,
        pod: &str,
        is_shared: bool,
    ) -> Result<(), PublishError> {
        let mut published = self.published.lock();
        let users = published.entry(volume_handle.to_owned()).or_default();
        match users.iter().find(|(other, _)| other != node) {
            Some((other, _)) if !is_shared => Err(PublishError::MultiAttach {
                volume: name.to_owned(),
                node: other.clone(),
            }),
            _ => {
                users.insert((node.to_owned(), pod.to_owned()));
                Ok(())
            }
        }
    }

    fn detach(&self, volume_handle: &str, node: &str, pod: &str) {
        let mut published = self.published.lock();
        if let Some(users) = published.get_mut(volume_handle) {
            users.remove(&(node.to_owned(), pod.to_owned()));
            if users.is_empty() {
                published.remove(volume_handle);
            }
        }
    }

    async fn find(&self, volume_handle: &str) -> Result<PersistentVolume, PublishError> {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let all = volumes.list(&ListParams::default()).await.map_err(Box::new)?;
        all.items
            .into_iter()
            .find(|volume| volume::handle(volume) == Some(volume_handle))
            .ok_or_else(|| PublishError::Unknown(volume_handle.to_owned()))
    }
}
