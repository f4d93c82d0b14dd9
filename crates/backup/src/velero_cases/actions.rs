use std::collections::BTreeSet;

use caravel_api::v1::Backup;
use caravel_cases::{Case, each, same, texts};
use caravel_item_action::{BackupItemAction as _, ResourceIdentifier};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use serde_json::{Value, json};

use super::backups::identifiers;
use super::discovered;
use crate::cluster::{name, namespace};
use crate::collect::{Selection, namespace_left_out};
use crate::filter::NamespaceFilter;
use crate::item_actions::{pod::PodAction, pv, service_account};

fn sorted(items: impl IntoIterator<Item = ResourceIdentifier>) -> BTreeSet<ResourceIdentifier> {
    items.into_iter().collect()
}

#[test]
fn a_pod_brings_along_what_it_brings_along_in_velero() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let check = |case: &Case| {
        let output = runtime.block_on(PodAction.execute(case.input("pod").clone(), &Backup::default()));
        let ours = output.map_err(|error| error.to_string())?.additional_items;
        same(&sorted(ours), &sorted(identifiers(case.want("expected"))))
    };
    each("pkg_backup_actions/TestPodActionExecute.json", check);
    each("pkg_itemblock_actions/TestPodActionGetRelatedItems.json", check);
}

#[test]
fn an_account_brings_along_what_it_brings_along_in_velero() {
    let check = |case: &Case, field: &str| {
        let bindings: Vec<ClusterRoleBinding> = match case.input("crbs") {
            Value::Null => Vec::new(),
            bindings => serde_json::from_value(bindings.clone()).map_err(|error| error.to_string())?,
        };
        let account = case.input("serviceAccount");
        let ours = service_account::companions(&bindings, namespace(account), name(account));
        same(&sorted(ours), &sorted(identifiers(case.want(field))))
    };
    for file in [
        "pkg_backup_actions/TestServiceAccountActionExecute.json",
        "pkg_backup_actions/TestServiceAccountActionExecuteOnBeta1.json",
        "pkg_itemblock_actions/TestServiceAccountActionExecute.json",
        "pkg_itemblock_actions/TestServiceAccountActionExecuteOnBeta1.json",
    ] {
        each(file, |case| check(case, "expectedAdditionalItems"));
    }
}

#[test]
fn a_claim_loses_the_labels_that_it_loses_in_velero() {
    each("pkg_backup_actions/TestCleanupStaleVeleroLabels.json", |case| {
        let mut claim = case.input("inputPVC").clone();
        pv::forget_stale_labels(
            &mut claim,
            case.input("backup")["metadata"]["name"].as_str().unwrap(),
        );
        let or_null = |pointer: &str| claim.pointer(pointer).cloned().unwrap_or_default();
        same(&or_null("/metadata/labels"), case.want("expectedLabels"))?;
        same(&or_null("/spec/selector"), case.want("expectedSelector"))
    });
}

#[test]
fn namespaces_are_selected_by_name_and_label_as_in_velero() {
    each("pkg_backup/TestItemCollectorBackupNamespaces.json", |case| {
        let mut backup: Backup = serde_json::from_value(case.input("backup").clone()).unwrap();
        let lists = &case.input("ie")["includesExcludes"];
        backup.spec.included_namespaces = texts(&lists["includes"]["String"]);
        backup.spec.excluded_namespaces = texts(&lists["excludes"]["String"]);
        let objects = case.input("namespaces").as_array().unwrap();
        let existing = objects.iter().map(|object| name(object).to_owned()).collect();
        let (filter, _) = NamespaceFilter::new(
            &backup.spec.included_namespaces,
            &backup.spec.excluded_namespaces,
            &existing,
        )
        .unwrap();
        let selection = Selection::new(&backup.spec, filter, &discovered(&json!([])), None).unwrap();
        let taken = objects
            .iter()
            .filter(|object| namespace_left_out(object).is_none() && selection.takes_namespace(object));
        let taken: BTreeSet<String> = taken.map(|object| name(object).to_owned()).collect();
        // Upstream asserts that these are tracked, not that others are not.
        let missing: Vec<String> = case
            .want("expectedTrackedNS")
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .filter(|name| !taken.contains(name))
            .collect();
        same(&missing, &Vec::new())
    });
}
