//! Velero's tables of a DataDownload that is followed and canceled (`pkg_restore_actions_csi`).

use std::sync::Arc;

use caravel_api::v1::{Backup, Restore};
use caravel_cases::{Case, each, same};
use caravel_item_action::RestoreItemAction as _;
use kube::Client;
use kube::client::Body;
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
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let held = Arc::clone(&held);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let mut download = held.lock();
            let answer = if parts.method == http::Method::PATCH {
                json_patch::merge(&mut download, &serde_json::from_slice(&body).unwrap());
                download.clone()
            } else {
                let asked = format!("/namespaces/{}/", field(&download, "/metadata/namespace"));
                let here = !download.is_null() && parts.uri.path().contains(&asked);
                let items: Vec<&Value> = here.then_some(&*download).into_iter().collect();
                json!({"kind": "DataDownloadList", "apiVersion": "velero.io/v2alpha1", "metadata": {}, "items": items})
            };
            let response = http::Response::builder().header("content-type", "application/json");
            let response = response.body(Body::from(serde_json::to_vec(&answer).unwrap()));
            Ok::<_, std::convert::Infallible>(response.unwrap())
        }
    });
    let action = MovedClaimAction {
        client: Client::new(service, "velero"),
        backup: Arc::new(Backup::default()),
    };
    (action, kept)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn the_progress_of_a_download_is_veleros() {
    let runtime = runtime();
    each("pkg_restore_actions_csi/TestProgress.json", |case| {
        let restore: Restore = object(case.input("restore"));
        let operation = case.input("operationID").as_str().unwrap_or_default();
        let ours = runtime.block_on(async { cluster(case).0.progress(operation, &restore).await });
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
    let runtime = runtime();
    each("pkg_restore_actions_csi/TestCancel.json", |case| {
        let restore: Restore = object(case.input("restore"));
        let operation = case.input("operationID").as_str().unwrap_or_default();
        let (ours, kept) = runtime.block_on(async {
            let (action, kept) = cluster(case);
            (action.cancel(operation, &restore).await, kept)
        });
        same(&ours.is_err(), &(case.want("expectedErr") != ""))?;
        let wanted = &case.want("expectedDataDownload")["spec"]["cancel"];
        same(&kept.lock()["spec"]["cancel"], wanted)
    });
}
