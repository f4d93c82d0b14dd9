//! VolumeSnapshots: bound to a VolumeSnapshotContent, their own or one that was there first, and shown what it says.
//!
//! ```text
//! class ─► source claim protected ─► content created ─► status as the content's ─► ready
//! source.volumeSnapshotContentName ─► content names it ─┘
//! deleted: content marked, deleted where its policy is Delete ─► finalizers off
//! ```
//! Source: kubernetes-csi/external-snapshotter v8 `pkg/common-controller/snapshot_controller.go`. Acting is in
//! [`super::cut`].

use caravel_csi::types::IS_DEFAULT_CLASS;
use caravel_csi::{
    VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent, VolumeSnapshotContentSource,
    VolumeSnapshotContentSpec, VolumeSnapshotStatus,
};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;

use super::cluster::{Cluster, names};
use super::events::{Note, reference};
use super::{claim, content, protection, quantity, volume};

/// On a claim while a snapshot is cut from it.
pub(super) const CLAIM_AS_SOURCE: &str = "snapshot.storage.kubernetes.io/pvc-as-source-protection";
const AS_SOURCE: &str = "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection";
const BOUND: &str = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection";

/// What is next for a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SnapshotStep {
    Rest,
    Finalizers(Vec<String>),
    SetClass(String),
    /// The finalizer on the claim that it is cut from.
    ProtectClaim(String),
    CreateContent(Box<VolumeSnapshotContent>),
    /// Write its UID into the content that names it.
    BindContent(String),
    Show(Box<VolumeSnapshotStatus>),
    /// Into `status.error`, and an event.
    Fail(Note),
    /// It waits, and this is why.
    Say(Note),
    MarkContent(String),
    DeleteContent(String),
}

/// Decides what is next.
pub(super) fn decide(cluster: &Cluster, snapshot: &VolumeSnapshot) -> SnapshotStep {
    let meta = &snapshot.metadata;
    if meta.deletion_timestamp.is_some() {
        return deleting(cluster, snapshot);
    }
    if !protection::has(meta, AS_SOURCE) {
        return SnapshotStep::Finalizers(protection::with(meta, AS_SOURCE));
    }
    if bound_content(snapshot).is_some() && !protection::has(meta, BOUND) {
        return SnapshotStep::Finalizers(protection::with(meta, BOUND));
    }
    match &snapshot.spec.source.volume_snapshot_content_name {
        Some(name) => preprovisioned(cluster, snapshot, name),
        None => dynamic(cluster, snapshot),
    }
}

fn deleting(cluster: &Cluster, snapshot: &VolumeSnapshot) -> SnapshotStep {
    let meta = &snapshot.metadata;
    let finalizers = protection::without(meta, &[AS_SOURCE, BOUND]);
    if finalizers.len() == meta.finalizers.iter().flatten().count() {
        return SnapshotStep::Rest;
    }
    if is_being_restored(cluster, snapshot) {
        return SnapshotStep::Say(Note::warning(
            "SnapshotDeletePending",
            "Snapshot is being used to restore a PVC",
        ));
    }
    let name = content_name(snapshot).unwrap_or_default();
    let own = cluster
        .contents
        .get("", &name)
        .filter(|content| content.spec.volume_snapshot_ref.uid == meta.uid);
    let Some(content) = own else {
        return SnapshotStep::Finalizers(finalizers);
    };
    if !content::is_marked(content) {
        return SnapshotStep::MarkContent(name);
    }
    match content.spec.deletion_policy {
        caravel_csi::DeletionPolicy::Retain => SnapshotStep::Finalizers(finalizers),
        caravel_csi::DeletionPolicy::Delete if content.metadata.deletion_timestamp.is_none() => {
            SnapshotStep::DeleteContent(name)
        }
        caravel_csi::DeletionPolicy::Delete => SnapshotStep::Rest,
    }
}

fn is_being_restored(cluster: &Cluster, snapshot: &VolumeSnapshot) -> bool {
    let (namespace, name) = names(&snapshot.metadata);
    cluster.claims.of(&namespace).any(|claim| {
        claim.metadata.deletion_timestamp.is_none()
            && claim::phase(claim) == "Pending"
            && claim::source(claim)
                .is_some_and(|source| source.kind == "VolumeSnapshot" && source.name == name)
    })
}

