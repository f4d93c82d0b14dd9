//! Velero's tables of whole backups with single assertions, of filters by kind, and of resource list keys.

use std::collections::BTreeSet;

use caravel_cases::{each, each_async, same, texts};
use serde_json::{Value, json};

use super::backups::back_up;
use super::{discovered, fails, wants, yaml_names};
use crate::cluster::set_metadata_entry;
use crate::discovery::Resource;
use crate::filter::{KindFilters, Word};
use crate::resource_policies::{
    Document, NamespacedFilterPolicy, Policies, ResourceKindFilter, Volume, VolumeFacts,
};

#[test]
fn every_item_that_is_counted_is_in_the_tarball_as_in_velero() {
    each_async(
        "pkg_backup/TestBackedUpItemsMatchesTarballContents.json",
        async |case| {
            let done = back_up(case, case.input("backup"), &[]).await?;
            let ours: BTreeSet<String> = done.files.keys().cloned().collect();
            same(
                &ours,
                &texts(case.want("assertTarballContents")).into_iter().collect(),
            )?;
            let listed: usize = done.outcome.resource_list.values().map(Vec::len).sum();
            let items = ours
                .iter()
                .filter(|path| path.starts_with("resources/") && !path.contains("-preferredversion/"));
            same(&listed, &items.count())
        },
    );
}

#[test]
fn progress_counts_what_velero_counts() {
    each_async("pkg_backup/TestBackupProgressIsUpdated.json", async |case| {
        let done = back_up(case, case.input("backup"), &[]).await?;
        let wanted = &case.0["observed"]["result"]["backupStatus"]["progress"];
        let (total, backed_up) = done.progress;
        same(&json!({"itemsBackedUp": backed_up, "totalItems": total}), wanted)
    });
}

/// Which of two groups a kind is taken from is decided anew for each backup.
#[test]
fn each_backup_has_cohabitants_of_its_own_as_in_velero() {
    let file = "pkg_backup/TestBackupUsesNewCohabitatingResourcesForEachBackup.json";
    each_async(file, async |case| {
        for wanted in case
            .want("assertTarballContents")
            .as_array()
            .into_iter()
            .flatten()
        {
            let done = back_up(case, case.input("backup"), &[]).await?;
            let ours: BTreeSet<String> = done.files.keys().cloned().collect();
            same(&ours, &texts(wanted).into_iter().collect())?;
        }
        Ok(())
    });
}

#[test]
fn the_resource_list_has_veleros_keys() {
    each("pkg_backup/Test_resourceKey.json", |case| {
        let object = case.input("resource");
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (group, version) = text("apiVersion")
            .rsplit_once('/')
            .unwrap_or(("", text("apiVersion")));
        let served = json!([{"group": group, "version": version, "kind": text("kind"), "plural": "things", "shortName": ""}]);
        let resources = discovered(&served);
        let key = resources.iter().next().map(Resource::list_key);
        same(&json!(key), case.want("want"))
    });
}

fn policies_of(filters: Vec<NamespacedFilterPolicy>) -> Policies {
    Policies {
        version: "v1".to_owned(),
        namespaced_filters: filters,
        ..Policies::default()
    }
}

fn policy(namespace: &str, filter: ResourceKindFilter) -> NamespacedFilterPolicy {
    NamespacedFilterPolicy {
        namespaces: vec![namespace.to_owned()],
        resource_filters: vec![filter],
    }
}

/// Each pattern of the fixture takes pods with its own name only: so one sees which of them is asked.
#[test]
fn the_policy_of_a_namespace_is_the_one_that_velero_takes() {
    let patterns = ["team-frontend-*", "team-*", "exact-match-ns"];
    let filters = patterns.map(|pattern| {
        let filter = ResourceKindFilter {
            kinds: vec!["pods".to_owned()],
            names: vec![pattern.replace('*', "x")],
            ..ResourceKindFilter::default()
        };
        policy(pattern, filter)
    });
    let kinds = KindFilters::new(&policies_of(filters.to_vec()), str::to_owned).unwrap();
    each("pkg_backup/TestGetNamespaceFilter.json", |case| {
        let namespace = case.input("namespace");
        let asked = |pattern: &&&str| {
            let pod = json!({"metadata": {"name": pattern.replace('*', "x"), "namespace": namespace}});
            kinds.of_listed("pods", &pod) == Word::Take
        };
        let pod = json!({"metadata": {"name": "other", "namespace": namespace}});
        let silent = kinds.of_listed("pods", &pod) == Word::Silent;
        same(&silent, &wants(case, "expectNil"))?;
        let matched = patterns.iter().find(asked).copied().unwrap_or_default();
        same(&json!(matched), case.want("expectMatched"))
    });
}

#[test]
fn a_filter_of_a_policy_is_understood_where_velero_understands_it() {
    each("pkg_backup/TestResolveResourceFilter.json", |case| {
        let mut given = yaml_names(case.input("rf"));
        given["kinds"] = json!(["pods"]);
        let filter: ResourceKindFilter = serde_json::from_value(given).map_err(|error| error.to_string())?;
        let policies = policies_of(vec![policy("shop", filter)]);
        fails(wants(case, "expectErr"), &policies.validate())?;
        if wants(case, "expectErr") {
            return Ok(());
        }
        fails(false, &KindFilters::new(&policies, str::to_owned))
    });
}

#[test]
fn a_claim_without_a_volume_meets_a_policy_as_in_velero() {
    let yaml =
        "version: v1\nvolumePolicies:\n- conditions: {pvcPhase: [Pending, Lost]}\n  action: {type: skip}\n";
    let policies = Policies::build(Document::read(yaml).unwrap()).unwrap();
    each("pkg_backup/TestGetMatchAction_PendingLostPVC.json", |case| {
        let given = |value: &'static str| Some(case.input(value)).filter(|value| !value.is_null());
        let volume = Volume {
            persistent_volume: given("pv"),
            claim: given("pvc"),
            ..Volume::default()
        };
        let facts: VolumeFacts = volume.facts().ok_or("nothing to look at")?;
        let action = policies.action_for(&facts).map(|action| action.kind.to_string());
        let wanted: &Value = &case.want("expectedAction")["Type"];
        same(&json!(action), wanted)
    });
}

#[test]
fn labels_and_annotations_are_added_as_in_velero() {
    for (file, field) in [
        ("pkg_util_kube/TestAddLabels.json", "labels"),
        ("pkg_util_kube/TestAddAnnotations.json", "annotations"),
    ] {
        each(file, |case| {
            let mut object = json!({"metadata": case.input("o")});
            let mut wanted = object["metadata"][field].as_object().cloned().unwrap_or_default();
            for (key, value) in case.input("toAdd").as_object().into_iter().flatten() {
                set_metadata_entry(&mut object, field, key, value.as_str().unwrap());
                wanted.insert(key.clone(), value.clone());
            }
            same(&object["metadata"][field], &Value::Object(wanted))
        });
    }
}
