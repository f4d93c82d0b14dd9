//! The objects that the ladder makes: our own pair on the storage's snapshot, and the volume that is made of it.

use std::collections::BTreeMap;

use caravel_csi::{
    DeletionPolicy, VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotContentSource,
    VolumeSnapshotContentSpec, VolumeSnapshotSource, VolumeSnapshotSpec,
};
use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;

use super::{READ_ONLY, SnapshotExposure, SnapshotRequest, handle};

/// Group of the snapshot API, as a PVC's data source names it.
const SNAPSHOT_GROUP: &str = "snapshot.storage.k8s.io";
/// Label that tells distributed snapshotters which node's sidecar a content belongs to; kept on our copy.
const MANAGED_BY: &str = "snapshot.storage.kubernetes.io/managed-by";

pub(super) fn backup_snapshot(
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

pub(super) fn backup_content(
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

pub(super) fn backup_pvc(
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

/// The source PVC's mode; after its deletion, what the snapshot remembers of it.
pub(super) fn volume_mode(exposure: &SnapshotExposure) -> &str {
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
pub(super) fn size(exposure: &SnapshotExposure) -> Quantity {
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
pub(super) fn quantity_bytes(text: &str) -> Option<i64> {
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
