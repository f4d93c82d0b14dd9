//! What becomes of storage classes at a restore, as Velero's page on data movement says: left out unless they are asked for,
//! left as they are where they exist, and left out where they are excluded.

use std::sync::Arc;

use caravel_cases::Case;
use serde_json::{Value, json};

use super::cluster::Api;
use super::runs::restore;
use crate::item_actions::built_in;
use crate::run::Outcome;

/// A restore of namespace `shop` from a backup that holds the class `fast`; `more` is merged into the spec, `live` is there.
async fn restored(more: Value, live: &[Value]) -> (Arc<Api>, Outcome) {
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "csi.example.com",
        "metadata": {"name": "fast"}});
    let prices =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prices", "namespace": "shop"}});
    let mut spec = json!({"backupName": "b", "includedNamespaces": ["shop"]});
    json_patch::merge(&mut spec, &more);
    let case = Case(json!({"input": {
        "tarball": {"$tarball": {
            "resources/storageclasses.storage.k8s.io/cluster/fast.json": class.to_string(),
            "resources/configmaps/namespaces/shop/prices.json": prices.to_string(),
        }},
        "apiResources": [
            {"group": "storage.k8s.io", "version": "v1", "plural": "storageclasses", "kind": "StorageClass",
                "namespaced": false, "items": live},
            {"group": "", "version": "v1", "plural": "configmaps", "kind": "ConfigMap", "namespaced": true, "items": []},
        ],
        "backup": {"spec": {}},
        "restore": {"metadata": {"name": "r", "namespace": "velero"}, "spec": spec},
    }}));
    let api = Api::of(&case);
    let backup = Arc::new(super::cases::object(case.input("backup")));
    let actions = built_in(&api.client(), &backup, "velero");
    let outcome = restore(&case, &api, actions).await.unwrap();
    assert!(outcome.results.errors.is_empty(), "{:?}", outcome.results);
    assert_eq!(outcome.resource_list["v1/ConfigMap"], ["shop/prices(created)"]);
    (api, outcome)
}

/// What was written of classes: method and path.
fn writes(api: &Api) -> Vec<String> {
    let requests = api.requests.lock();
    let of_classes = requests
        .iter()
        .filter(|request| request.contains("/storageclasses"));
    of_classes
        .filter(|request| !request.starts_with("GET "))
        .cloned()
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_storage_class_comes_back_only_when_cluster_resources_are_asked_for() {
    let (api, outcome) = restored(json!({}), &[]).await;
    assert!(writes(&api).is_empty(), "{:?}", writes(&api));
    assert!(
        !outcome
            .resource_list
            .contains_key("storage.k8s.io/v1/StorageClass")
    );
    let (_, outcome) = restored(json!({"includeClusterResources": true}), &[]).await;
    assert_eq!(
        outcome.resource_list["storage.k8s.io/v1/StorageClass"],
        ["fast(created)"]
    );
    let excluded = json!({"includeClusterResources": true, "excludedResources": ["storageclasses"]});
    let (api, _) = restored(excluded, &[]).await;
    assert!(writes(&api).is_empty(), "{:?}", writes(&api));
}

#[tokio::test(start_paused = true)]
async fn a_storage_class_that_exists_is_left_as_it_is() {
    let live = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "other.example.com",
        "metadata": {"name": "fast"}});
    let (api, outcome) = restored(json!({"includeClusterResources": true}), &[live]).await;
    assert_eq!(
        outcome.resource_list["storage.k8s.io/v1/StorageClass"],
        ["fast(skipped)"]
    );
    let key = ("storageclasses".to_owned(), String::new(), "fast".to_owned());
    assert_eq!(api.objects.lock()[&key]["provisioner"], "other.example.com");
    assert!(
        writes(&api).iter().all(|request| request.starts_with("POST ")),
        "{:?}",
        writes(&api)
    );
}
