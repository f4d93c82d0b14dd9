//! The ladder from a source VolumeSnapshot to a data mover pod, rung by rung.

use std::collections::BTreeMap;

use caravel_csi::DeletionPolicy;
use serde_json::{Value, json};

use super::objects::{backup_content, backup_pvc, backup_snapshot, quantity_bytes, size};
use super::*;

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Option<T> {
    Some(serde_json::from_value(value).unwrap())
}

fn request() -> SnapshotRequest {
    SnapshotRequest {
        name: "b-1".into(),
        uid: "u-1".into(),
        owner: OwnerReference {
            kind: "DataUpload".into(),
            name: "b-1".into(),
            uid: "u-1".into(),
            ..OwnerReference::default()
        },
        source_namespace: "shop".into(),
        source_pvc: "data".into(),
        volume_snapshot: "velero-data-x".into(),
        storage_class: "fast".into(),
        snapshot_class: "fast".into(),
        operation_timeout: Duration::from_secs(600),
        resource_timeout: Duration::from_secs(600),
        location: LocationMount::default(),
        enable_compression: false,
        settings: Arc::default(),
    }
}

/// A source snapshot that its driver has finished.
fn ready_source() -> SnapshotExposure {
    SnapshotExposure {
        source: object(json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
            "metadata": {"name": "velero-data-x", "namespace": "shop"},
            "spec": {"source": {"persistentVolumeClaimName": "data"}, "volumeSnapshotClassName": "fast"},
            "status": {"boundVolumeSnapshotContentName": "content-1", "readyToUse": true},
        })),
        source_content: object(json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": {"name": "content-1", "annotations": {
                "snapshot.storage.kubernetes.io/volumesnapshot-being-created": "yes",
                "snapshot.storage.kubernetes.io/deletion-secret-name": "s",
            }},
            "spec": {"deletionPolicy": "Delete", "driver": "csi.example", "source": {"volumeHandle": "v"},
                "volumeSnapshotRef": {"name": "velero-data-x"}, "sourceVolumeMode": "Block"},
            "status": {"snapshotHandle": "handle-1", "restoreSize": 2_147_483_648_i64, "readyToUse": true},
        })),
        ..SnapshotExposure::default()
    }
}

/// Our own pair on the same storage snapshot.
fn with_backup(mut exposure: SnapshotExposure, ready: bool) -> SnapshotExposure {
    let content = backup_content("velero", &request(), exposure.source_content.as_ref().unwrap());
    let mut snapshot = backup_snapshot("velero", &request(), &exposure);
    snapshot.status = object(json!({"readyToUse": ready}));
    exposure.backup = Some(snapshot);
    exposure.backup_content = content;
    exposure
}

fn released(mut exposure: SnapshotExposure) -> SnapshotExposure {
    exposure.source = None;
    exposure.source_content = None;
    exposure
}

fn with_pvc(mut exposure: SnapshotExposure, phase: &str) -> SnapshotExposure {
    let mut pvc = backup_pvc("velero", &request(), &exposure);
    pvc.status = object(json!({"phase": phase}));
    exposure.backup_pvc = Some(pvc);
    exposure
}

fn waits_for(next: Next) -> String {
    match next {
        Next::Wait { what, .. } => what,
        other => panic!("expected to wait, got {other:?}"),
    }
}

#[test]
fn source_snapshot_that_is_not_ready_is_waited_for_within_its_own_timeout_and_tells_its_error() {
    let mut exposure = ready_source();
    exposure.source.as_mut().unwrap().status =
        object(json!({"readyToUse": false, "error": {"message": "quota exceeded"}}));
    assert_eq!(
        exposure.next(&request()),
        Next::Wait {
            what: "VolumeSnapshot shop/velero-data-x to be ready (quota exceeded)".into(),
            within: Some(Duration::from_secs(600)),
        }
    );
}

#[test]
fn source_snapshot_that_is_gone_can_never_be_exposed() {
    assert!(matches!(
        SnapshotExposure::default().next(&request()),
        Next::Impossible { .. }
    ));
}

#[test]
fn source_snapshot_that_is_not_cut_can_never_be_exposed_once_its_claim_is_gone() {
    let mut exposure = ready_source();
    exposure.source.as_mut().unwrap().status = None;
    exposure.source_content = None;
    exposure.source_pvc = Some(PersistentVolumeClaim::default());
    assert_eq!(
        waits_for(exposure.next(&request())),
        "VolumeSnapshot shop/velero-data-x to be ready"
    );
    exposure.source_pvc = None;
    assert_eq!(
        exposure.next(&request()),
        Next::impossible(
            "PVC shop/data was deleted before VolumeSnapshot shop/velero-data-x was cut by the storage"
        )
    );
    // Bound, but without a handle.
    exposure.source_content = ready_source().source_content;
    exposure.source_content.as_mut().unwrap().status = None;
    assert!(matches!(exposure.next(&request()), Next::Impossible { .. }));
    // Cut.
    exposure.source_content = ready_source().source_content;
    assert_eq!(
        waits_for(exposure.next(&request())),
        "VolumeSnapshot shop/velero-data-x to be ready"
    );
}

#[test]
fn our_own_snapshot_is_made_before_the_source_is_released() {
    let exposure = ready_source();
    assert_eq!(exposure.next(&request()), Next::Do(Step::CreateBackupSnapshot));
    // made but not ready: nothing else to do, so the source goes now
    let exposure = with_backup(exposure, false);
    assert_eq!(exposure.next(&request()), Next::Do(Step::ReleaseSource));
    let exposure = released(exposure);
    assert_eq!(
        waits_for(exposure.next(&request())),
        "VolumeSnapshot b-1 to be ready"
    );
}

