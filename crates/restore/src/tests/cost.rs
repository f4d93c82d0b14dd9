//! What a restored object costs: counted in requests, for each is a way to the API server and a write to etcd.

use std::collections::BTreeMap;
use std::sync::Arc;

use caravel_cases::Case;
use serde_json::{Value, json};

use super::cluster::Api;
use super::runs::restore;
use crate::item_actions::built_in;
use crate::run::{AT_ONCE, Outcome};

/// Secrets and config maps of each run.
const OBJECTS: usize = 100;

/// A restore of [`OBJECTS`] into another namespace; `more` is merged into the spec, `live` is in the cluster already.
async fn restored(more: Value, live: &[Value]) -> (Arc<Api>, Outcome) {
    let kinds = [("secrets", "Secret"), ("configmaps", "ConfigMap")];
    let object = |number: usize, kind: &str, namespace: &str| {
        json!({"apiVersion": "v1", "kind": kind, "data": {"value": "dmFsdWU="}, "metadata": {
            "name": format!("object-{number:03}"), "namespace": namespace, "uid": "of-the-old-life", "resourceVersion": "7",
            "managedFields": [{"manager": "kubectl-create", "operation": "Update"}]}})
    };
    let mut tarball = BTreeMap::new();
    for number in 0..OBJECTS {
        let (plural, kind) = kinds[number % 2];
        let path = format!("resources/{plural}/namespaces/shop/object-{number:03}.json");
        tarball.insert(path, object(number, kind, "shop").to_string());
    }
    let served = kinds.map(|(plural, kind)| {
        let here = live.iter().filter(|object| object["kind"] == kind);
        json!({"group": "", "version": "v1", "plural": plural, "kind": kind, "namespaced": true,
            "items": here.collect::<Vec<_>>()})
    });
    let mut spec = json!({"backupName": "b", "namespaceMapping": {"shop": "copy"}});
    json_patch::merge(&mut spec, &more);
    let case = Case(json!({"input": {
        "tarball": {"$tarball": tarball}, "apiResources": served, "backup": {"spec": {}},
        "restore": {"metadata": {"name": "r", "namespace": "velero"}, "spec": spec},
    }}));
    let api = Api::of(&case);
    let backup = Arc::new(super::cases::object(case.input("backup")));
    let actions = built_in(&api.client(), &backup, "velero");
    let outcome = restore(&case, &api, actions).await.unwrap();
    (api, outcome)
}

/// Requests by method and path, without names.
fn counted(api: &Api) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for request in &*api.requests.lock() {
        let path: Vec<&str> = request.split("/object-").collect();
        *counted.entry(path[0].to_owned()).or_default() += 1;
    }
    counted
}

fn expected(requests: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let owned = requests
        .iter()
        .map(|(request, count)| ((*request).to_owned(), *count));
    owned.collect()
}

#[tokio::test(start_paused = true)]
async fn a_restored_secret_costs_one_request() {
    let (api, outcome) = restored(json!({}), &[]).await;
    assert!(outcome.results.errors.is_empty(), "{:?}", outcome.results);
    let requests = expected(&[
        // Of the namespace, once.
        ("GET /api/v1/namespaces/copy", 1),
        ("POST /api/v1/namespaces", 1),
        ("POST /api/v1/namespaces/copy/secrets", OBJECTS / 2),
        ("POST /api/v1/namespaces/copy/configmaps", OBJECTS / 2),
    ]);
    assert_eq!(counted(&api), requests);
    assert_eq!(outcome.resource_list["v1/Secret"].len(), OBJECTS / 2);
    assert_eq!(outcome.resource_list["v1/Secret"][0], "copy/object-000(created)");
}

#[tokio::test(start_paused = true)]
async fn objects_of_one_resource_are_created_side_by_side() {
    let (api, _) = restored(json!({}), &[]).await;
    assert_eq!(api.most_at_once(), AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn only_an_object_that_exists_is_looked_at() {
    let live = json!({"apiVersion": "v1", "kind": "Secret", "data": {"value": "b3RoZXI="},
        "metadata": {"name": "object-000", "namespace": "copy"}});
    let (api, outcome) = restored(json!({}), &[live]).await;
    assert_eq!(counted(&api)["GET /api/v1/namespaces/copy/secrets"], 1);
    assert_eq!(outcome.results.warnings.count(), 1, "{:?}", outcome.results);
    assert_eq!(outcome.resource_list["v1/Secret"][0], "copy/object-000(skipped)");
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_asked_for_costs_a_second_request_only_where_there_is_one() {
    let (api, _) = restored(json!({"restoreStatus": {"includedResources": ["*"]}}), &[]).await;
    assert!(!counted(&api).keys().any(|request| request.starts_with("PATCH")));
}
