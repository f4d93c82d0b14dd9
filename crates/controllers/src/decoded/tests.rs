//! One bad object among good ones, over HTTP as `kube` speaks it.

use std::sync::Arc;

use caravel_api::v1::{Backup, BackupStorageLocation};
use caravel_api::v2alpha1::DataUpload;
use futures::StreamExt;
use kube::client::Body;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::context::Context;
use crate::reconcile::{Key, Source};

const NAMESPACE: &str = "velero";

/// Requests that write, as `METHOD path body`.
type Written = Arc<Mutex<Vec<(String, Value)>>>;

/// An API server with one kind: lists `items`, then its watch reports `changes`, then stays quiet.
fn api_server(items: Vec<Value>, changes: Vec<Value>) -> (Client, Written) {
    let (written, changes) = (Written::default(), Arc::new(Mutex::new(changes)));
    let seen = Arc::clone(&written);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (items, changes, seen) = (items.clone(), Arc::clone(&changes), Arc::clone(&seen));
        async move {
            let (parts, body) = request.into_parts();
            let watches = parts
                .uri
                .query()
                .is_some_and(|query| query.contains("watch=true"));
            let name = parts.uri.path().rsplit('/').next().unwrap_or_default();
            let answer = if parts.method == http::Method::PATCH {
                let patch = serde_json::from_slice(&body.collect_bytes().await?)?;
                seen.lock().push((parts.uri.path().to_owned(), patch));
                items[0].to_string().into_bytes().into()
            } else if watches {
                let news = std::mem::take(&mut *changes.lock());
                if news.is_empty() {
                    return std::future::pending().await;
                }
                // In an API server's order: the type, then the object.
                news.iter()
                    .map(|object| format!("{{\"type\":\"MODIFIED\",\"object\":{object}}}\n"))
                    .collect::<String>()
                    .into_bytes()
                    .into()
            } else if let Some(one) = items.iter().find(|item| item["metadata"]["name"] == name) {
                one.to_string().into_bytes().into()
            } else {
                json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items})
                    .to_string()
                    .into_bytes()
                    .into()
            };
            Ok::<_, crate::reconcile::Error>(http::Response::<Body>::new(answer))
        }
    });
    (Client::new(service, NAMESPACE), written)
}

fn backup(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "velero.io/v1", "kind": "Backup", "spec": spec,
        "metadata": {"name": name, "namespace": NAMESPACE, "resourceVersion": "5"}})
}

/// `velero.io/v1 Backup` with nothing but metadata, as `kubectl apply` takes it.
fn without_spec(name: &str) -> Value {
    let mut object = backup(name, Value::Null);
    object.as_object_mut().expect("an object").remove("spec");
    object
}

fn three_backups() -> Vec<Value> {
    vec![
        backup("bad", json!({"ttl": "soon"})),
        without_spec("bare"),
        backup("good", json!({"ttl": "1h"})),
    ]
}

fn bad(object: Value) -> Undecodable {
    match serde_json::from_value::<Decoded<Backup>>(object).expect("never an error") {
        Decoded::Bad(bad) => *bad,
        Decoded::Object(object) => panic!("{object:?} decodes"),
    }
}

async fn first_keys(source: Source, count: usize) -> Vec<String> {
    let keys = source.take(count).map(|key| key.name).collect::<Vec<_>>();
    tokio::time::timeout(std::time::Duration::from_secs(10), keys)
        .await
        .expect("the watch delivers")
}

#[tokio::test]
async fn a_list_with_one_bad_object_still_gives_the_good_ones() {
    let (client, _) = api_server(three_backups(), vec![]);
    let (found, passed_over) = list(
        &Api::<Backup>::namespaced(client.clone(), NAMESPACE),
        &Default::default(),
    )
    .await
    .expect("the list is answered");
    assert_eq!(
        found.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
        ["bare", "good"]
    );
    assert_eq!(found[0].spec, Default::default());
    assert_eq!(passed_over.len(), 1);
    let context = Context::new(
        client,
        NAMESPACE,
        caravel_backup_store::ProcessCredentials::default(),
    );
    assert_eq!(
        context
            .list::<Backup>(&Default::default())
            .await
            .expect("the same")
            .len(),
        2
    );
}

#[tokio::test]
async fn a_watch_with_one_bad_object_still_delivers_the_good_ones_listed_and_changed() {
    let changes = vec![
        backup("worse", json!({"csiSnapshotTimeout": "x"})),
        backup("later", json!({})),
    ];
    let (client, written) = api_server(three_backups(), changes);
    let api = Api::<Backup>::namespaced(client, NAMESPACE);
    let keys = first_keys(Source::objects(api, watcher::Config::default()), 3).await;
    assert_eq!(keys, ["bare", "good", "later"]);
    assert!(
        written.lock().is_empty(),
        "only the controller of the kind refuses"
    );
}

