//! Whole restores: the case's `apiResources` behind a `kube::Client`, its actions replayed, what is in the cluster then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::v1::Restore;
use caravel_backup_store::results::ResultSet;
use caravel_backup_store::volume_info::BackupVolumeInfo;
use caravel_cases::{Case, each_async, same, texts};
use caravel_hooks::HookLog;
use caravel_hooks::exec::{HookError, PodCommandExecutor};
use caravel_item_action::RestoreItemAction;
use caravel_resource_policies::{Found, Policies, for_restore};
use serde_json::{Value, json};

use super::cases::{object, unpack};
use super::cluster::{Api, field};
use super::replay::actions;
use crate::contents::BackupContents;
use crate::exec_hooks::ExecHooks;
use crate::log::NoLog;
use crate::priority::Priorities;
use crate::run::{Outcome, RestoreRun, run};
use crate::saved_volumes::SavedVolumes;
use crate::saved_volumes::older::{self, OlderFiles};

/// What the backup says about its volumes: in its volume info, or in the files beside it.
fn saved_volumes(case: &Case, contents: &BackupContents) -> SavedVolumes {
    let infos = case.input("volumeInfoMap").as_object().into_iter().flatten();
    let infos = infos.map(|(_, info)| serde_json::from_value(info.clone()).unwrap());
    let file = |field: &str| case.input(field).as_array().cloned().unwrap_or_default();
    let files = OlderFiles {
        native_snapshots: file("volumeSnapshots"),
        pod_volume_backups: file("podVolumeBackups"),
        csi_snapshots: file("csiVolumeSnapshots"),
    };
    let said: Vec<BackupVolumeInfo> = infos.collect();
    let unsaid = older::unsaid(&said, contents);
    older::completed(said, &unsaid, &files).into()
}

fn policies(case: &Case) -> Option<Arc<Policies>> {
    let yaml = case.input("policyYAML").as_str()?;
    let found = Found {
        name: "velero/policies".to_owned(),
        map: serde_json::from_value(json!({"data": {"policies": yaml}})).unwrap(),
    };
    Some(Arc::new(for_restore(&found).unwrap()))
}

struct NoCommand;

#[async_trait]
impl PodCommandExecutor for NoCommand {
    async fn execute(
        &self,
        _: &dyn HookLog,
        _: &Value,
        _: &str,
        _: &caravel_api::v1::ExecHook,
    ) -> Result<(), HookError> {
        Ok(())
    }
}

pub(super) async fn restore(
    case: &Case,
    api: &Arc<Api>,
    actions: Vec<Box<dyn RestoreItemAction>>,
) -> Result<Outcome, String> {
    let folder = tempfile::tempdir().unwrap();
    unpack(case.input("tarball"), folder.path());
    let restore: Restore = object(case.input("restore"));
    let list = |field: &str| texts(&case.input("resourcePriorities")[field]);
    let contents = BackupContents::read_or_empty(folder.path()).map_err(|error| error.to_string())?;
    let run = run(RestoreRun {
        client: api.client(),
        restore: Arc::new(restore),
        backup: Arc::new(object(case.input("backup"))),
        saved_volumes: saved_volumes(case, &contents),
        contents,
        policies: policies(case),
        modifiers: None,
        versions: None,
        actions,
        exec_hooks: ExecHooks {
            spec: Vec::new(),
            executor: Arc::new(NoCommand),
            tracker: Arc::default(),
            limit: Duration::from_secs(1),
            ended: Arc::new(caravel_hooks::ended::Forgotten),
        },
        priorities: Priorities {
            high: list("HighPriorities"),
            low: list("LowPriorities"),
        },
        resource_timeout: Duration::from_secs(1),
        terminating_timeout: Duration::from_secs(1),
        log: Arc::new(NoLog),
        progress: Arc::default(),
    });
    run.await.map_err(|error| error.to_string())
}

/// Everything that the asserts of a case say.
async fn ends_as_in_velero(case: &Case) -> Result<(), String> {
    let api = Api::of(case);
    let (actions, called): (Vec<_>, Vec<_>) = actions(case).into_iter().unzip();
    let outcome = restore(case, &api, actions).await?;
    results_are_veleros(case, &outcome)?;
    cluster_is_veleros(case, &api)?;
    list_is_veleros(case, &outcome)?;
    let wanted = case.want("actions").as_array().into_iter().flatten();
    for (called, wanted) in called.iter().zip(wanted) {
        let ours: BTreeSet<String> = called.lock().iter().cloned().collect();
        same(&ours, &texts(&wanted["executedFor"]).into_iter().collect())?;
    }
    Ok(())
}

