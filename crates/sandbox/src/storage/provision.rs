//! Volumes made for claims and deleted after them: what the external-provisioner does.
//! Source: kubernetes-csi/external-provisioner v5 `pkg/controller/controller.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use caravel_csi_driver::csi::volume_content_source::{SnapshotSource, Type, VolumeSource};
use caravel_csi_driver::csi::{CapacityRange, CreateVolumeRequest, Volume, VolumeContentSource};
use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec,
};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Error;
use kube::api::ObjectMeta;
use serde_json::json;
use tonic::Code;

use super::claim::{self, SELECTED_NODE, Source};
use super::cluster::{Cluster, names};
use super::controller::{Controller, Done};
use super::csi::{CallError, capability};
use super::events::{Note, reference};
use super::queue::Key;
use super::volume::PROVISIONED_BY;
use super::{protection, quantity, snapshot, volume};

const ALLOW_MODE_CHANGE: &str = "snapshot.storage.kubernetes.io/allow-volume-mode-change";
/// `--default-fstype` of the provisioner as most drivers deploy it.
const DEFAULT_FSTYPE: &str = "ext4";

/// What the driver is to be asked for a claim, or why not (yet): a watch shows when that changes.
pub(super) fn plan(
    cluster: &Cluster,
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    driver: &str,
) -> Result<CreateVolumeRequest, String> {
    if claim.spec.as_ref().is_some_and(|spec| spec.selector.is_some()) {
        return Err("claim Selector is not supported".to_owned());
    }
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.clone());
    let block = claim::mode(claim) == "Block";
    let content = match claim::source(claim) {
        None => None,
        Some(source) => Some(content_source(cluster, claim, &source, driver)?),
    };
    let parameters = class.parameters.iter().flatten();
    Ok(CreateVolumeRequest {
        name: volume_name(claim),
        capacity_range: Some(CapacityRange {
            required_bytes: claim::requested(claim),
            limit_bytes: 0,
        }),
        volume_capabilities: vec![capability(block, &modes.unwrap_or_default())],
        parameters: parameters
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        volume_content_source: content.map(|of| VolumeContentSource { r#type: Some(of) }),
        ..CreateVolumeRequest::default()
    })
}

fn content_source(
    cluster: &Cluster,
    claim: &PersistentVolumeClaim,
    source: &Source,
    driver: &str,
) -> Result<Type, String> {
    let (own, _) = names(&claim.metadata);
    if source.namespace.as_ref().is_some_and(|other| *other != own) {
        return Err("accessing a data source in another namespace needs the feature CrossNamespaceVolumeDataSource, which is off".to_owned());
    }
    match source.kind.as_str() {
        "VolumeSnapshot" => from_snapshot(cluster, claim, &own, &source.name, driver),
        "PersistentVolumeClaim" => from_claim(cluster, claim, &own, &source.name, driver),
        other => Err(format!(
            "data source kind {other} is not one of VolumeSnapshot and PersistentVolumeClaim; a volume populator has to make this volume"
        )),
    }
}

fn from_snapshot(
    cluster: &Cluster,
    claim: &PersistentVolumeClaim,
    namespace: &str,
    name: &str,
    driver: &str,
) -> Result<Type, String> {
    let failed =
        |why: &str| format!("error getting handle for DataSource Type VolumeSnapshot by Name {name}: {why}");
    let Some(found) = cluster.snapshots.get(namespace, name) else {
        return Err(failed(&format!(
            "error getting snapshot {name} from api server: volumesnapshots.snapshot.storage.k8s.io \"{name}\" not found"
        )));
    };
    if found.metadata.deletion_timestamp.is_some() {
        return Err(failed(&format!("snapshot {name} is currently being deleted")));
    }
    let content = snapshot::bound_content(found).and_then(|content| cluster.contents.get("", content));
    let Some(content) = content.filter(|_| snapshot::is_ready(found)) else {
        return Err(failed(&format!("snapshot {name} is not Ready")));
    };
    if content.spec.volume_snapshot_ref.uid != found.metadata.uid {
        return Err(failed(&format!(
            "snapshotcontent for snapshot {name} is bound to a different snapshot"
        )));
    }
    if content.spec.driver != driver {
        return Err(failed(&format!(
            "requested snapshot driver {} does not match the driver {driver}",
            content.spec.driver
        )));
    }
    let status = content.status.as_ref();
    let needed = status.and_then(|status| status.restore_size).unwrap_or(0);
    if claim::requested(claim) < needed {
        return Err(failed(&format!(
            "requested volume size {} is less than the size {needed} for the source snapshot {name}",
            claim::requested(claim)
        )));
    }
    let mode = content.spec.source_volume_mode.as_deref();
    let may_change = content
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|all| all.get(ALLOW_MODE_CHANGE).is_some_and(|value| value == "true"));
    if mode.is_some_and(|mode| mode != claim::mode(claim)) && !may_change {
        return Err(failed(&format!(
            "requested volume {namespace}/{} modifies the mode of the source volume but does not have permission to do so. {ALLOW_MODE_CHANGE} annotation is not present on snapshotcontent {}",
            claim.metadata.name.as_deref().unwrap_or_default(),
            content.metadata.name.as_deref().unwrap_or_default()
        )));
    }
    match status.and_then(|status| status.snapshot_handle.clone()) {
        Some(snapshot_id) => Ok(Type::Snapshot(SnapshotSource { snapshot_id })),
        None => Err(failed(&format!("snapshot handle {name} is not available"))),
    }
}