fn preprovisioned(cluster: &Cluster, snapshot: &VolumeSnapshot, name: &str) -> SnapshotStep {
    let Some(content) = cluster.contents.get("", name) else {
        return fail(
            snapshot,
            "SnapshotContentMissing",
            "VolumeSnapshotContent is missing",
        );
    };
    let (namespace, own) = names(&snapshot.metadata);
    let of = &content.spec.volume_snapshot_ref;
    let uid = of.uid.as_ref().filter(|uid| !uid.is_empty());
    let is_other = of.name.as_deref() != Some(&own)
        || of.namespace.as_deref() != Some(&namespace)
        || uid.is_some_and(|uid| snapshot.metadata.uid.as_ref() != Some(uid));
    if is_other {
        let message = format!("VolumeSnapshotContent [{name}] is bound to a different snapshot");
        return fail(snapshot, "SnapshotContentMisbound", &message);
    }
    if content.spec.source.snapshot_handle.is_none() {
        return fail(
            snapshot,
            "SnapshotContentMismatch",
            "VolumeSnapshotContent is dynamically provisioned while expecting a pre-provisioned one",
        );
    }
    if uid.is_none() {
        return SnapshotStep::BindContent(name.to_owned());
    }
    show(snapshot, content)
}

fn dynamic(cluster: &Cluster, snapshot: &VolumeSnapshot) -> SnapshotStep {
    let name = content_name(snapshot).unwrap_or_default();
    if let Some(content) = cluster.contents.get("", &name) {
        if content.spec.volume_snapshot_ref.uid != snapshot.metadata.uid {
            let message = format!("VolumeSnapshotContent [{name}] is bound to a different snapshot");
            return fail(snapshot, "SnapshotMisbound", &message);
        }
        return show(snapshot, content);
    }
    if bound_content(snapshot).is_some() && is_ready(snapshot) {
        return fail(
            snapshot,
            "SnapshotContentMissing",
            "VolumeSnapshotContent is missing",
        );
    }
    let source = match source_of(cluster, snapshot) {
        Ok(source) => source,
        Err(why) => {
            let message = format!("Failed to create snapshot content with error {why}");
            return fail(snapshot, "SnapshotContentCreationFailed", &message);
        }
    };
    let driver = volume::driver(source.1).unwrap_or_default();
    let Some(class_name) = &snapshot.spec.volume_snapshot_class_name else {
        return match default_class(cluster, driver) {
            Ok(class) => SnapshotStep::SetClass(class),
            Err(why) => {
                let message = format!("Failed to set default snapshot class with error {why}");
                fail(snapshot, "SetDefaultSnapshotClassFailed", &message)
            }
        };
    };
    let Some(class) = cluster.snapshot_classes.get("", class_name) else {
        let message = format!(
            "Failed to get snapshot class with error volumesnapshotclass.snapshot.storage.k8s.io \"{class_name}\" not found"
        );
        return fail(snapshot, "GetSnapshotClassFailed", &message);
    };
    if class.driver != driver {
        let message = format!(
            "Failed to create snapshot content with error snapshot class {class_name} is of driver {}, but the volume is of driver {driver:?}",
            class.driver
        );
        return fail(snapshot, "SnapshotContentCreationFailed", &message);
    }
    if !protection::has(&source.0.metadata, CLAIM_AS_SOURCE) {
        return SnapshotStep::ProtectClaim(source.0.metadata.name.clone().unwrap_or_default());
    }
    SnapshotStep::CreateContent(Box::new(new_content(&name, snapshot, class, source.1)))
}

/// The claim and the volume that a snapshot is cut from, which must be usable for it.
fn source_of<'a>(
    cluster: &'a Cluster,
    snapshot: &VolumeSnapshot,
) -> Result<(&'a PersistentVolumeClaim, &'a PersistentVolume), String> {
    let (namespace, _) = names(&snapshot.metadata);
    let Some(name) = source_claim(snapshot) else {
        return Err("the snapshot names neither a claim nor a content as its source".to_owned());
    };
    let Some(claim) = cluster.claims.get(&namespace, name) else {
        let own = snapshot.metadata.name.as_deref().unwrap_or_default();
        return Err(format!(
            "snapshot controller failed to update {own} on API server: cannot get claim from snapshot"
        ));
    };
    let volume = claim::volume_name(claim).filter(|_| claim::phase(claim) == "Bound");
    let Some(volume) = volume.and_then(|volume| cluster.volumes.get("", volume)) else {
        return Err(format!(
            "the PVC {name} is not yet bound to a PV, will not attempt to take a snapshot"
        ));
    };
    if volume::handle(volume).is_none() {
        return Err("cannot find CSI PersistentVolumeSource for volume".to_owned()
            + " "
            + claim::volume_name(claim).unwrap_or_default());
    }
    if claim.metadata.deletion_timestamp.is_some() && !protection::has(&claim.metadata, CLAIM_AS_SOURCE) {
        return Err(format!(
            "cannot add finalizer on claim [{name}]: claim is being deleted"
        ));
    }
    Ok((claim, volume))
}

