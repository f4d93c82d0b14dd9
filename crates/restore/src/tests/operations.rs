//! Velero's tables of a DataDownload that is followed and canceled (`pkg_restore_actions_csi`).

use std::sync::Arc;

use caravel_api::v1::{Backup, Restore};
use caravel_api::v2alpha1::DataDownload;
use caravel_cases::api::{self, Asked};
use caravel_cases::{Case, each_async, same};
use caravel_item_action::{RestoreItemAction as _, RestoreItemInput};
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::cases::object;
use super::cluster::field;
use crate::item_actions::MovedClaimAction;

/// The DataDownload of a case, where it has one; patches are merged into it.
fn cluster(case: &Case) -> (MovedClaimAction, Arc<Mutex<Value>>) {
    let mut download = case.input("dataDownload").clone();
    if !download.is_null() {
        download["kind"] = json!("DataDownload");
    }
    let kept = Arc::new(Mutex::new(download));
    let held = Arc::clone(&kept);
    let client = api::client(move |asked| {
        let mut download = held.lock();
        if asked.method == http::Method::PATCH {
            json_patch::merge(&mut download, &asked.body);
            return (200, download.clone());
        }
        let namespace = format!("/namespaces/{}/", field(&download, "/metadata/namespace"));
        let here = !download.is_null() && asked.path().contains(&namespace);
        let items: Vec<Value> = here.then(|| download.clone()).into_iter().collect();
        api::list(&items)
    });
    let action = MovedClaimAction {
        client,
        backup: Arc::new(Backup::default()),
    };
    (action, kept)
}

#[test]
fn the_progress_of_a_download_is_veleros() {
    each_async("pkg_restore_actions_csi/TestProgress.json", async |case| {
        let restore: Restore = object(case.input("restore"));
        let operation = case.input("operationID").as_str().unwrap_or_default();
        let ours = cluster(case).0.progress(operation, &restore).await;
        same(&ours.is_err(), &(case.want("expectedErr") != ""))?;
        let Ok(ours) = ours else { return Ok(()) };
        let wanted = case.want("expectedProgress");
        let told = json!({"Completed": ours.completed, "Description": ours.description, "Err": ours.error,
            "NCompleted": ours.n_completed, "NTotal": ours.n_total, "OperationUnits": ours.operation_units});
        for (name, value) in told.as_object().unwrap() {
            same(value, &wanted[name])?;
        }
        // Velero's carry the fraction of a second that the API drops.
        let second = |time: Option<jiff::Timestamp>| time.map(|time| time.as_second());
        let theirs = |name: &str| wanted[name].as_str().and_then(|time| time.parse().ok());
        same(&second(ours.started), &second(theirs("Started")))?;
        same(&second(ours.updated), &second(theirs("Updated")))
    });
}

#[test]
fn a_download_is_canceled_as_by_velero() {
    each_async("pkg_restore_actions_csi/TestCancel.json", async |case| {
        let restore: Restore = object(case.input("restore"));
        let operation = case.input("operationID").as_str().unwrap_or_default();
        let (action, kept) = cluster(case);
        let ours = action.cancel(operation, &restore).await;
        same(&ours.is_err(), &(case.want("expectedErr") != ""))?;
        let wanted = &case.want("expectedDataDownload")["spec"]["cancel"];
        same(&kept.lock()["spec"]["cancel"], wanted)
    });
}

/// The cluster of a claim that is restored: the claim itself, where the case has it before, and the result of its upload.
fn cluster_of_claim(case: &Case) -> (Client, Arc<Mutex<Vec<Value>>>) {
    let exists = (case.input("preCreatePVC") == true).then(|| case.input("pvc").clone());
    let result = Some(case.input("dataUploadResult").clone()).filter(|result| !result.is_null());
    let created = Arc::<Mutex<Vec<Value>>>::default();
    let noted = Arc::clone(&created);
    let client = api::client(move |asked: &Asked| {
        if asked.method == http::Method::POST {
            noted.lock().push(asked.body.clone());
            return (201, asked.body.clone());
        }
        if asked.path().contains("/persistentvolumeclaims/") {
            let found = exists.as_ref().filter(|claim| {
                asked
                    .path()
                    .contains(&format!("/namespaces/{}/", field(claim, "/metadata/namespace")))
            });
            return found.map_or_else(|| api::failure(404, "NotFound"), |claim| (200, claim.clone()));
        }
        let query = asked.uri.query().unwrap_or_default();
        let wanted = |result: &&Value| {
            let labels = result["metadata"]["labels"].as_object().into_iter().flatten();
            let mut values = labels.filter_map(|(_, value)| value.as_str());
            values.all(|value| query.contains(value))
        };
        api::list(&result.iter().filter(wanted).cloned().collect::<Vec<_>>())
    });
    (client, created)
}

#[test]
fn a_claim_whose_data_was_moved_waits_for_the_download_that_velero_makes() {
    each_async("pkg_restore_actions_csi/TestExecute.json", async |case| {
        let (client, created) = cluster_of_claim(case);
        let action = MovedClaimAction {
            client,
            backup: Arc::new(object(case.input("backup"))),
        };
        let claim = case.input("pvc").clone();
        let in_backup = Some(case.input("pvcFromBackup")).filter(|claim| !claim.is_null());
        let restore: Restore = object(case.input("restore"));
        let input = RestoreItemInput {
            item: claim.clone(),
            item_from_backup: in_backup.unwrap_or(&claim),
            restore: &restore,
        };
        let done = action.execute(input).await;
        same(&done.is_err(), &(case.want("expectedErr") != ""))?;
        let Ok(done) = done else { return Ok(()) };
        if !case.want("expectedPVC").is_null() {
            same(&done.item["metadata"], &case.want("expectedPVC")["metadata"])?;
        }
        let ours = created.lock().first().cloned();
        let waits = done
            .item
            .pointer("/spec/selector/matchLabels/velero.io~1dynamic-pv-restore");
        same(&waits.is_some(), &ours.is_some())?;
        if case.want("expectedDataDownload").is_null() {
            return Ok(());
        }
        let ours: DataDownload = object(&ours.unwrap_or_default());
        let wanted: DataDownload = object(case.want("expectedDataDownload"));
        same(&ours.spec, &wanted.spec)?;
        same(&ours.metadata.labels, &wanted.metadata.labels)?;
        same(&ours.metadata.owner_references, &wanted.metadata.owner_references)?;
        same(&ours.metadata.generate_name, &wanted.metadata.generate_name)
    });
}