#[test]
fn a_crash_between_content_and_snapshot_is_finished_not_released() {
    let mut exposure = with_backup(ready_source(), false);
    exposure.backup = None;
    assert_eq!(exposure.next(&request()), Next::Do(Step::CreateBackupSnapshot));
    assert_eq!(
        released(exposure).next(&request()),
        Next::Do(Step::CreateBackupSnapshot)
    );
}

#[test]
fn pvc_is_created_only_when_its_snapshot_is_ready_and_the_pod_only_when_the_pvc_is_bound() {
    let exposure = released(with_backup(ready_source(), true));
    assert_eq!(exposure.next(&request()), Next::Do(Step::CreateBackupPvc));
    let mut pending = with_pvc(exposure, "Pending");
    pending.pvc_warning = Some("ProvisioningFailed: no space".into());
    assert_eq!(
        waits_for(pending.next(&request())),
        "PVC b-1 to be bound (ProvisioningFailed: no space)"
    );
    let bound = with_pvc(pending, "Bound");
    assert_eq!(bound.next(&request()), Next::Do(Step::CreateMoverPod));
}

#[test]
fn with_a_class_that_binds_late_the_pod_does_not_wait_for_the_pvc() {
    let mut exposure = with_pvc(released(with_backup(ready_source(), true)), "Pending");
    exposure.backup_class =
        object(json!({"provisioner": "csi.example", "volumeBindingMode": "WaitForFirstConsumer"}));
    assert_eq!(exposure.next(&request()), Next::Do(Step::CreateMoverPod));
}

#[test]
fn backup_pvc_is_as_the_configuration_says_and_stays_as_it_was_made_when_that_changes() {
    let said = crate::settings::BackupPvc {
        storage_class: "cheap".into(),
        read_only: true,
        annotations: BTreeMap::from([("clone".to_owned(), "true".to_owned())]),
        ..Default::default()
    };
    let settings = Settings {
        backup_pvc: BTreeMap::from([("fast".to_owned(), said)]),
        ..Settings::default()
    };
    let configured = SnapshotRequest {
        settings: Arc::new(settings),
        ..request()
    };
    let pvc = backup_pvc("velero", &configured, &ready_source());
    assert_eq!(pvc.metadata.annotations.as_ref().unwrap()["clone"], "true");
    let spec = pvc.spec.as_ref().unwrap();
    assert_eq!(spec.storage_class_name.as_deref(), Some("cheap"));
    assert_eq!(
        spec.access_modes.as_deref(),
        Some(["ReadOnlyMany".to_owned()].as_slice())
    );

    let exposure = SnapshotExposure {
        backup_pvc: Some(pvc),
        ..ready_source()
    };
    assert!(exposure.is_read_only());
    assert_eq!(
        backup_class_name(&request(), exposure.backup_pvc.as_ref()),
        "cheap"
    );
    assert_eq!(backup_class_name(&request(), None), "fast");
}

#[test]
fn a_pvc_of_somebody_else_with_our_name_is_not_touched() {
    let mut exposure = with_pvc(released(with_backup(ready_source(), true)), "Bound");
    exposure.backup_pvc.as_mut().unwrap().metadata.owner_references = None;
    assert!(matches!(exposure.next(&request()), Next::Impossible { .. }));
}

#[test]
fn source_that_is_left_is_released_while_the_pod_starts() {
    let mut exposure = with_pvc(with_backup(ready_source(), true), "Bound");
    exposure.pod = Some(Pod::default());
    assert_eq!(exposure.next(&request()), Next::Do(Step::ReleaseSource));
    assert_eq!(released(exposure).next(&request()), Next::Done);
}

#[test]
fn our_content_owns_the_storage_snapshot_and_keeps_only_secrets_of_the_sources_annotations() {
    let exposure = ready_source();
    let content = backup_content("velero", &request(), exposure.source_content.as_ref().unwrap()).unwrap();
    assert_eq!(content.spec.deletion_policy, DeletionPolicy::Delete);
    assert_eq!(content.spec.source.snapshot_handle.as_deref(), Some("handle-1"));
    assert_eq!(content.spec.source.volume_handle, None);
    let annotations = content.metadata.annotations.unwrap();
    assert_eq!(
        annotations.keys().collect::<Vec<_>>(),
        ["snapshot.storage.kubernetes.io/deletion-secret-name"]
    );
}

#[test]
fn backup_pvc_is_as_large_as_the_larger_of_snapshot_and_source() {
    let mut exposure = ready_source();
    assert_eq!(size(&exposure).0, "2147483648");
    let source = |storage: &str| object(json!({"spec": {"resources": {"requests": {"storage": storage}}}}));
    exposure.source_pvc = source("1Gi");
    assert_eq!(size(&exposure).0, "2147483648");
    exposure.source_pvc = source("10Gi");
    assert_eq!(size(&exposure).0, "10Gi");
}

#[test]
fn backup_pvc_keeps_the_volume_mode_even_after_the_source_pvc_is_gone() {
    let pvc = backup_pvc("velero", &request(), &ready_source());
    assert_eq!(pvc.spec.unwrap().volume_mode.as_deref(), Some("Block"));
}

#[test]
fn quantities_are_read_in_every_way_that_kubernetes_writes_them() {
    for (text, bytes) in [
        ("1024", 1024),
        ("1Ki", 1024),
        ("1.5Gi", 1_610_612_736),
        ("2G", 2_000_000_000),
        ("1k", 1000),
    ] {
        assert_eq!(quantity_bytes(text), Some(bytes), "{text}");
    }
    assert_eq!(quantity_bytes("many"), None);
}