/// As many messages about the same namespaces; their words are ours.
fn results_are_veleros(case: &Case, outcome: &Outcome) -> Result<(), String> {
    let (errors, warnings) = (&outcome.results.errors, &outcome.results.warnings);
    if case.want("assertEmptyWarningsAndErrors") == true {
        same(&json!(outcome.results), &json!({"errors": {}, "warnings": {}}))?;
    }
    if case.want("assertEmptyErrors") == true {
        same(&errors.count(), &0)?;
    }
    if case.want("assertNonEmptyResults") == true {
        same(&(errors.count() + warnings.count() > 0), &true)?;
    }
    for (field, ours) in [
        ("wantError", errors),
        ("expectError", errors),
        ("wantWarning", warnings),
    ] {
        if let Some(wanted) = case.want(field).as_bool() {
            same(&!ours.is_empty(), &wanted).map_err(|why| format!("{field}: {why} {ours:?}"))?;
        }
    }
    for (field, ours) in [("wantErrs", errors), ("wantWarnings", warnings)] {
        let wanted: ResultSet = match case.want(field) {
            Value::Null => continue,
            wanted => serde_json::from_value(wanted.clone()).unwrap(),
        };
        let about = |set: &ResultSet| {
            let namespaces = set
                .namespaces
                .iter()
                .map(|(name, list)| (name.clone(), list.len()));
            (
                set.velero.len(),
                set.cluster.len(),
                namespaces.collect::<Vec<_>>(),
            )
        };
        same(&about(ours), &about(&wanted)).map_err(|why| format!("{field}: {why} {ours:?}"))?;
    }
    Ok(())
}

fn cluster_is_veleros(case: &Case, api: &Api) -> Result<(), String> {
    for wanted in case.want("assertAPIContents").as_array().into_iter().flatten() {
        let plural = field(wanted, "/key/plural");
        let with_slash = |name: String| {
            if name.contains('/') {
                name
            } else {
                format!("/{name}")
            }
        };
        let names = texts(&wanted["value"]).into_iter().map(with_slash).collect();
        same(&api.names(plural), &names).map_err(|why| format!("{plural}: {why}"))?;
    }
    if case
        .want("assertAPIContents")
        .as_array()
        .is_some_and(Vec::is_empty)
    {
        nothing_more_than_veleros(case, api)?;
    }
    for resource in case.want("assertRestoredItems").as_array().into_iter().flatten() {
        for wanted in resource["items"].as_array().into_iter().flatten() {
            let key = (
                field(resource, "/plural").to_owned(),
                field(wanted, "/metadata/namespace").to_owned(),
                field(wanted, "/metadata/name").to_owned(),
            );
            let ours = api.objects.lock().get(&key).cloned().unwrap_or_default();
            same(&compared(&ours), &compared(wanted))?;
        }
    }
    Ok(())
}

/// Where a case expects no types at all, what Velero made is the measure.
fn nothing_more_than_veleros(case: &Case, api: &Api) -> Result<(), String> {
    let made = case.0["observed"]["cluster"]["resources"].as_array();
    for served in case.input("apiResources").as_array().into_iter().flatten() {
        let plural = field(served, "/plural");
        let theirs = made
            .into_iter()
            .flatten()
            .filter(|resource| resource["plural"] == plural);
        let items = theirs.flat_map(|resource| resource["items"].as_array().cloned().unwrap_or_default());
        let names = items.map(|item| {
            format!(
                "{}/{}",
                field(&item, "/metadata/namespace"),
                field(&item, "/metadata/name")
            )
        });
        same(&api.names(plural), &names.collect()).map_err(|why| format!("{plural}: {why}"))?;
    }
    Ok(())
}

fn list_is_veleros(case: &Case, outcome: &Outcome) -> Result<(), String> {
    for wanted in case.want("expectedRestoreItems").as_array().into_iter().flatten() {
        let (namespace, name) = (field(wanted, "/key/namespace"), field(wanted, "/key/name"));
        let action = field(wanted, "/value/action");
        let entry = if namespace.is_empty() {
            format!("{name}({action})")
        } else {
            format!("{namespace}/{name}({action})")
        };
        let listed = outcome.resource_list.get(field(wanted, "/key/resource"));
        same(&listed.is_some_and(|entries| entries.contains(&entry)), &true)
            .map_err(|_| format!("{entry} is not in {:?}", outcome.resource_list))?;
    }
    Ok(())
}

