//! Velero's tables of operations that are followed and canceled: the DataUploads of `velero.io/csi-pvc-backupper`.

use std::sync::{Arc, Mutex};

use caravel_api::v1::Backup;
use caravel_cases::api::{self, Asked};
use caravel_cases::{Case, each_async, same};
use caravel_item_action::BackupItemAction as _;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::namespace;
use crate::item_actions::pvc::CsiPvcAction;

/// What was written, by patches.
type Patches = Arc<Mutex<Vec<Value>>>;

/// The cluster of a case: its DataUpload, where it has one, found by the label of the operation.
fn cluster(case: &Case) -> (Client, Patches) {
    let upload = Some(case.input("dataUpload").clone()).filter(|upload| !upload.is_null());
    let operation = case.input("operationID").as_str().unwrap_or_default().to_owned();
    let patches = Patches::default();
    let noted = Arc::clone(&patches);
    let client = api::client(move |asked: &Asked| {
        let path = asked.path();
        let here = |upload: &&Value| path.contains(&format!("/namespaces/{}/datauploads", namespace(upload)));
        let Some(upload) = upload.as_ref().filter(here) else {
            return api::list(&[]);
        };
        if asked.method == http::Method::PATCH {
            noted.lock().unwrap().push(asked.body.clone());
            return (200, upload.clone());
        }
        let query = asked.uri.query().unwrap_or_default();
        assert!(
            query.contains("velero.io%2Fasync-operation-id") && query.contains(&operation),
            "{query}"
        );
        api::list(std::slice::from_ref(upload))
    });
    (client, patches)
}

fn backup(case: &Case) -> Backup {
    serde_json::from_value(case.input("backup").clone()).unwrap()
}

fn operation(case: &Case) -> &str {
    case.input("operationID").as_str().unwrap_or_default()
}

#[test]
fn an_operation_is_canceled_where_velero_cancels_it() {
    each_async("pkg_backup_actions_csi/TestCancel.json", async |case| {
        let (client, patches) = cluster(case);
        let action = CsiPvcAction::new(client, "velero", None);
        let canceled = action.cancel(operation(case), &backup(case)).await;
        let fails = case.want("expectedErr") != "";
        same(&canceled.is_err(), &fails)?;
        let wanted = case.want("expectedDataUpload")["spec"]["cancel"].clone();
        let ours = patches.lock().unwrap().first().cloned().unwrap_or_default();
        same(&ours["spec"]["cancel"], &wanted)
    });
}

#[test]
fn the_progress_of_an_operation_is_what_it_is_in_velero() {
    each_async("pkg_backup_actions_csi/TestProgress.json", async |case| {
        let (client, _) = cluster(case);
        let action = CsiPvcAction::new(client, "velero", None);
        let progress = action.progress(operation(case), &backup(case)).await;
        same(&progress.is_err(), &(case.want("expectedErr") != ""))?;
        let Ok(progress) = progress else { return Ok(()) };
        // The API keeps times to the second.
        let seconds =
            |time: Option<jiff::Timestamp>| time.map(|time| time.to_string()[..19].to_owned() + "Z");
        let ours = json!({"Completed": progress.completed, "Description": progress.description, "Err": progress.error,
            "NCompleted": progress.n_completed, "NTotal": progress.n_total, "OperationUnits": progress.operation_units,
            "Started": seconds(progress.started), "Updated": seconds(progress.updated)});
        let mut wanted = case.want("expectedProgress").clone();
        for field in ["Started", "Updated"] {
            let text = wanted[field].as_str().unwrap_or_default()[..19].to_owned();
            wanted[field] = json!(text + "Z");
        }
        same(&ours, &wanted)
    });
}
