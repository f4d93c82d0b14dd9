//! Runs whose snapshots stay in the storage, against the small API server of `tests.rs`.

use std::sync::Arc;
use std::time::Duration;

use caravel_backup_store::volume_info::VolumeMethod;
use caravel_cases::api::{self, Asked};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::snapshot_objects::SnapshotObjects;
use super::tests::{Api, Noted, SNAPSHOT_API, backed_up_as, discovered, request, run_to_its_end};
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

/// The shop with a second volume: claim `log`, its volume, and what a snapshot of it will be.
fn shop_of_two() -> Arc<Api> {
    let mut api = Arc::into_inner(shop(&json!({}))).unwrap();
    let snapshots = format!("{SNAPSHOT_API}/namespaces/shop/volumesnapshots");
    let claims = "/api/v1/namespaces/shop/persistentvolumeclaims";
    let mut claim = api.objects[claims]["items"][0].clone();
    claim["metadata"]["name"] = "log".into();
    claim["metadata"]["uid"] = "log-uid".into();
    claim["spec"]["volumeName"] = "pv2".into();
    let all = api.objects.get_mut(claims).unwrap()["items"]
        .as_array_mut()
        .unwrap();
    all.push(claim);
    let mut volume = api.objects["/api/v1/persistentvolumes/pv1"].clone();
    volume["metadata"]["name"] = "pv2".into();
    let mut snapshot = api.objects[&format!("{snapshots}/velero-data-x")].clone();
    snapshot["metadata"]["name"] = "velero-log-x".into();
    snapshot["spec"]["source"]["persistentVolumeClaimName"] = "log".into();
    snapshot["status"]["boundVolumeSnapshotContentName"] = "content-log".into();
    let mut content = api.objects[&format!("{SNAPSHOT_API}/volumesnapshotcontents/content")].clone();
    content["metadata"]["name"] = "content-log".into();
    content["status"]["snapshotHandle"] = "handle-log".into();
    api.objects.extend([
        ("/api/v1/persistentvolumes/pv2".to_owned(), volume),
        (format!("{snapshots}/velero-log-x"), snapshot),
        (
            format!("{SNAPSHOT_API}/volumesnapshotcontents/content-log"),
            content,
        ),
    ]);
    Arc::new(api)
}

/// Answers nobody who asks for a snapshot before so many have asked.
fn together(api: &Arc<Api>, all: usize) -> Client {
    let (api, asked_for) = (Arc::clone(api), Arc::new(Barrier::new(all)));
    api::slow_client(move |asked| {
        let (api, asked_for) = (Arc::clone(&api), Arc::clone(&asked_for));
        async move {
            if asked.method == "POST" && asked.path().ends_with("/volumesnapshots") {
                asked_for.wait().await;
            }
            one_by_name(&api, &asked).await
        }
    })
}

/// Several snapshots and contents are there: each is created, listed and watched by its own name.
async fn one_by_name(api: &Api, asked: &Asked) -> (u16, Value) {
    if asked.method == "POST" && asked.path().ends_with("/volumesnapshots") {
        let claim = asked.body["spec"]["source"]["persistentVolumeClaimName"].clone();
        let name = format!("velero-{}-x", claim.as_str().unwrap());
        return api.answer("GET", &format!("{}/{name}", asked.path()));
    }
    let query = asked.uri.query().unwrap_or_default();
    if query.contains("watch=") {
        // Nothing happens any more.
        std::future::pending::<()>().await;
    }
    let Some((_, name)) = query.split_once("metadata.name%3D") else {
        return api.answer(asked.method.as_str(), asked.path());
    };
    let name = name.split('&').next().unwrap_or_default();
    let (code, found) = api.answer("GET", &format!("{}/{name}", asked.path()));
    if code == 200 {
        api::list(&[found])
    } else {
        (code, found)
    }
}

/// Taken one after the other, the first one would wait for ever for the second.
#[tokio::test]
async fn the_snapshots_of_a_backups_volumes_are_taken_side_by_side() {
    for moves in [false, true] {
        let api = shop_of_two();
        let noted = Arc::new(Noted {
            api: Arc::clone(&api),
            may_owe: true,
        });
        let client = together(&api, 2);
        let run =
            run_to_its_end(|folder, log| request(client, discovered(!moves), moves, noted, folder, log));
        let ran = tokio::time::timeout(Duration::from_secs(30), run).await;
        let (outcome, entries, errors) =
            ran.expect("the second snapshot is asked for before the first is there");
        assert_eq!(
            (errors, outcome.operations.len()),
            (0, 2),
            "moves: {moves}, {entries:?}"
        );
    }
}
