//! VolumeSnapshotContents: cut by the driver or found by their handle, and deleted in the storage where the policy says
//! so. Source: external-snapshotter v8 `pkg/sidecar-controller/snapshot_controller.go` (csi-snapshotter) and
//! `pkg/common-controller` (`syncContent`). Acting is in [`super::cut`].

use caravel_csi::{DeletionPolicy, VolumeSnapshotContent};

use super::cluster::Cluster;
use super::protection;

/// On every content; goes when its snapshot is deleted and, with policy Delete, the storage has deleted its own.
pub(super) const BOUND: &str = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection";
/// Its snapshot is being deleted.
pub(super) const BEING_DELETED: &str = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted";
/// The driver is at work; nobody may conclude that there is nothing to delete.
pub(super) const BEING_CREATED: &str = "snapshot.storage.kubernetes.io/volumesnapshot-being-created";

/// What is next for a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ContentStep {
    Rest,
    Finalizers(Vec<String>),
    Mark,
    /// The driver cuts the snapshot of this volume.
    Cut(String),
    /// The driver is asked for the snapshot with this handle.
    Find(String),
    DeleteStorage(String),
}

/// Decides what is next.
pub(super) fn decide(cluster: &Cluster, content: &VolumeSnapshotContent, driver: &str) -> ContentStep {
    let meta = &content.metadata;
    if meta.deletion_timestamp.is_some() {
        return deleting(cluster, content, driver);
    }
    if !protection::has(meta, BOUND) {
        return ContentStep::Finalizers(protection::with(meta, BOUND));
    }
    if is_orphan(cluster, content) && !is_marked(content) {
        return ContentStep::Mark;
    }
    let status = content.status.as_ref();
    let is_ready = status.is_some_and(|status| status.ready_to_use == Some(true));
    if is_ready || content.spec.driver != driver || is_marked(content) {
        return ContentStep::Rest;
    }
    match (handle(content), &content.spec.source.volume_handle) {
        (Some(handle), _) => ContentStep::Find(handle.to_owned()),
        (None, Some(volume)) => ContentStep::Cut(volume.clone()),
        (None, None) => ContentStep::Rest,
    }
}

fn deleting(cluster: &Cluster, content: &VolumeSnapshotContent, driver: &str) -> ContentStep {
    let meta = &content.metadata;
    if !protection::has(meta, BOUND) {
        return ContentStep::Rest;
    }
    if !is_unbound(content) && !is_marked(content) {
        // A content that is deleted before its snapshot waits for it.
        return if is_orphan(cluster, content) {
            ContentStep::Mark
        } else {
            ContentStep::Rest
        };
    }
    let in_storage = handle(content).filter(|_| content.spec.deletion_policy == DeletionPolicy::Delete);
    match in_storage {
        Some(handle) if content.spec.driver == driver => ContentStep::DeleteStorage(handle.to_owned()),
        Some(_) => ContentStep::Rest,
        None => ContentStep::Finalizers(protection::without(meta, &[BOUND])),
    }
}

/// No snapshot has claimed it yet.
fn is_unbound(content: &VolumeSnapshotContent) -> bool {
    content
        .spec
        .volume_snapshot_ref
        .uid
        .as_ref()
        .is_none_or(String::is_empty)
}

/// Its snapshot is gone, or on its way.
fn is_orphan(cluster: &Cluster, content: &VolumeSnapshotContent) -> bool {
    if is_unbound(content) {
        return false;
    }
    let of = &content.spec.volume_snapshot_ref;
    let snapshot = cluster.snapshots.get(
        of.namespace.as_deref().unwrap_or_default(),
        of.name.as_deref().unwrap_or_default(),
    );
    snapshot.is_none_or(|snapshot| {
        snapshot.metadata.uid != of.uid || snapshot.metadata.deletion_timestamp.is_some()
    })
}

pub(super) fn is_marked(content: &VolumeSnapshotContent) -> bool {
    annotated(content, BEING_DELETED)
}

pub(super) fn annotated(content: &VolumeSnapshotContent, key: &str) -> bool {
    let annotations = content.metadata.annotations.as_ref();
    annotations.is_some_and(|all| all.contains_key(key))
}

/// The storage's name of the snapshot.
pub(super) fn handle(content: &VolumeSnapshotContent) -> Option<&str> {
    let of_status = content
        .status
        .as_ref()
        .and_then(|status| status.snapshot_handle.as_deref());
    of_status
        .or(content.spec.source.snapshot_handle.as_deref())
        .filter(|handle| !handle.is_empty())
}
