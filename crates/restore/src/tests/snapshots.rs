//! Velero's tables of snapshots that stayed in the storage (`pkg_restore_actions_csi`), and what is ours beside them.

use std::sync::Arc;

use caravel_api::v1::{Backup, Restore};
use caravel_cases::{Case, api, each, same};
use caravel_item_action::{ResourceIdentifier, RestoreItemAction, RestoreItemInput, RestoreItemOutput};
use kube::Client;
use serde_json::{Value, json};

use super::cases::object;
use super::cluster::field;
use crate::item_actions::snapshots::{
    VolumeSnapshotAction, VolumeSnapshotClassAction, VolumeSnapshotContentAction, bind_to_content,
};
use crate::item_actions::{MovedClaimAction, claim};

/// A cluster that has these objects by path; a path that ends in a plural has a list, empty by default.
fn cluster(objects: Value) -> Client {
    api::client(move |asked| {
        let last = asked.path().rsplit('/').next().unwrap_or_default();
        match objects.get(asked.path()) {
            Some(found) => (200, found.clone()),
            None if ["volumesnapshotclasses", "storageclasses"].contains(&last) => api::list(&[]),
            None => api::failure(404, "NotFound"),
        }
    })
}

/// A client begins in a runtime: the action is made there.
fn run<A: RestoreItemAction>(
    action: impl FnOnce() -> A,
    item: &Value,
    restore: &Restore,
) -> Result<RestoreItemOutput, String> {
    let input = RestoreItemInput {
        item: item.clone(),
        item_from_backup: item,
        restore,
    };
    runtime()
        .block_on(async { action().execute(input).await })
        .map_err(|error| error.to_string())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// As the case wants: an error, nothing, or an output.
fn ran<A: RestoreItemAction>(
    case: &Case,
    action: impl FnOnce() -> A,
    item: &str,
) -> Result<Option<RestoreItemOutput>, String> {
    let restore: Restore = object(case.input("restore"));
    let output = run(action, case.input(item), &restore);
    match (case.want("expectErr") == true, output) {
        (true, Err(_)) => Ok(None),
        (true, Ok(_)) => Err("should fail".to_owned()),
        (false, Err(error)) => Err(error),
        (false, Ok(output)) if restore.spec.restore_pvs == Some(false) => {
            same(&output.skip_restore, &true)?;
            Ok(None)
        }
        (false, Ok(output)) => Ok(Some(output)),
    }
}

fn names(items: &[ResourceIdentifier]) -> Vec<(String, String, String)> {
    let names = items.iter();
    names
        .map(|id| (id.group_resource(), id.namespace.clone(), id.name.clone()))
        .collect()
}

fn wanted_names(items: &Value) -> Vec<(String, String, String)> {
    let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
    let names = items.iter().map(|item| {
        let id = ResourceIdentifier::new(
            field(item, "/GroupResource/Group"),
            field(item, "/GroupResource/Resource"),
            field(item, "/Namespace"),
            field(item, "/Name"),
        );
        (id.group_resource(), id.namespace, id.name)
    });
    names.collect()
}

#[test]
fn a_snapshot_is_bound_to_its_content_as_by_velero() {
    each("pkg_restore_actions_csi/TestVSExecute.json", |case| {
        let Some(output) = ran(case, || VolumeSnapshotAction, "vs")? else {
            return Ok(());
        };
        same(&output.item["spec"], &case.want("expectedVS")["spec"])?;
        let annotation = "restore.velero.io/must-include-additional-items";
        same(
            &output.item["metadata"]["annotations"][annotation],
            &json!("true"),
        )?;
        let content = (
            "volumesnapshotcontents.snapshot.storage.k8s.io".to_owned(),
            String::new(),
            "vscName".to_owned(),
        );
        same(&names(&output.additional_items), &vec![content])
    });
}

#[test]
fn a_content_stands_for_the_snapshot_in_the_storage_as_by_velero() {
    each("pkg_restore_actions_csi/TestVSCExecute.json", |case| {
        let Some(output) = ran(case, || content_action(json!({})), "vsc")? else {
            return Ok(());
        };
        let wanted = case.want("expectedVSC");
        same(&output.item["spec"], &wanted["spec"])?;
        same(&output.item["metadata"], &wanted["metadata"])?;
        let wanted = wanted_names(case.want("expectedItems"));
        if wanted.is_empty() {
            return Ok(());
        }
        same(&names(&output.additional_items), &wanted)
    });
}

#[test]
fn a_class_brings_its_secret_along_as_by_velero() {
    each("pkg_restore_actions_csi/TestVSClassExecute.json", |case| {
        let Some(output) = ran(case, || VolumeSnapshotClassAction, "vsClass")? else {
            return Ok(());
        };
        same(
            &names(&output.additional_items),
            &wanted_names(case.want("expectedItems")),
        )
    });
}

#[test]
fn a_claim_is_pointed_to_its_snapshot_as_by_velero() {
    each("pkg_restore_actions_csi/TestResetPVCSpec.json", |case| {
        let before = case.input("pvc");
        let mut after = before.clone();
        claim::fill_from_snapshot(&mut after, case.input("vsName").as_str().unwrap());
        let source =
            json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "test-vs"});
        same(&after["spec"]["dataSource"], &source)?;
        same(&after["spec"]["dataSourceRef"], &Value::Null)?;
        same(&after["spec"]["volumeName"], &Value::Null)?;
        for field in ["accessModes", "selector", "resources", "volumeMode"] {
            same(&after["spec"][field], &before["spec"][field])?;
        }
        Ok(())
    });
    each(
        "pkg_restore_actions_csi/TestResetVolumeSnapshotSpecForRestore.json",
        |case| {
            let mut snapshot = case.input("vs").clone();
            bind_to_content(&mut snapshot, case.input("vscName").as_str().unwrap());
            same(
                &snapshot["spec"]["source"],
                &json!({"volumeSnapshotContentName": "test-vsc"}),
            )
        },
    );
}