fn from_claim(
    cluster: &Cluster,
    claim: &PersistentVolumeClaim,
    namespace: &str,
    name: &str,
    driver: &str,
) -> Result<Type, String> {
    let failed = |why: &str| {
        format!("error getting handle for DataSource Type PersistentVolumeClaim by Name {name}: {why}")
    };
    let Some(found) = cluster.claims.get(namespace, name) else {
        return Err(failed(&format!(
            "error getting PVC {name} (namespace \"{namespace}\") from api server: persistentvolumeclaim \"{name}\" not found"
        )));
    };
    if found.metadata.deletion_timestamp.is_some() {
        return Err(failed(&format!(
            "the source PVC {name} is currently being deleted"
        )));
    }
    if claim::phase(found) != "Bound" {
        return Err(failed(&format!(
            "the PVC {name} is not bound, in state {:?}",
            claim::phase(found)
        )));
    }
    let source = claim::volume_name(found).and_then(|volume| cluster.volumes.get("", volume));
    let Some(source) = source.filter(|source| volume::driver(source) == Some(driver)) else {
        return Err(failed(&format!(
            "the volume of the source PVC is not one of driver {driver}"
        )));
    };
    if volume::mode(source) != claim::mode(claim) {
        return Err(failed(
            "the source PVC and destination PVCs do not have the same volume mode for cloning",
        ));
    }
    if claim::requested(claim) < volume::capacity(source) {
        return Err(failed(&format!(
            "new PVC request must be greater than or equal in size to the specified PVC data source, requested {} but source is {}",
            claim::requested(claim),
            volume::capacity(source)
        )));
    }
    let volume_id = volume::handle(source).unwrap_or_default().to_owned();
    Ok(Type::Volume(VolumeSource { volume_id }))
}

/// Of the volume that is made for a claim.
fn volume_name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or_default())
}