/// As upstream compares: without status and creation time; nothing and null are the same.
fn compared(object: &Value) -> Value {
    fn without_null(value: &Value) -> Value {
        match value {
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| (key.clone(), without_null(value)))
                .filter(|(_, value)| {
                    !value.is_null() && value.as_object().is_none_or(|fields| !fields.is_empty())
                })
                .collect::<serde_json::Map<_, _>>()
                .into(),
            other => other.clone(),
        }
    }
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["creationTimestamp", "resourceVersion"] {
            metadata.remove(field);
        }
    }
    without_null(&object)
}

#[test]
fn objects_come_back_as_velero_brings_them_back() {
    each_async("pkg_restore/TestRestoreItems.json", ends_as_in_velero);
    each_async("pkg_restore/TestInvalidTarballContents.json", ends_as_in_velero);
}

#[test]
fn whole_restores_are_filtered_as_in_velero() {
    each_async("pkg_restore/TestRestoreResourceFiltering.json", ends_as_in_velero);
    each_async("pkg_restore/TestRestoreNamespaceMapping.json", ends_as_in_velero);
    each_async(
        "pkg_restore/TestRestoreMustHaveResourceNamespaceEnforcement.json",
        ends_as_in_velero,
    );
}

#[test]
fn filters_of_a_resource_policy_take_what_they_take_in_velero() {
    each_async(
        "pkg_restore/TestRestoreResourcePoliciesFiltering.json",
        ends_as_in_velero,
    );
}

#[test]
fn volumes_come_back_where_they_come_back_in_velero() {
    each_async("pkg_restore/TestRestorePersistentVolumes.json", ends_as_in_velero);
    each_async("pkg_restore/TestRestorePVWithVolumeInfo.json", ends_as_in_velero);
}

#[test]
fn item_actions_of_a_restore_run_and_bring_along_as_in_velero() {
    each_async(
        "pkg_restore/TestRestoreActionsRunForCorrectItems.json",
        ends_as_in_velero,
    );
    each_async(
        "pkg_restore/TestRestoreActionModifications.json",
        ends_as_in_velero,
    );
    each_async(
        "pkg_restore/TestRestoreActionAdditionalItems.json",
        ends_as_in_velero,
    );
    each_async(
        "pkg_restore/TestRestoreActionAdditionalItemsInvalidJSON.json",
        ends_as_in_velero,
    );
    each_async(
        "pkg_restore/TestRestoreMustIncludeAdditionalItems.json",
        ends_as_in_velero,
    );
}

#[test]
fn operations_of_a_restore_are_registered_as_in_velero() {
    each_async("pkg_restore/TestRestoreWithAsyncOperations.json", async |case| {
        let api = Api::of(case);
        let (actions, _): (Vec<_>, Vec<_>) = actions(case).into_iter().unzip();
        let outcome = restore(case, &api, actions).await?;
        let ours: BTreeSet<String> = outcome
            .operations
            .iter()
            .map(|operation| operation.operation_id.clone())
            .collect();
        let wanted = case.want("want").as_array().into_iter().flatten();
        let wanted = wanted
            .map(|operation| field(operation, "/spec/operationID").to_owned())
            .collect();
        same(&ours, &wanted)
    });
}

#[test]
fn resources_come_back_in_the_order_of_the_priorities() {
    each_async("pkg_restore/TestRestoreResourcePriorities.json", async |case| {
        let api = Api::of(case);
        restore(case, &api, Vec::new()).await?;
        let high = texts(&case.input("resourcePriorities")["HighPriorities"]);
        let created = api.created.lock().clone();
        let place = |plural: &str| {
            high.iter()
                .position(|name| name.split('.').next() == Some(plural))
                .unwrap_or(high.len())
        };
        let places: Vec<usize> = created
            .iter()
            .filter(|(plural, _)| plural != "namespaces")
            .map(|(plural, _)| place(plural))
            .collect();
        same(&places.is_sorted(), &true).map_err(|_| format!("{created:?}"))
    });
}
