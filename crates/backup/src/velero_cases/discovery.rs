//! Velero's tables of discovery (`pkg_discovery`).

use caravel_cases::{Case, api, each, same};
use kube::Client;
use serde_json::{Value, json};

use super::wants;
use crate::discovery::Resources;

const ALL_VERBS: [&str; 4] = ["create", "delete", "get", "list"];

fn group(name: &str, version: &str, plural: &str, verbs: &Value) -> Value {
    json!({"metadata": {"name": name}, "versions": [{"version": version, "resources": [
        {"resource": plural, "scope": "Namespaced", "verbs": verbs,
            "responseKind": {"group": name, "version": version, "kind": "Thing"}}]}]})
}

/// `apps/v1beta1` → (`apps`, `v1beta1`).
fn split(group_version: &Value) -> (&str, &str) {
    let text = group_version.as_str().unwrap_or_default();
    text.split_once('/').unwrap_or(("", text))
}

fn groups_of(lists: &Value) -> Vec<(String, String)> {
    let lists = lists.as_array().into_iter().flatten();
    let pair = |list: &Value| {
        let (group, version) = split(&list["groupVersion"]);
        (group.to_owned(), version.to_owned())
    };
    lists.map(pair).collect()
}

#[test]
fn a_resource_is_usable_with_the_verbs_that_velero_needs() {
    each("pkg_discovery/TestFilteringByVerbs.json", |case| {
        let offered = group("", "v1", "things", &case.input("res")["verbs"]);
        let ours = Resources::from_groups([serde_json::from_value(offered).unwrap()]);
        same(&(ours.iter().count() == 1), &wants(case, "expected"))
    });
}

#[test]
fn groups_are_sorted_as_by_velero() {
    each("pkg_discovery/TestSortResources.json", |case| {
        let served = groups_of(case.input("resources")).into_iter();
        let served = served.map(|(name, version)| {
            serde_json::from_value(group(&name, &version, "things", &json!(ALL_VERBS))).unwrap()
        });
        let ours = Resources::from_groups(served.collect::<Vec<_>>());
        let ours: Vec<_> = ours
            .iter()
            .map(|resource| (resource.api.group.clone(), resource.api.version.clone()))
            .collect();
        same(&ours, &groups_of(case.want("expected")))
    });
}

/// What an API server that serves these groups says; `None`: it fails.
fn client(groups: Option<Vec<Value>>) -> Client {
    api::client(move |asked| match &groups {
        Some(groups) => api::discovery(groups, asked.path()),
        None => api::failure(500, "InternalError"),
    })
}

/// Discovers; the pairs of group and version that are there then.
fn discovered(groups: Option<Vec<Value>>) -> Result<Vec<(String, String)>, kube::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let found = runtime.block_on(async { Resources::discover(&client(groups)).await })?;
    let pair =
        |resource: &crate::discovery::Resource| (resource.api.group.clone(), resource.api.version.clone());
    Ok(found.iter().map(pair).collect())
}

fn sorted(mut pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    pairs.sort();
    pairs
}

/// A group that the API server cannot discover is missing from its answer, and the others are there.
#[test]
fn groups_that_cannot_be_discovered_do_not_stop_the_others_as_in_velero() {
    each("pkg_discovery/TestRefreshServerPreferredResources.json", |case| {
        let served = groups_of(case.input("resourceList"));
        let groups = served
            .iter()
            .map(|(name, version)| group(name, version, "things", &json!(ALL_VERBS)));
        let fails = !case.input("returnError").is_null();
        let ours = discovered((!fails).then(|| groups.collect()));
        same(&ours.is_err(), &fails)?;
        same(&sorted(ours.unwrap_or_default()), &sorted(served))
    });
}

#[test]
fn an_api_server_that_fails_is_an_error_as_in_velero() {
    let check = |case: &Case| {
        let fails = !case.want("expectedErr").is_null();
        let pods = group("", "v1", "pods", &json!(ALL_VERBS));
        let ours = discovered((!fails).then(|| vec![pods]));
        same(&ours.is_err(), &fails)?;
        same(&ours.unwrap_or_default().len(), &usize::from(!fails))
    };
    each(
        "pkg_discovery/TestHelper_refreshServerGroupsAndResources.json",
        check,
    );
    each(
        "pkg_discovery/TestHelper_refreshServerPreferredResources.json",
        check,
    );
}
