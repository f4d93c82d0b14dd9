//! Runs whose snapshots stay in the storage, against the small API server of `tests.rs`.

use std::sync::Arc;

use caravel_backup_store::volume_info::VolumeMethod;
use serde_json::{Value, json};

use super::snapshot_objects::SnapshotObjects;
use super::tests::{Api, SNAPSHOT_API, backed_up_as};
use crate::item_actions::snapshots;

/// The shop, whose driver needs a Secret for its snapshots; `taken` is what the VolumeSnapshot gets beside.
fn shop(taken: &Value) -> Arc<Api> {
    let mut api = Api::shop();
    let mut snapshot =
        api.objects[&format!("{SNAPSHOT_API}/namespaces/shop/volumesnapshots/velero-data-x")].clone();
    snapshot["spec"]["volumeSnapshotClassName"] = "snap".into();
    snapshot["metadata"]["labels"] =
        json!({"velero.io/backup-name": "b1", "velero.io/backup-uid": "backup-uid"});
    for (field, value) in taken.as_object().unwrap() {
        snapshot["metadata"][field] = value.clone();
    }
    let mut content = api.objects[&format!("{SNAPSHOT_API}/volumesnapshotcontents/content")].clone();
    content["metadata"]["annotations"] = json!({
        "snapshot.storage.kubernetes.io/deletion-secret-name": "key",
        "snapshot.storage.kubernetes.io/deletion-secret-namespace": "vault"});
    content["status"]["restoreSize"] = json!(67_108_864);
    let list = |item: &Value| json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [item]});
    let class = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
        "metadata": {"name": "snap"}, "driver": "disk.example.com", "deletionPolicy": "Delete"});
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": "vault"}});
    let objects = [
        (
            format!("{SNAPSHOT_API}/namespaces/shop/volumesnapshots"),
            list(&snapshot),
        ),
        (
            format!("{SNAPSHOT_API}/namespaces/shop/volumesnapshots/velero-data-x"),
            snapshot,
        ),
        (format!("{SNAPSHOT_API}/volumesnapshotcontents"), list(&content)),
        (format!("{SNAPSHOT_API}/volumesnapshotcontents/content"), content),
        (format!("{SNAPSHOT_API}/volumesnapshotclasses/snap"), class),
        ("/api/v1/namespaces/vault/secrets/key".to_owned(), secret),
    ];
    api.objects.extend(objects);
    Arc::new(api)
}

#[tokio::test]
async fn a_snapshot_that_stays_in_the_storage_is_in_the_backup_with_all_that_leads_to_it() {
    let api = shop(&json!({}));
    let (outcome, entries, errors) = backed_up_as(&api, true, false).await;
    assert_eq!(errors, 0);
    for entry in [
        "resources/volumesnapshots.snapshot.storage.k8s.io/namespaces/shop/velero-data-x.json",
        "resources/volumesnapshotcontents.snapshot.storage.k8s.io/cluster/content.json",
        "resources/volumesnapshotclasses.snapshot.storage.k8s.io/cluster/snap.json",
        "resources/secrets/namespaces/vault/key.json",
        "resources/persistentvolumeclaims/namespaces/shop/data.json",
    ] {
        assert!(entries.contains(&entry.to_owned()), "{entry}: {entries:?}");
    }
    let operation = &outcome.operations[0].spec;
    assert_eq!(operation.backup_item_action, snapshots::NAME);
    assert!(operation.operation_id.starts_with("shop/velero-data-x/20"));
    let after: Vec<&str> = operation
        .post_operation_items
        .iter()
        .map(|id| id.name.as_str())
        .collect();
    assert_eq!(after, ["velero-data-x", "content"]);
    let info = &outcome.volume_infos[0];
    let csi = info.csi_snapshot_info.as_ref().unwrap();
    assert_eq!(
        (&info.backup_method, info.snapshot_data_moved, info.skipped),
        (&VolumeMethod::CsiSnapshot, false, false)
    );
    assert_eq!(
        (
            csi.snapshot_handle.as_str(),
            csi.vsc_name.as_str(),
            csi.driver.as_str(),
            csi.size
        ),
        ("handle", "content", "disk.example.com", 67_108_864)
    );
    assert_eq!(csi.operation_id, operation.operation_id);
    assert_eq!(
        SnapshotObjects::kept(&outcome.operations),
        [("shop".to_owned(), "velero-data-x".to_owned())].into()
    );
    assert_eq!(
        (
            outcome.snapshots.snapshots().len(),
            outcome.snapshots.contents().len(),
            outcome.snapshots.classes().len()
        ),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn guarantee_5_a_claim_whose_snapshot_is_being_deleted_is_an_error_and_not_in_the_backup() {
    let api = shop(&json!({"deletionTimestamp": "2026-11-21T22:00:00Z"}));
    let (outcome, entries, errors) = backed_up_as(&api, true, false).await;
    assert!(errors > 0 && outcome.operations.is_empty(), "{entries:?}");
    assert!(
        !entries.iter().any(|entry| entry.contains("volumeclaims")),
        "{entries:?}"
    );
}

#[tokio::test]
async fn guarantee_5_a_snapshot_whose_content_is_gone_is_an_error_and_is_taken_away() {
    let mut api = Arc::into_inner(shop(&json!({}))).unwrap();
    // There when the storage cut it, gone when it was looked for.
    api.objects
        .remove(&format!("{SNAPSHOT_API}/volumesnapshotcontents/content"));
    let api = Arc::new(api);
    let (outcome, entries, errors) = backed_up_as(&api, true, false).await;
    assert!(errors > 0 && outcome.operations.is_empty());
    assert!(
        !entries.iter().any(|entry| entry.contains("volumeclaims")),
        "{entries:?}"
    );
    assert!(api.asked_for(&format!(
        "DELETE {SNAPSHOT_API}/namespaces/shop/volumesnapshots/velero-data-x"
    )));
}

/// A snapshot of somebody else, which an item action of theirs brings along.
#[tokio::test]
async fn a_snapshot_that_another_backup_took_is_never_ours_to_follow_or_delete() {
    let api = shop(&json!({"labels": {"velero.io/backup-name": "b1", "velero.io/backup-uid": "another"}}));
    let (outcome, _, _) = backed_up_as(&api, true, false).await;
    assert!(outcome.operations.is_empty());
    assert!(SnapshotObjects::kept(&outcome.operations).is_empty());
    let requests = api.requests.lock().unwrap().clone();
    assert!(
        !requests
            .iter()
            .any(|asked| asked.starts_with("DELETE") || asked.starts_with("PATCH")),
        "{requests:?}"
    );
}
