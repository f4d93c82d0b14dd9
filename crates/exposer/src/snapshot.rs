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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use caravel_csi::{
    DeletionPolicy, VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotContentSource,
    VolumeSnapshotContentSpec, VolumeSnapshotSource, VolumeSnapshotSpec,
};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    NodeSelector, ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod,
    ServiceAccount, TypedLocalObjectReference, VolumeResourceRequirements,
};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttachment};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use serde_json::json;

use crate::api::{self, Cluster};
use crate::mover_pod::{DataMoverPod, LocationMount, Verb};
use crate::{ExposerError, Next, Settings, Step};

/// Group of the snapshot API, as a PVC's data source names it.
const SNAPSHOT_GROUP: &str = "snapshot.storage.k8s.io";
/// Label that tells distributed snapshotters which node's sidecar a content belongs to; kept on our copy.
const MANAGED_BY: &str = "snapshot.storage.kubernetes.io/managed-by";

/// Access mode of a backup PVC that is only read.
const READ_ONLY: &str = "ReadOnlyMany";
/// Annotation of a backup PVC that asks vSphere for a fast clone.
const FAST_CLONE: &str = "csi.vsphere.volume/fast-provisioning";

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

/// Takes one step of this ladder.
pub async fn take(
    cluster: &Cluster,
    request: &SnapshotRequest,
    exposure: &SnapshotExposure,
    step: Step,
) -> Result<(), ExposerError> {
    match step {
        Step::CreateBackupSnapshot => create_snapshot(cluster, request, exposure).await,
        Step::ReleaseSource => release_source(cluster, exposure).await,
        Step::CreateBackupPvc => {
            let pvc = backup_pvc(&cluster.namespace, request, exposure);
            api::create(&cluster.ours(), &pvc).await
        }
        Step::CreateMoverPod => create_pod(cluster, request, exposure).await,
        _ => Ok(()),
    }
}

/// Retains the source first: from here on nobody but our own content decides over the storage snapshot.
async fn create_snapshot(
    cluster: &Cluster,
    request: &SnapshotRequest,
    exposure: &SnapshotExposure,
) -> Result<(), ExposerError> {
    let contents = cluster.wide::<VolumeSnapshotContent>();
    if let Some(source_content) = &exposure.source_content {
        let name = source_content.metadata.name.as_deref().unwrap_or_default();
        if source_content.spec.deletion_policy != DeletionPolicy::Retain {
            api::patch(&contents, name, &json!({"spec": {"deletionPolicy": "Retain"}})).await?;
        }
        if let Some(content) = backup_content(&cluster.namespace, request, source_content) {
            api::create(&contents, &content).await?;
        }
    }
    api::create(
        &cluster.ours(),
        &backup_snapshot(&cluster.namespace, request, exposure),
    )
    .await
}

/// Content first: it waits for its VolumeSnapshot by its finalizer, so a crash in between leaves the one that we
/// look for.
async fn release_source(cluster: &Cluster, exposure: &SnapshotExposure) -> Result<(), ExposerError> {
    let Some(source) = &exposure.source else {
        return Ok(());
    };
    if let Some(content) = &exposure.source_content {
        let contents = cluster.wide::<VolumeSnapshotContent>();
        let name = content.metadata.name.as_deref().unwrap_or_default();
        if content.spec.deletion_policy != DeletionPolicy::Retain {
            api::patch(&contents, name, &json!({"spec": {"deletionPolicy": "Retain"}})).await?;
        }
        api::delete(&contents, &content.metadata).await?;
    }
    let namespace = source.metadata.namespace.as_deref().unwrap_or_default();
    api::delete(
        &cluster.in_namespace::<VolumeSnapshot>(namespace),
        &source.metadata,
    )
    .await
}

fn backup_snapshot(
    namespace: &str,
    request: &SnapshotRequest,
    exposure: &SnapshotExposure,
) -> VolumeSnapshot {
    let source = exposure.source.as_ref();
    VolumeSnapshot {
        metadata: ObjectMeta {
            name: Some(request.name.clone()),
            namespace: Some(namespace.into()),
            annotations: source.and_then(|source| source.metadata.annotations.clone()),
            ..ObjectMeta::default()
        },
        spec: VolumeSnapshotSpec {
            source: VolumeSnapshotSource {
                volume_snapshot_content_name: Some(request.name.clone()),
                ..VolumeSnapshotSource::default()
            },
            volume_snapshot_class_name: class(request, source),
        },
        status: None,
    }
}

