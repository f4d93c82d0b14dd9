//! A source VolumeSnapshot becomes a volume that the data mover can read.
//!
//! ```text
//! source VS ─ bound ─► source VSC ─ handle ─┐            (the PVC item action has made these)
//!                                           ▼
//! backup VS (Velero's namespace) ◄─► backup VSC (policy Delete) ─► backup PVC ─► data mover pod
//! ```
//! All four are named like the DataUpload. The backup pair is made before the source pair goes, so the storage
//! snapshot always has an owner; after that, deleting the backup VolumeSnapshot removes it from the storage.
//!
//! Why the steps come in this order: the provisioner backs off exponentially when a PVC's snapshot is not ready, and
//! the scheduler when a pod's PVC is not bound, so each is created the moment the one before it is good (a watch
//! wakes us), and the release of the source happens while we wait anyway. Only with a delayed-binding class must pod
//! and PVC exist together. Source: velero-behaviour.md 5.3, Velero `pkg/exposer/csi_snapshot.go`.

mod objects;
mod steps;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use caravel_csi::{VolumeSnapshot, VolumeSnapshotContent};
use k8s_openapi::api::core::v1::{NodeSelector, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::api::{self, Cluster};
use crate::mover_pod::LocationMount;
use crate::{ExposerError, Next, Settings, Step};

pub use steps::take;

/// Access mode of a backup PVC that is only read.
const READ_ONLY: &str = "ReadOnlyMany";

/// What a DataUpload asks to expose.
#[derive(Clone, Debug)]
pub struct SnapshotRequest {
    /// Name and UID of the DataUpload.
    pub name: String,
    pub uid: String,
    /// Owner reference to it.
    pub owner: OwnerReference,
    pub source_namespace: String,
    pub source_pvc: String,
    /// Name of the source VolumeSnapshot, in the source namespace.
    pub volume_snapshot: String,
    pub storage_class: String,
    pub snapshot_class: String,
    /// How long the source snapshot may take to become ready.
    pub operation_timeout: Duration,
    pub resource_timeout: Duration,
    pub location: LocationMount,
    /// The repository's `enableCompression`.
    pub enable_compression: bool,
    pub settings: Arc<Settings>,
}

/// What exists of it.
#[derive(Clone, Debug, Default)]
pub struct SnapshotExposure {
    pub source: Option<VolumeSnapshot>,
    pub source_content: Option<VolumeSnapshotContent>,
    pub backup: Option<VolumeSnapshot>,
    pub backup_content: Option<VolumeSnapshotContent>,
    pub source_pvc: Option<PersistentVolumeClaim>,
    pub source_volume: Option<PersistentVolume>,
    pub backup_pvc: Option<PersistentVolumeClaim>,
    pub pod: Option<Pod>,
    /// The source's.
    pub storage_class: Option<StorageClass>,
    /// The backup PVC's, which may be another one.
    pub backup_class: Option<StorageClass>,
    /// The newest warning about the backup PVC.
    pub pvc_warning: Option<String>,
}

/// Reads everything the next step rests on.
pub async fn observe(cluster: &Cluster, request: &SnapshotRequest) -> Result<SnapshotExposure, ExposerError> {
    let theirs = cluster.in_namespace::<VolumeSnapshot>(&request.source_namespace);
    let ours = cluster.ours::<VolumeSnapshot>();
    let contents = cluster.wide::<VolumeSnapshotContent>();
    let source_claims = cluster.in_namespace::<PersistentVolumeClaim>(&request.source_namespace);
    let (claims, pods) = (cluster.ours::<PersistentVolumeClaim>(), cluster.ours::<Pod>());
    let classes = cluster.wide::<StorageClass>();
    let (source, backup, backup_content, source_pvc, backup_pvc, pod, storage_class) = futures::try_join!(
        api::get(&theirs, &request.volume_snapshot),
        api::get(&ours, &request.name),
        api::get(&contents, &request.name),
        api::get(&source_claims, &request.source_pvc),
        api::get(&claims, &request.name),
        api::get(&pods, &request.name),
        api::get(&classes, &request.storage_class),
    )?;
    let bound_content = source.as_ref().map(bound_content).unwrap_or_default();
    let volume = source_pvc
        .as_ref()
        .and_then(|pvc| pvc.spec.as_ref()?.volume_name.clone())
        .unwrap_or_default();
    let volumes = cluster.wide::<PersistentVolume>();
    let backup_class = backup_class_name(request, backup_pvc.as_ref());
    let (source_content, source_volume, backup_class, pvc_warning) = futures::try_join!(
        api::get(&contents, &bound_content),
        api::get(&volumes, &volume),
        api::get(&classes, &backup_class),
        crate::rebind::claim_warning(cluster, backup_pvc.as_ref()),
    )?;
    Ok(SnapshotExposure {
        source,
        source_content,
        backup,
        backup_content,
        source_pvc,
        source_volume,
        backup_pvc,
        pod,
        storage_class,
        backup_class,
        pvc_warning,
    })
}

/// What the backup PVC was made with; before that, what is said now.
fn backup_class_name(request: &SnapshotRequest, pvc: Option<&PersistentVolumeClaim>) -> String {
    pvc.and_then(|pvc| pvc.spec.as_ref()?.storage_class_name.clone())
        .unwrap_or_else(|| request.settings.backup_pvc(&request.storage_class).storage_class)
}

impl SnapshotExposure {
    /// What comes next.
    pub fn next(&self, request: &SnapshotRequest) -> Next {
        match self.toward_pod(request) {
            // Off the path to the pod, so done while waiting for something else.
            Next::Wait { .. } | Next::Done if self.source.is_some() && self.owns_snapshot() => {
                Next::Do(Step::ReleaseSource)
            }
            next => next,
        }
    }

    fn toward_pod(&self, request: &SnapshotRequest) -> Next {
        let name = &request.name;
        if self.pod.is_some() {
            return Next::Done;
        }
        if !self.owns_snapshot() {
            return self.source_ready(request);
        }
        let Some(backup) = &self.backup else {
            return Next::Do(Step::CreateBackupSnapshot);
        };
        if !is_ready(backup) {
            return Next::wait(format!(
                "VolumeSnapshot {name} to be ready{}",
                snapshot_error(Some(backup), self.backup_content.as_ref())
            ));
        }
        let Some(pvc) = &self.backup_pvc else {
            return Next::Do(Step::CreateBackupPvc);
        };
        if !api::is_owned_by(&pvc.metadata, &request.uid) {
            return Next::impossible(format!("PVC {name} exists already and is not ours"));
        }
        match claim_phase(pvc) {
            "Lost" => Next::impossible(format!("PVC {name} has lost its volume")),
            "Bound" => Next::Do(Step::CreateMoverPod),
            _ if self.binds_late() => Next::Do(Step::CreateMoverPod),
            _ => {
                let why = self
                    .pvc_warning
                    .as_deref()
                    .map(|why| format!(" ({why})"))
                    .unwrap_or_default();
                Next::wait(format!("PVC {name} to be bound{why}"))
            }
        }
    }

    fn source_ready(&self, request: &SnapshotRequest) -> Next {
        let object = format!(
            "VolumeSnapshot {}/{}",
            request.source_namespace, request.volume_snapshot
        );
        let Some(source) = &self.source else {
            return Next::impossible(format!(
                "{object} not found: it was deleted before it could be exposed"
            ));
        };
        if source.metadata.deletion_timestamp.is_some() {
            return Next::impossible(format!("{object} is being deleted"));
        }
        if is_ready(source) && handle(self.source_content.as_ref()).is_some() {
            return Next::Do(Step::CreateBackupSnapshot);
        }
        // What the storage has cut needs its claim no more.
        if self.source_pvc.is_none()
            && is_of_claim(source, &request.source_pvc)
            && handle(self.source_content.as_ref()).is_none()
        {
            return Next::impossible(format!(
                "PVC {}/{} was deleted before {object} was cut by the storage",
                request.source_namespace, request.source_pvc
            ));
        }
        Next::Wait {
            what: format!(
                "{object} to be ready{}",
                snapshot_error(Some(source), self.source_content.as_ref())
            ),
            within: Some(request.operation_timeout),
        }
    }

    /// Whether the storage snapshot already belongs to our own content.
    fn owns_snapshot(&self) -> bool {
        self.backup_content.is_some() && self.backup.is_some()
            || self.source.is_none() && (self.backup_content.is_some() || self.backup.is_some())
    }

    fn binds_late(&self) -> bool {
        self.backup_class.as_ref().is_some_and(binds_late)
    }

    /// Whether the backup PVC may only be read.
    fn is_read_only(&self) -> bool {
        let pvc = self.backup_pvc.as_ref().and_then(|pvc| pvc.spec.as_ref());
        pvc.and_then(|spec| spec.access_modes.as_ref())
            .is_some_and(|modes| modes.iter().any(|mode| mode == READ_ONLY))
    }

    /// Where a volume of the snapshot can be, if that is known: that of the source, whose class waits for the pod.
    pub(crate) fn topology(&self) -> Option<&NodeSelector> {
        if !self.storage_class.as_ref().is_some_and(binds_late) {
            return None;
        }
        self.source_volume
            .as_ref()?
            .spec
            .as_ref()?
            .node_affinity
            .as_ref()?
            .required
            .as_ref()
    }
}

fn bound_content(snapshot: &VolumeSnapshot) -> String {
    snapshot
        .status
        .as_ref()
        .and_then(|status| status.bound_volume_snapshot_content_name.clone())
        .unwrap_or_default()
}

/// Whether it is cut from this claim, and not bound to a content that somebody made for it.
fn is_of_claim(snapshot: &VolumeSnapshot, claim: &str) -> bool {
    snapshot.spec.source.persistent_volume_claim_name.as_deref() == Some(claim)
}

fn is_ready(snapshot: &VolumeSnapshot) -> bool {
    snapshot
        .status
        .as_ref()
        .is_some_and(|status| status.ready_to_use == Some(true))
}

fn handle(content: Option<&VolumeSnapshotContent>) -> Option<&str> {
    let content = content?;
    let from_status = content
        .status
        .as_ref()
        .and_then(|status| status.snapshot_handle.as_deref());
    from_status.or(content.spec.source.snapshot_handle.as_deref())
}

fn snapshot_error(snapshot: Option<&VolumeSnapshot>, content: Option<&VolumeSnapshotContent>) -> String {
    let of_snapshot = snapshot.and_then(|snapshot| snapshot.status.as_ref()?.error.as_ref()?.message.clone());
    let of_content = || content.and_then(|content| content.status.as_ref()?.error.as_ref()?.message.clone());
    of_snapshot
        .or_else(of_content)
        .map(|message| format!(" ({message})"))
        .unwrap_or_default()
}

pub(crate) fn claim_phase(pvc: &PersistentVolumeClaim) -> &str {
    pvc.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

/// Whether volumes of this class are made only once a pod that uses them is placed.
pub(crate) fn binds_late(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}