#[tokio::test]
async fn the_controller_of_the_kind_refuses_the_bad_object_with_its_field_and_goes_on() {
    let (client, written) = api_server(three_backups(), vec![]);
    let context = Context::new(
        client,
        NAMESPACE,
        caravel_backup_store::ProcessCredentials::default(),
    );
    let keys = first_keys(Source::own(&context, |backup: &Backup| vec![Key::of(backup)]), 2).await;
    assert_eq!(keys, ["bare", "good"]);
    let written = written.lock();
    let [(path, patch)] = written.as_slice() else {
        panic!("{written:?}")
    };
    assert_eq!(path, "/apis/velero.io/v1/namespaces/velero/backups/bad");
    assert_eq!(patch["metadata"]["resourceVersion"], "5");
    assert_eq!(patch["status"]["phase"], "FailedValidation");
    let why = patch["status"]["validationErrors"][0].as_str().expect("a reason");
    assert!(why.starts_with("spec.ttl: invalid duration \"soon\""), "{why}");
}

#[tokio::test]
async fn one_object_is_read_by_name_whether_it_decodes_or_not() {
    let (client, _) = api_server(three_backups(), vec![]);
    let api = Api::<Backup>::namespaced(client, NAMESPACE);
    let one = get(&api, "bad").await.expect("answered").expect("exists");
    let Decoded::Bad(bad) = one else { panic!("{one:?}") };
    assert!(
        bad.to_string()
            .starts_with("Backup velero/bad cannot be read: spec.ttl: invalid duration")
    );
    assert!(matches!(get(&api, "bare").await, Ok(Some(Decoded::Object(_)))));
}

#[test]
fn the_field_at_fault_is_named_however_deep_it_lies() {
    let hook = json!({"resources": [{"name": "h", "pre": [{"exec": {"command": ["a"], "timeout": "x"}}]}]});
    assert!(
        bad(backup("b", json!({"hooks": hook})))
            .why
            .starts_with("spec.hooks.resources: ")
    );
    let selector = json!({"labelSelector": {"matchLabels": {"a": 1, "b": "c"}}});
    assert!(
        bad(backup("b", selector))
            .why
            .starts_with("spec.labelSelector.matchLabels.a: ")
    );
    // Two faults: both lie in the spec, and the text says what is wrong with one.
    let two = bad(backup("b", json!({"ttl": "x", "itemOperationTimeout": "y"})));
    assert!(two.why.starts_with("spec: invalid duration"), "{}", two.why);
}

#[test]
fn a_backup_that_runs_or_has_ended_is_not_refused() {
    for phase in ["InProgress", "Finalizing", "Completed", "FailedValidation"] {
        let mut object = backup("b", json!({"ttl": "soon"}));
        object["status"] = json!({"phase": phase});
        assert_eq!(
            refusal::status(&bad(object), jiff::Timestamp::UNIX_EPOCH),
            None,
            "{phase}"
        );
    }
}

#[test]
fn a_data_upload_is_refused_only_while_nobody_has_taken_it_and_only_if_it_is_ours() {
    let refused = |datamover: &str, phase: &str| {
        let object = json!({"metadata": {"name": "u"}, "status": {"phase": phase},
            "spec": {"datamover": datamover, "operationTimeout": "x"}});
        match serde_json::from_value::<Decoded<DataUpload>>(object).expect("never an error") {
            Decoded::Bad(bad) => refusal::status(&bad, jiff::Timestamp::UNIX_EPOCH),
            Decoded::Object(object) => panic!("{object:?} decodes"),
        }
    };
    let status = refused("", "").expect("refused");
    assert_eq!(status["phase"], "Failed");
    assert_eq!(status["completionTimestamp"], "1970-01-01T00:00:00Z");
    assert!(
        status["message"]
            .as_str()
            .expect("a text")
            .starts_with("spec.operationTimeout: ")
    );
    assert_eq!(refused("velero", "Accepted"), None);
    assert_eq!(refused("someone-elses", ""), None);
}

#[test]
fn a_location_is_told_once_that_it_is_unavailable() {
    let mut object = json!({"metadata": {"name": "default"},
        "spec": {"provider": "aws", "objectStorage": {"bucket": "b"}, "validationFrequency": "often"}});
    let mut refused = || match serde_json::from_value::<Decoded<BackupStorageLocation>>(object.clone()) {
        Ok(Decoded::Bad(bad)) => {
            let status = refusal::status(&bad, jiff::Timestamp::UNIX_EPOCH);
            object["status"] = status.clone().unwrap_or_default();
            status
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(refused().expect("refused")["phase"], "Unavailable");
    assert_eq!(refused(), None);
}