fn backup_content(
    namespace: &str,
    request: &SnapshotRequest,
    source: &VolumeSnapshotContent,
) -> Option<VolumeSnapshotContent> {
    let managed_by = source
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(MANAGED_BY));
    Some(VolumeSnapshotContent {
        metadata: ObjectMeta {
            name: Some(request.name.clone()),
            annotations: source.metadata.annotations.clone().map(secrets_only),
            labels: managed_by.map(|node| BTreeMap::from([(MANAGED_BY.to_owned(), node.clone())])),
            ..ObjectMeta::default()
        },
        spec: VolumeSnapshotContentSpec {
            deletion_policy: DeletionPolicy::Delete,
            driver: source.spec.driver.clone(),
            source: VolumeSnapshotContentSource {
                snapshot_handle: Some(handle(Some(source))?.to_owned()),
                ..VolumeSnapshotContentSource::default()
            },
            source_volume_mode: source.spec.source_volume_mode.clone(),
            volume_snapshot_class_name: source.spec.volume_snapshot_class_name.clone(),
            volume_snapshot_ref: ObjectReference {
                api_version: Some("snapshot.storage.k8s.io/v1".into()),
                kind: Some("VolumeSnapshot".into()),
                namespace: Some(namespace.into()),
                name: Some(request.name.clone()),
                ..ObjectReference::default()
            },
        },
        status: None,
    })
}

/// A copy needs the snapshotter's secrets, and none of the notes that the snapshot controllers keep for themselves
/// (`volumesnapshot-being-created` would stop the copy's deletion).
fn secrets_only(annotations: BTreeMap<String, String>) -> BTreeMap<String, String> {
    annotations
        .into_iter()
        .filter(|(key, _)| key.contains("secret") || key.contains("allow-volume-mode-change"))
        .collect()
}