/// The PersistentVolume of what the driver has made.
fn persistent_volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    driver: &str,
    made: Volume,
) -> PersistentVolume {
    let policy = class
        .reclaim_policy
        .clone()
        .unwrap_or_else(|| "Delete".to_owned());
    let block = claim::mode(claim) == "Block";
    let annotations = [
        (PROVISIONED_BY, driver),
        ("volume.kubernetes.io/provisioner-deletion-secret-name", ""),
        ("volume.kubernetes.io/provisioner-deletion-secret-namespace", ""),
    ];
    let bytes = if made.capacity_bytes > 0 {
        made.capacity_bytes
    } else {
        claim::requested(claim)
    };
    let mut attributes: BTreeMap<String, String> = made.volume_context.into_iter().collect();
    attributes.insert(
        "storage.kubernetes.io/csiProvisionerIdentity".to_owned(),
        format!("0-{driver}"),
    );
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(volume_name(claim)),
            annotations: Some(
                annotations
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
            finalizers: (policy == "Delete").then(|| vec![protection::PROVISIONED.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: claim.spec.as_ref().and_then(|spec| spec.access_modes.clone()),
            capacity: Some([("storage".to_owned(), quantity::binary(bytes))].into()),
            claim_ref: Some(reference(claim)),
            csi: Some(CSIPersistentVolumeSource {
                driver: driver.to_owned(),
                volume_handle: made.volume_id,
                fs_type: (!block).then(|| DEFAULT_FSTYPE.to_owned()),
                volume_attributes: Some(attributes),
                ..CSIPersistentVolumeSource::default()
            }),
            mount_options: class.mount_options.clone(),
            persistent_volume_reclaim_policy: Some(policy),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: Some(claim::mode(claim).to_owned()),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

impl Controller {
    fn provisioner(&self) -> String {
        format!("{}_sandbox", self.settings.driver_name)
    }

    /// Has the driver make a claim's volume.
    pub(super) async fn provision(&mut self, claim: &Arc<PersistentVolumeClaim>) -> Result<(), Error> {
        let (namespace, name) = names(&claim.metadata);
        if self.cluster.volumes.get("", &volume_name(claim)).is_some() {
            // Made before; the binder sees it by its claimRef.
            return Ok(());
        }
        let class_name = claim::class(claim).unwrap_or_default();
        let Some(class) = self.cluster.classes.get("", class_name).cloned() else {
            return Ok(());
        };
        let component = self.provisioner();
        let start = Note::normal(
            "Provisioning",
            format!("External provisioner is provisioning volume for claim \"{namespace}/{name}\""),
        );
        self.events.once(&component, &**claim, &start).await;
        match plan(&self.cluster, claim, &class, &self.settings.driver_name) {
            Err(why) => {
                let note = failed(class_name, &why);
                self.events.once(&component, &**claim, &note).await;
                Ok(())
            }
            Ok(request) => {
                let csi = self.csi.clone();
                let claim = claim.clone();
                self.start(Key::Claim(namespace, name), async move {
                    let result = csi.create_volume(request).await;
                    Done::Provisioned(claim, class, Box::new(result))
                });
                Ok(())
            }
        }
    }

    /// The driver has made a volume, or refused. The claim may be gone: its volume is then released, and deleted.
    pub(super) async fn provisioned(
        &mut self,
        claim: &PersistentVolumeClaim,
        class: &StorageClass,
        result: Result<Volume, CallError>,
    ) -> Result<bool, Error> {
        let component = self.provisioner();
        let class_name = class.metadata.name.clone().unwrap_or_default();
        match result {
            Ok(made) => {
                let volume = persistent_volume(claim, class, &self.settings.driver_name, made);
                let name = volume.metadata.name.clone().unwrap_or_default();
                self.create(&volume).await?;
                let note = Note::normal(
                    "ProvisioningSucceeded",
                    format!("Successfully provisioned volume {name}"),
                );
                self.events.say(&component, claim, &note).await;
                Ok(true)
            }
            Err(cause) => {
                let note = failed(&class_name, &cause.to_string());
                self.events.say(&component, claim, &note).await;
                let (namespace, name) = names(&claim.metadata);
                // Another node may have room: the scheduler chooses again.
                if cause.code == Code::ResourceExhausted
                    && claim::binds_late(class)
                    && let Some(claim) = self.cluster.claims.get(&namespace, &name).cloned()
                {
                    let patch = json!({"metadata": {"annotations": {SELECTED_NODE: null}}});
                    self.patch(&*claim, patch).await?;
                }
                Ok(false)
            }
        }
    }

    /// Has the driver delete a volume that nobody claims any more.
    pub(super) fn delete_storage(&mut self, volume: Arc<PersistentVolume>) {
        let handle = volume::handle(&volume).unwrap_or_default().to_owned();
        let name = volume.metadata.name.clone().unwrap_or_default();
        let csi = self.csi.clone();
        self.start(Key::Volume(name), async move {
            Done::StorageDeleted(csi.delete_volume(&handle).await)
        });
    }

    /// The driver has deleted a volume, or refused.
    pub(super) async fn storage_deleted(
        &mut self,
        name: &str,
        result: Result<(), CallError>,
    ) -> Result<bool, Error> {
        let Some(volume) = self.cluster.volumes.get("", name).cloned() else {
            return Ok(true);
        };
        if let Err(cause) = result {
            let note = Note::warning("VolumeFailedDelete", cause.to_string());
            let component = self.provisioner();
            self.events.say(&component, &*volume, &note).await;
            return Ok(false);
        }
        self.delete(&*volume).await?;
        let volume = self.cluster.volumes.get("", name).cloned().unwrap_or(volume);
        if protection::has(&volume.metadata, protection::PROVISIONED) {
            let finalizers = protection::without(&volume.metadata, &[protection::PROVISIONED]);
            self.patch(&*volume, json!({"metadata": {"finalizers": finalizers}}))
                .await?;
        }
        Ok(true)
    }
}

fn failed(class: &str, why: &str) -> Note {
    Note::warning(
        "ProvisioningFailed",
        format!("failed to provision volume with StorageClass \"{class}\": {why}"),
    )
}