fn default_class(cluster: &Cluster, driver: &str) -> Result<String, String> {
    let is_default = |class: &VolumeSnapshotClass| {
        let annotations = class.metadata.annotations.as_ref();
        class.driver == driver
            && annotations.is_some_and(|all| all.get(IS_DEFAULT_CLASS).is_some_and(|value| value == "true"))
    };
    let defaults: Vec<String> = cluster
        .snapshot_classes
        .all()
        .filter(|class| is_default(class))
        .filter_map(|class| class.metadata.name.clone())
        .collect();
    match defaults.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err("cannot find default snapshot class".to_owned()),
        several => Err(format!("{} default snapshot classes were found", several.len())),
    }
}

fn new_content(
    name: &str,
    snapshot: &VolumeSnapshot,
    class: &VolumeSnapshotClass,
    volume: &PersistentVolume,
) -> VolumeSnapshotContent {
    VolumeSnapshotContent {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            finalizers: Some(vec![content::BOUND.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: VolumeSnapshotContentSpec {
            volume_snapshot_ref: reference(snapshot),
            deletion_policy: class.deletion_policy,
            driver: class.driver.clone(),
            volume_snapshot_class_name: class.metadata.name.clone(),
            source: VolumeSnapshotContentSource {
                volume_handle: volume::handle(volume).map(str::to_owned),
                snapshot_handle: None,
            },
            source_volume_mode: Some(volume::mode(volume).to_owned()),
        },
        status: None,
    }
}

/// The snapshot's status as its content has it.
fn show(snapshot: &VolumeSnapshot, content: &VolumeSnapshotContent) -> SnapshotStep {
    let of = content.status.clone().unwrap_or_default();
    // To the second, as the API has times.
    let created = of
        .creation_time
        .and_then(|nanos| jiff::Timestamp::from_second(nanos / 1_000_000_000).ok());
    let status = VolumeSnapshotStatus {
        bound_volume_snapshot_content_name: content.metadata.name.clone(),
        creation_time: created.map(Time),
        ready_to_use: Some(of.ready_to_use.unwrap_or(false)),
        restore_size: of.restore_size.map(quantity::binary),
        error: of.error,
    };
    if snapshot.status.as_ref() == Some(&status) {
        SnapshotStep::Rest
    } else {
        SnapshotStep::Show(Box::new(status))
    }
}

/// An error that is shown already needs no second writing.
fn fail(snapshot: &VolumeSnapshot, reason: &'static str, message: &str) -> SnapshotStep {
    let shown = snapshot
        .status
        .as_ref()
        .and_then(|status| status.error.as_ref()?.message.as_deref());
    if shown == Some(message) && !is_ready(snapshot) {
        SnapshotStep::Rest
    } else {
        SnapshotStep::Fail(Note::warning(reason, message))
    }
}

/// Whether a snapshot that is not finished is to be cut from this claim.
pub(super) fn is_being_cut_from(cluster: &Cluster, claim: &PersistentVolumeClaim) -> bool {
    let (namespace, name) = names(&claim.metadata);
    cluster.snapshots.of(&namespace).any(|snapshot| {
        source_claim(snapshot) == Some(&name)
            && !is_ready(snapshot)
            && snapshot.metadata.deletion_timestamp.is_none()
    })
}

pub(super) fn source_claim(snapshot: &VolumeSnapshot) -> Option<&str> {
    snapshot.spec.source.persistent_volume_claim_name.as_deref()
}

pub(super) fn bound_content(snapshot: &VolumeSnapshot) -> Option<&str> {
    snapshot
        .status
        .as_ref()?
        .bound_volume_snapshot_content_name
        .as_deref()
        .filter(|name| !name.is_empty())
}

/// The content that it has or will have.
pub(super) fn content_name(snapshot: &VolumeSnapshot) -> Option<String> {
    bound_content(snapshot)
        .map(str::to_owned)
        .or_else(|| snapshot.spec.source.volume_snapshot_content_name.clone())
        .or_else(|| Some(format!("snapcontent-{}", snapshot.metadata.uid.as_deref()?)))
}

pub(super) fn is_ready(snapshot: &VolumeSnapshot) -> bool {
    snapshot
        .status
        .as_ref()
        .is_some_and(|status| status.ready_to_use == Some(true))
}