fn backup_pvc(
    namespace: &str,
    request: &SnapshotRequest,
    exposure: &SnapshotExposure,
) -> PersistentVolumeClaim {
    let said = request.settings.backup_pvc(&request.storage_class);
    let access_mode = if said.read_only {
        READ_ONLY
    } else {
        "ReadWriteOnce"
    };
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(request.name.clone()),
            namespace: Some(namespace.into()),
            annotations: (!said.annotations.is_empty()).then_some(said.annotations),
            owner_references: Some(vec![request.owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![access_mode.into()]),
            data_source: Some(TypedLocalObjectReference {
                api_group: Some(SNAPSHOT_GROUP.into()),
                kind: "VolumeSnapshot".into(),
                name: request.name.clone(),
            }),
            storage_class_name: Some(said.storage_class),
            volume_mode: Some(volume_mode(exposure).into()),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".into(), size(exposure))])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

async fn create_pod(
    cluster: &Cluster,
    request: &SnapshotRequest,
    exposure: &SnapshotExposure,
) -> Result<(), ExposerError> {
    let inherited = inherited(cluster, &request.settings).await?;
    let said = request.settings.backup_pvc(&request.storage_class);
    let read_only = exposure.is_read_only();
    let pod = DataMoverPod {
        verb: Verb::Backup,
        name: &request.name,
        namespace: &cluster.namespace,
        uid: &request.uid,
        owner: request.owner.clone(),
        volume_mode: volume_mode(exposure),
        resource_timeout: request.resource_timeout,
        location: &request.location,
        service_account: inherited.service_account(),
        on_node: None,
        topology: exposure.topology(),
        not_on_nodes: &nodes_of_source(cluster, exposure).await?,
        storage_class: &backup_class_name(request, exposure.backup_pvc.as_ref()),
        read_only,
        no_relabeling: read_only && said.spc_no_relabeling,
        settings: &request.settings,
        priority_class: inherited.priority_class(),
    };
    api::create(&cluster.ours(), &pod.build(&inherited.agent)).await
}

/// vSphere's fast clone of a snapshot cannot be attached where the source is (Velero v1.18.3,
/// `pkg/exposer/csi_snapshot.go`): the nodes that the source is attached to, where the backup PVC asks for such a clone.
async fn nodes_of_source(
    cluster: &Cluster,
    exposure: &SnapshotExposure,
) -> Result<Vec<String>, ExposerError> {
    let pvc = exposure.backup_pvc.as_ref();
    let is_fast_clone = pvc.is_some_and(|pvc| {
        let annotations = pvc.metadata.annotations.as_ref();
        annotations.is_some_and(|all| all.contains_key(FAST_CLONE))
    });
    let volume = exposure
        .source_volume
        .as_ref()
        .and_then(|volume| volume.metadata.name.as_ref());
    let (true, Some(volume)) = (is_fast_clone, volume) else {
        return Ok(Vec::new());
    };
    let attached = api::list(&cluster.wide::<VolumeAttachment>(), "").await?;
    let of_volume = attached
        .into_iter()
        .filter(|it| it.spec.source.persistent_volume_name.as_ref() == Some(volume));
    Ok(of_volume.map(|it| it.spec.node_name).collect())
}

/// What a data mover pod takes from around it.
pub(crate) struct Inherited {
    pub agent: DaemonSet,
    account: bool,
    priority_class: Option<String>,
}

impl Inherited {
    /// The data movers' own ServiceAccount, where there is one.
    pub fn service_account(&self) -> Option<&'static str> {
        self.account
            .then_some(caravel_api::labels::DATA_MOVER_SERVICE_ACCOUNT)
    }

    /// The configured class, where it exists: with another name the pod would be refused.
    pub fn priority_class(&self) -> Option<&str> {
        self.priority_class.as_deref()
    }
}

/// The node agent's DaemonSet, whether data movers have a ServiceAccount of their own, and their priority class.
pub(crate) async fn inherited(cluster: &Cluster, settings: &Settings) -> Result<Inherited, ExposerError> {
    let (agents, accounts) = (cluster.ours::<DaemonSet>(), cluster.ours::<ServiceAccount>());
    let priorities = cluster.wide::<PriorityClass>();
    let (agent, account, priority) = futures::try_join!(
        api::get(&agents, "node-agent"),
        api::get(&accounts, caravel_api::labels::DATA_MOVER_SERVICE_ACCOUNT),
        api::get(&priorities, &settings.priority_class_name),
    )?;
    let agent = agent.ok_or_else(|| ExposerError::NoNodeAgent {
        namespace: cluster.namespace.clone(),
    })?;
    Ok(Inherited {
        agent,
        account: account.is_some(),
        priority_class: priority.and_then(|class| class.metadata.name),
    })
}

/// The source PVC's mode; after its deletion, what the snapshot remembers of it.
fn volume_mode(exposure: &SnapshotExposure) -> &str {
    let of_content = |content: &Option<VolumeSnapshotContent>| {
        content
            .as_ref()
            .and_then(|content| content.spec.source_volume_mode.clone())
    };
    let mode = exposure
        .backup_pvc
        .as_ref()
        .or(exposure.source_pvc.as_ref())
        .and_then(|pvc| pvc.spec.as_ref()?.volume_mode.clone())
        .or_else(|| of_content(&exposure.backup_content))
        .or_else(|| of_content(&exposure.source_content));
    if mode.as_deref() == Some("Block") {
        "Block"
    } else {
        "Filesystem"
    }
}

/// The larger of what the snapshot needs and what the source asked for.
fn size(exposure: &SnapshotExposure) -> Quantity {
    let needed = [&exposure.backup_content, &exposure.source_content]
        .into_iter()
        .flatten()
        .find_map(|content| content.status.as_ref()?.restore_size)
        .unwrap_or(0);
    let asked = exposure.source_pvc.as_ref().and_then(|pvc| {
        pvc.spec
            .as_ref()?
            .resources
            .as_ref()?
            .requests
            .as_ref()?
            .get("storage")
            .cloned()
    });
    match asked {
        Some(asked) if quantity_bytes(&asked.0).is_some_and(|bytes| bytes >= needed) || needed <= 0 => asked,
        _ => Quantity(needed.max(1).to_string()),
    }
}

/// Bytes of a Kubernetes quantity (`10Gi`, `1500M`, `1073741824`); None where it is written in a way we do not know.
pub(crate) fn quantity_bytes(text: &str) -> Option<i64> {
    const UNITS: &[(&str, f64)] = &[
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
    ];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
        .unwrap_or((text, 1.0));
    let number: f64 = number.parse().ok()?;
    // Sizes of volumes are far below 2^53; a fraction of a byte is rounded up.
    Some((number * unit).ceil() as i64)
}

fn class(request: &SnapshotRequest, source: Option<&VolumeSnapshot>) -> Option<String> {
    source
        .and_then(|source| source.spec.volume_snapshot_class_name.clone())
        .or_else(|| (!request.snapshot_class.is_empty()).then(|| request.snapshot_class.clone()))
}

fn bound_content(snapshot: &VolumeSnapshot) -> String {
    snapshot
        .status
        .as_ref()
        .and_then(|status| status.bound_volume_snapshot_content_name.clone())
        .unwrap_or_default()
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

#[cfg(test)]
mod tests;