fn restore() -> Restore {
    object(
        &json!({"metadata": {"name": "r", "namespace": "velero", "uid": "restoreUID"},
        "spec": {"backupName": "b", "namespaceMapping": {"shop": "shop2"}}}),
    )
}

fn content(status: Value) -> Value {
    json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
        "metadata": {"name": "content", "annotations": {"snapshot.storage.kubernetes.io/volumesnapshot-being-deleted": "yes"}},
        "spec": {"driver": "disk.example.com", "deletionPolicy": "Delete", "source": {"volumeHandle": "v"},
            "volumeSnapshotRef": {"name": "vsName", "namespace": "shop", "uid": "1", "resourceVersion": "2"}},
        "status": status})
}

#[test]
fn a_content_without_a_handle_is_an_error_that_says_what_is_lost() {
    let error = run(|| content_action(json!({})), &content(json!({})), &restore()).unwrap_err();
    assert!(error.contains("has no snapshot handle"), "{error}");
}

#[test]
fn a_driver_that_is_not_in_the_cluster_is_said_and_nobody_waits_for_it() {
    let with_handle = content(json!({"snapshotHandle": "snap-1"}));
    let error = run(|| content_action(json!({})), &with_handle, &restore()).unwrap_err();
    assert!(
        error.contains("driver disk.example.com of the snapshot is not in this cluster"),
        "{error}"
    );
    let driver = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "disk.example.com"}, "spec": {}});
    let here = json!({"/apis/storage.k8s.io/v1/csidrivers/disk.example.com": driver});
    let item = run(|| content_action(here), &with_handle, &restore())
        .unwrap()
        .item;
    assert_eq!(
        item["spec"]["volumeSnapshotRef"],
        json!({"name": "16e560cdf7afa5692e34255d9032494205b275c461355e1e3fc5dcaee516236f", "namespace": "shop2"})
    );
    assert_eq!(item["spec"]["deletionPolicy"], "Retain");
    assert_eq!(
        item["metadata"]["annotations"],
        json!({}),
        "a mark of the old controllers would keep it from being used"
    );
}

const SNAPSHOT: &str = "/apis/snapshot.storage.k8s.io/v1/namespaces/shop2/volumesnapshots/16e560cdf7afa5692e34255d9032494205b275c461355e1e3fc5dcaee516236f";

fn content_action(objects: Value) -> VolumeSnapshotContentAction {
    VolumeSnapshotContentAction {
        client: cluster(objects),
    }
}

fn claim_action(objects: Value) -> MovedClaimAction {
    MovedClaimAction {
        client: cluster(objects),
        backup: Arc::new(Backup::default()),
    }
}

#[test]
fn a_claim_waits_only_for_a_snapshot_that_is_there() {
    let item = json!({"metadata": {"name": "data", "namespace": "shop", "annotations": {"velero.io/volume-snapshot-name": "vsName"}},
        "spec": {"volumeName": "pv1"}});
    let output = run(|| claim_action(json!({})), &item, &restore()).unwrap();
    assert_eq!(
        claim::snapshot_source(&output.item),
        Some("16e560cdf7afa5692e34255d9032494205b275c461355e1e3fc5dcaee516236f")
    );
    assert!(output.wait_for_additional_items && output.item["spec"]["volumeName"].is_null());
    let ready = |objects: Value, items: &[ResourceIdentifier]| {
        let ready = async {
            claim_action(objects)
                .are_additional_items_ready(items, &restore())
                .await
        };
        runtime().block_on(ready).map_err(|error| error.to_string())
    };
    let there = json!({SNAPSHOT: {"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {"name": "x"}, "spec": {"source": {}}}});
    assert_eq!(ready(there, &output.additional_items), Ok(true));
    let error = ready(json!({}), &output.additional_items).unwrap_err();
    assert!(error.contains("shop/vsName could not be restored"), "{error}");
    let error = ready(json!({}), &[]).unwrap_err();
    assert!(
        error.contains("the backup does not have its VolumeSnapshot"),
        "{error}"
    );
}

#[test]
fn a_claim_of_a_backup_that_moved_its_data_is_not_filled_from_a_snapshot() {
    let item = json!({"metadata": {"name": "data", "namespace": "shop", "annotations": {"velero.io/volume-snapshot-name": "vsName"}},
        "spec": {"volumeName": "pv1"}});
    let mut backup = Backup::default();
    backup.spec.snapshot_move_data = Some(true);
    let action = || MovedClaimAction {
        client: cluster(json!({})),
        backup: Arc::new(backup),
    };
    assert_eq!(run(action, &item, &restore()).unwrap().item, item);
}
