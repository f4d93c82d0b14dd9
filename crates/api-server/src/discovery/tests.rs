//! Parts of what a Kubernetes 1.34.4 answers, recorded on 2026-11-21.

use super::*;
use crate::custom;

/// The built-in kinds and two of a definition.
fn served() -> Vec<Kind> {
    let mut kinds = crate::builtin::kinds::kinds();
    let crd = json!({
        "metadata": {"name": "gadgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster",
            "names": {"plural": "gadgets", "kind": "Gadget", "shortNames": ["gad"], "categories": ["all"]},
            "versions": [
                {"name": "v1beta1", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}},
                {
                    "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
                },
            ],
        },
    });
    kinds.extend(custom::kinds(&crd).expect("a good definition"));
    kinds
}

fn named<'a>(list: &'a Value, field: &str, name: &str) -> &'a Value {
    let list = list.as_array().expect("a list");
    list.iter().find(|one| one[field] == name).expect(name)
}

#[test]
fn the_core_group_has_one_version() {
    assert_eq!(
        versions("127.0.0.1:6443"),
        json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}]})
    );
}

#[test]
fn groups_come_in_kubernetes_order_and_prefer_the_stable_version() {
    let groups = groups(&served());
    let names: Vec<&str> = groups["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .filter_map(|group| group["name"].as_str())
        .collect();
    let apps = names.iter().position(|name| *name == "apps");
    assert!(apps < names.iter().position(|name| *name == "batch"), "{names:?}");
    assert_eq!(names.last(), Some(&"example.com"));
    assert!(!names.contains(&""));
    let expected = json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": "example.com",
        "versions": [{"groupVersion": "example.com/v1", "version": "v1"}, {"groupVersion": "example.com/v1beta1", "version": "v1beta1"}],
        "preferredVersion": {"groupVersion": "example.com/v1", "version": "v1"},
    });
    assert_eq!(group(&served(), "example.com"), Some(expected));
    assert_eq!(group(&served(), "nope"), None);
}

#[test]
fn versions_are_ordered_as_kubernetes_prefers_them() {
    let mut kinds = served();
    let template = kinds.pop().expect("a kind");
    for version in [
        "foo",
        "v10beta3",
        "v2",
        "v11alpha2",
        "v12alpha1",
        "v3beta1",
        "v10",
        "v1",
    ] {
        kinds.push(Kind {
            group: "order".to_owned(),
            version: version.to_owned(),
            ..template.clone()
        });
    }
    assert_eq!(
        version_names(&kinds, "order"),
        [
            "v10",
            "v2",
            "v1",
            "v10beta3",
            "v3beta1",
            "v12alpha1",
            "v11alpha2",
            "foo"
        ]
    );
}

#[test]
fn resources_are_listed_with_their_subresources() {
    let core = resources(&served(), "", "v1").expect("the core group");
    assert_eq!(core["kind"], "APIResourceList");
    assert_eq!(core["groupVersion"], "v1");
    assert!(core["apiVersion"].is_null());
    assert_eq!(
        *named(&core["resources"], "name", "configmaps"),
        json!({"name": "configmaps", "singularName": "configmap", "namespaced": true, "kind": "ConfigMap", "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"], "shortNames": ["cm"], "storageVersionHash": "qFsyl6wFWjQ="})
    );
    assert_eq!(
        *named(&core["resources"], "name", "namespaces"),
        json!({"name": "namespaces", "singularName": "namespace", "namespaced": false, "kind": "Namespace", "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"], "shortNames": ["ns"], "storageVersionHash": "Q3oi5N2YM8M="})
    );
    assert_eq!(
        *named(&core["resources"], "name", "pods/eviction"),
        json!({"name": "pods/eviction", "singularName": "", "namespaced": true, "group": "policy", "version": "v1", "kind": "Eviction", "verbs": ["create"]})
    );
    assert_eq!(
        *named(&core["resources"], "name", "pods/exec"),
        json!({"name": "pods/exec", "singularName": "", "namespaced": true, "kind": "PodExecOptions", "verbs": ["create", "get"]})
    );
    let events = resources(&served(), "events.k8s.io", "v1").expect("the group of events");
    assert_eq!(
        named(&events["resources"], "name", "events")["storageVersionHash"],
        "r2yiGXH7wu8="
    );
    let reviews = resources(&served(), "authorization.k8s.io", "v1").expect("reviews");
    assert_eq!(
        *named(&reviews["resources"], "name", "subjectaccessreviews"),
        json!({"name": "subjectaccessreviews", "singularName": "subjectaccessreview", "namespaced": false, "kind": "SubjectAccessReview", "verbs": ["create"]})
    );
    assert_eq!(resources(&served(), "apps", "v2"), None);
}

#[test]
fn custom_resources_are_listed_like_any_other() {
    let list = resources(&served(), "example.com", "v1").expect("the group");
    assert_eq!(list["apiVersion"], "v1");
    let gadgets = named(&list["resources"], "name", "gadgets");
    assert_eq!(
        gadgets["verbs"],
        json!([
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "create",
            "update",
            "watch"
        ])
    );
    assert_eq!(gadgets["shortNames"], json!(["gad"]));
    assert_eq!(
        *named(&list["resources"], "name", "gadgets/status"),
        json!({"name": "gadgets/status", "singularName": "", "namespaced": false, "kind": "Gadget", "verbs": ["get", "patch", "update"]})
    );
    let beta = resources(&served(), "example.com", "v1beta1").expect("the other version");
    assert_eq!(beta["resources"].as_array().map(Vec::len), Some(1));
}

#[test]
fn one_answer_holds_everything() {
    let core = aggregated(&served(), true);
    assert_eq!(core["kind"], "APIGroupDiscoveryList");
    assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2");
    let version = &core["items"][0]["versions"][0];
    assert_eq!(version["freshness"], "Current");
    assert_eq!(
        *named(&version["resources"], "resource", "serviceaccounts"),
        json!({"resource": "serviceaccounts", "responseKind": {"group": "", "version": "", "kind": "ServiceAccount"}, "scope": "Namespaced", "singularResource": "serviceaccount", "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"], "shortNames": ["sa"], "subresources": [{"subresource": "token", "responseKind": {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"}, "verbs": ["create"]}]})
    );
    let named_groups = aggregated(&served(), false);
    let items = named_groups["items"].as_array().expect("items");
    let example = items
        .iter()
        .find(|item| item["metadata"]["name"] == "example.com")
        .expect("the group");
    assert_eq!(example["versions"][0]["version"], "v1");
    assert_eq!(
        example["versions"][0]["resources"][0]["responseKind"],
        json!({"group": "example.com", "version": "v1", "kind": "Gadget"})
    );
}
