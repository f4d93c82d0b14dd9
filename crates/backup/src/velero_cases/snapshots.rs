//! Velero's tables of the snapshots that stay in the storage (`pkg_backup_actions_csi`).

use std::collections::BTreeMap;

use caravel_api::v1::Backup;
use caravel_cases::{Case, api, each, same};
use caravel_item_action::BackupItemAction;
use kube::Client;
use serde_json::{Value, json};

use super::backups::identifiers;
use super::{fails, wants};
use crate::cluster::{name, namespace, text};
use crate::item_actions::pvc::fit_request;
use crate::item_actions::snapshots::{
    VolumeSnapshotAction, VolumeSnapshotClassAction, VolumeSnapshotContentAction,
};
use crate::resource_policies::quantity;

/// The cluster of a case: its snapshot and its content. Patches are answered with what is there.
fn cluster(case: &Case) -> Client {
    let base = "/apis/snapshot.storage.k8s.io/v1";
    let mut objects = BTreeMap::new();
    let (snapshot, content) = (case.input("vs"), case.input("vsc"));
    if snapshot.is_object() {
        let path = format!(
            "{base}/namespaces/{}/volumesnapshots/{}",
            namespace(snapshot),
            name(snapshot)
        );
        objects.insert(path, snapshot.clone());
    }
    if content.is_object() {
        let mut content = content.clone();
        // Go's zero value, which the API refuses.
        if text(&content, "/spec/deletionPolicy").is_empty() {
            content["spec"]["deletionPolicy"] = "Delete".into();
        }
        objects.insert(
            format!("{base}/volumesnapshotcontents/{}", name(&content)),
            content,
        );
    }
    api::client(move |asked| {
        let found = objects.get(asked.path());
        found.map_or_else(|| api::failure(404, "NotFound"), |object| (200, object.clone()))
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn backup(case: &Case) -> Backup {
    serde_json::from_value(case.input("backup").clone()).unwrap()
}

#[test]
fn a_snapshot_brings_along_and_waits_for_what_it_does_in_velero() {
    let runtime = runtime();
    each("pkg_backup_actions_csi/TestVSExecute.json", |case| {
        let output = runtime.block_on(async {
            let action = VolumeSnapshotAction {
                client: cluster(case),
            };
            action.execute(case.input("vs").clone(), &backup(case)).await
        });
        let output = output.map_err(|error| error.to_string())?;
        same(
            &output.additional_items,
            &identifiers(case.want("expectedAdditionalItems")),
        )?;
        same(
            &output.post_operation_items,
            &identifiers(case.want("expectedItemToUpdate")),
        )
    });
}

#[test]
fn a_snapshot_is_followed_as_in_velero() {
    let runtime = runtime();
    each("pkg_backup_actions_csi/TestVSProgress.json", |case| {
        let operation = case.input("operationID").as_str().unwrap_or_default();
        let progress = runtime.block_on(async {
            let action = VolumeSnapshotAction {
                client: cluster(case),
            };
            action.progress(operation, &backup(case)).await
        });
        fails(wants(case, "expectedErr"), &progress)?;
        let wanted = case.want("expectedProgress");
        let Ok(progress) = progress else {
            return Ok(());
        };
        same(&json!(progress.completed), &json!(wanted["Completed"] == true))?;
        same(
            &progress.error.as_str(),
            &wanted["Err"].as_str().unwrap_or_default(),
        )
    });
}

fn secrets(action: &impl BackupItemAction, case: &Case, field: &str) -> Result<(), String> {
    let item = Some(case.input(field)).filter(|item| item.is_object());
    let item = item.unwrap_or_else(|| case.input("item"));
    let output = runtime().block_on(action.execute(item.clone(), &backup(case)));
    fails(wants(case, "expectErr"), &output)?;
    let Ok(output) = output else { return Ok(()) };
    same(&output.additional_items, &identifiers(case.want("expectedItems")))
}

#[test]
fn contents_and_classes_bring_their_secrets_along_as_in_velero() {
    each("pkg_backup_actions_csi/TestVSCExecute.json", |case| {
        secrets(&VolumeSnapshotContentAction, case, "vsc")
    });
    each("pkg_backup_actions_csi/TestVSClassExecute.json", |case| {
        secrets(&VolumeSnapshotClassAction, case, "vsClass")
    });
}

#[test]
fn a_claim_asks_for_as_much_as_in_velero() {
    each("pkg_backup_actions_csi/TestPVCRequestSize.json", |case| {
        let size = quantity(case.input("restoreSize").as_str().unwrap()).unwrap() / 1_000_000_000;
        let mut claim: Value = case.input("pvcInitial").clone();
        fit_request(&mut claim, i64::try_from(size).unwrap());
        same(
            &claim["spec"]["resources"]["requests"]["storage"],
            case.want("expectedSize"),
        )
    });
}
