//! Whole backups: the case's `apiResources` behind a `kube::Client`, its actions replayed, the tarball compared.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use caravel_api::v1::Backup;
use caravel_backup_store::tarball::Reader;
use caravel_cases::{Case, api, each_async, same, texts};
use caravel_hooks::exec::PodCommandExecutor;
use caravel_item_action::{
    ActionError, BackupItemAction, BackupItemOutput, ItemBlockAction, ResourceIdentifier, ResourceSelector,
};
use kube::Client;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

use super::discovered;
use crate::cluster::{name, namespace, text};
use crate::collect::Selection;
use crate::discovery::Resources;
use crate::filter::NamespaceFilter;
use crate::log::BackupLog;
use crate::run::{Outcome, Progress, Request, run};

/// The objects of a case, by path of their resource.
struct Api {
    /// `/apis/apps/v1` + `deployments` → objects.
    resources: BTreeMap<(String, String), Vec<Value>>,
}

impl Api {
    fn of(case: &Case) -> Self {
        let mut resources = BTreeMap::new();
        for entry in case.input("apiResources").as_array().into_iter().flatten() {
            let (group, version) = (text(entry, "/group"), text(entry, "/version"));
            let base = if group.is_empty() {
                format!("/api/{version}")
            } else {
                format!("/apis/{group}/{version}")
            };
            let items = entry["items"].as_array().cloned().unwrap_or_default();
            resources.insert((base, text(entry, "/plural").to_owned()), items);
        }
        Self { resources }
    }

    fn answer(&self, uri: &http::Uri) -> (u16, Value) {
        let missing = api::failure(404, "NotFound");
        for ((base, plural), items) in &self.resources {
            let Some(rest) = uri.path().strip_prefix(base.as_str()) else {
                continue;
            };
            let parts: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
            let (wanted_namespace, rest) = match &parts[..] {
                ["namespaces", wanted, rest @ ..] if !rest.is_empty() => (Some(*wanted), rest),
                all => (None, all),
            };
            let here = |item: &&Value| wanted_namespace.is_none_or(|wanted| namespace(item) == wanted);
            match rest {
                [asked] if asked == plural => {
                    let selector = selector(uri);
                    let labelled = |item: &&Value| {
                        selector
                            .as_ref()
                            .is_none_or(|selector| selector.matches(&labels(item)))
                    };
                    let found: Vec<Value> = items.iter().filter(here).filter(labelled).cloned().collect();
                    return api::list(&found);
                }
                [asked, wanted] if asked == plural => {
                    let found = items.iter().filter(here).find(|item| name(item) == *wanted);
                    return found.map_or(missing, |item| (200, item.clone()));
                }
                _ => {}
            }
        }
        missing
    }

    fn client(self) -> Client {
        api::client(move |asked| self.answer(&asked.uri))
    }
}

fn labels(item: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(item["metadata"]["labels"].clone()).unwrap_or_default()
}

/// The cases' selectors are equalities.
fn selector(uri: &http::Uri) -> Option<Selector> {
    let query = uri
        .query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("labelSelector="))?;
    let decoded = query.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
    let pairs = decoded.split(',').map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or_else(|| panic!("selector {pair}"));
        (key.to_owned(), value.trim_start_matches('=').to_owned())
    });
    Some(pairs.collect())
}

/// A made-up action of a case: does what Velero's test plug-in did.
pub(super) struct Replayed {
    selector: ResourceSelector,
    calls: Vec<Value>,
    /// `ns/name` of the items that it was called for.
    called: Mutex<Vec<String>>,
}

impl Replayed {
    /// Notes the call, and gives what Velero's plug-in did then, if it was called.
    fn call(&self, item: &Value) -> Result<Option<&Value>, ActionError> {
        let id = match namespace(item) {
            "" => name(item).to_owned(),
            namespace => format!("{namespace}/{}", name(item)),
        };
        self.called.lock().unwrap().push(id);
        let about = |call: &&Value| {
            name(&call["item"]) == name(item)
                && namespace(&call["item"]) == namespace(item)
                && call["item"]["kind"] == item["kind"]
        };
        let call = self.calls.iter().find(about);
        match call.and_then(|call| call["error"]["$error"].as_str()) {
            Some(error) => Err(ActionError::new(error)),
            None => Ok(call),
        }
    }
}

#[async_trait]
impl ItemBlockAction for Replayed {
    fn name(&self) -> &str {
        "replayed"
    }

    fn applies_to(&self) -> ResourceSelector {
        self.selector.clone()
    }

    async fn related_items(&self, item: &Value, _: &Backup) -> Result<Vec<ResourceIdentifier>, ActionError> {
        let call = self.call(item)?;
        Ok(call
            .map(|call| identifiers(&call["relatedItems"]))
            .unwrap_or_default())
    }
}

#[async_trait]
impl BackupItemAction for Replayed {
    fn name(&self) -> &str {
        "replayed"
    }

    fn applies_to(&self) -> ResourceSelector {
        self.selector.clone()
    }

    async fn execute(&self, item: Value, _: &Backup) -> Result<BackupItemOutput, ActionError> {
        let Some(call) = self.call(&item)? else {
            return Ok(BackupItemOutput::item(item));
        };
        Ok(BackupItemOutput {
            item: call["updatedItem"].clone(),
            additional_items: identifiers(&call["additionalItems"]),
            operation_id: call["operationID"]
                .as_str()
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
            post_operation_items: identifiers(&call["postOperationItems"]),
            ..BackupItemOutput::default()
        })
    }
}

pub(super) fn identifiers(list: &Value) -> Vec<ResourceIdentifier> {
    let field = |id: &Value, field: &str| id[field].as_str().unwrap_or_default().to_owned();
    let entries = list.as_array().into_iter().flatten();
    entries
        .map(|id| {
            let gr = &id["GroupResource"];
            ResourceIdentifier::new(
                field(gr, "Group"),
                field(gr, "Resource"),
                field(id, "Namespace"),
                field(id, "Name"),
            )
        })
        .collect()
}

/// The actions of a case with their calls of this kind.
pub(super) fn replayed(case: &Case, kind: &str) -> Vec<Arc<Replayed>> {
    let resources = discovered(case.input("apiResources"));
    let calls = case.input("pluginCalls")[kind]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let entries = case.input("actions").as_array().into_iter().flatten();
    entries
        .map(|action| {
            let given = &action["selector"];
            Arc::new(Replayed {
                selector: selector_of(&resources, given),
                calls: calls
                    .iter()
                    .filter(|call| call["selector"] == *given)
                    .cloned()
                    .collect(),
                called: Mutex::default(),
            })
        })
        .collect()
}

/// Words in selectors are resolved, as upstream's resolver does. No case has one by labels.
fn selector_of(resources: &Resources, given: &Value) -> ResourceSelector {
    let resolved = |field: &str| {
        texts(&given[field])
            .iter()
            .map(|word| resources.resolve(word))
            .collect()
    };
    ResourceSelector {
        included_namespaces: texts(&given["IncludedNamespaces"]),
        excluded_namespaces: texts(&given["ExcludedNamespaces"]),
        included_resources: resolved("IncludedResources"),
        excluded_resources: resolved("ExcludedResources"),
        labels: None,
    }
}

fn actions(case: &Case) -> Vec<Arc<Replayed>> {
    replayed(case, "backupItemAction")
}

pub(super) struct Done {
    pub(super) outcome: Outcome,
    /// (total, backed up), at the end.
    pub(super) progress: (u32, u32),
    /// Path → contents.
    pub(super) files: BTreeMap<String, Value>,
    order: Vec<String>,
}

pub(super) async fn back_up(case: &Case, backup: &Value, actions: &[Arc<Replayed>]) -> Result<Done, String> {
    back_up_with(case, backup, actions, &[], super::hooks::none()).await
}

pub(super) async fn back_up_with(
    case: &Case,
    backup: &Value,
    actions: &[Arc<Replayed>],
    item_blocks: &[Arc<Replayed>],
    executor: Arc<dyn PodCommandExecutor>,
) -> Result<Done, String> {
    let mut backup: Backup = serde_json::from_value(backup.clone()).map_err(|error| error.to_string())?;
    backup.metadata.uid.get_or_insert_default();
    let resources = discovered(case.input("apiResources"));
    let entries = case.input("apiResources").as_array().into_iter().flatten();
    let of_namespaces = entries.filter(|entry| entry["plural"] == "namespaces");
    let namespaces: Vec<Value> = of_namespaces
        .flat_map(|entry| entry["items"].as_array().cloned().unwrap_or_default())
        .collect();
    let existing: BTreeSet<String> = namespaces.iter().map(|object| name(object).to_owned()).collect();
    let spec = &backup.spec;
    let (filter, _) = NamespaceFilter::new(&spec.included_namespaces, &spec.excluded_namespaces, &existing)
        .map_err(|error| error.to_string())?;
    let folder = tempfile::tempdir().unwrap();
    let contents = folder.path().join("contents");
    let log = Arc::new(BackupLog::create(&folder.path().join("log"), "velero/b1").unwrap());
    let hooks = super::hooks::hooks(&backup, executor);
    let progress = Arc::<Progress>::default();
    let request = Request {
        client: Api::of(case).client(),
        selection: Selection::new(spec, filter, &resources, None).map_err(|error| error.to_string())?,
        backup,
        discovered: resources,
        namespace_notes: Default::default(),
        hooks,
        namespaces,
        actions: actions
            .iter()
            .map(|action| Arc::clone(action) as Arc<dyn BackupItemAction>)
            .collect(),
        item_block_actions: item_blocks
            .iter()
            .map(|action| Arc::clone(action) as Arc<dyn ItemBlockAction>)
            .collect(),
        folder: folder.path().to_owned(),
        contents: contents.clone(),
        page_size: 500,
        all_versions: false,
        log,
        progress: Arc::clone(&progress),
    };
    let outcome = run(request).await.map_err(|error| error.to_string())?;
    let (mut files, mut order) = (BTreeMap::new(), Vec::new());
    Reader::open(&contents)
        .unwrap()
        .for_each(|mut entry| {
            let path = entry.path().to_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            files.insert(path.clone(), serde_json::from_str(&text).unwrap_or(Value::Null));
            order.push(path);
            Ok(())
        })
        .unwrap();
    Ok(Done {
        outcome,
        progress: progress.get(),
        files,
        order,
    })
}

async fn holds_what_veleros_holds(case: &Case) -> Result<(), String> {
    let done = back_up(case, case.input("backup"), &actions(case)).await?;
    holds(case, &done)
}

pub(super) fn holds(case: &Case, done: &Done) -> Result<(), String> {
    let ours: BTreeSet<&String> = done.files.keys().collect();
    let wanted = texts(case.want("assertTarballContents"));
    let wanted: BTreeSet<&String> = wanted.iter().collect();
    let missing: Vec<_> = wanted.difference(&ours).collect();
    let surplus: Vec<_> = ours.difference(&wanted).collect();
    if missing.is_empty() && surplus.is_empty() {
        return Ok(());
    }
    Err(format!("\n  missing {missing:?}\n  surplus {surplus:?}"))
}

#[test]
fn filters_of_both_styles_select_what_they_select_in_velero() {
    each_async(
        "pkg_backup/TestBackupOldResourceFiltering.json",
        holds_what_veleros_holds,
    );
    each_async(
        "pkg_backup/TestBackupNewResourceFiltering.json",
        holds_what_veleros_holds,
    );
}

#[test]
fn crds_cohabitants_and_namespaces_come_as_in_velero() {
    each_async("pkg_backup/TestCRDInclusion.json", holds_what_veleros_holds);
    each_async(
        "pkg_backup/TestBackupResourceCohabitation.json",
        holds_what_veleros_holds,
    );
    each_async("pkg_backup/TestBackupNamespaces.json", holds_what_veleros_holds);
}

#[test]
fn actions_bring_along_what_they_bring_along_in_velero() {
    each_async(
        "pkg_backup/TestBackupActionAdditionalItems.json",
        holds_what_veleros_holds,
    );
}

pub(super) fn were_called_as_in_velero(case: &Case, actions: &[Arc<Replayed>]) -> Result<(), String> {
    for (action, wanted) in actions.iter().zip(case.want("actions").as_array().unwrap()) {
        let ours: BTreeSet<String> = action.called.lock().unwrap().iter().cloned().collect();
        same(&ours, &texts(&wanted["executedFor"]).into_iter().collect())?;
    }
    Ok(())
}

#[test]
fn actions_run_for_the_items_that_they_run_for_in_velero() {
    each_async(
        "pkg_backup/TestBackupActionsRunForCorrectItems.json",
        async |case| {
            let actions = actions(case);
            back_up(case, case.input("backup"), &actions).await?;
            were_called_as_in_velero(case, &actions)
        },
    );
}

#[test]
fn what_an_action_changes_is_what_is_written() {
    each_async("pkg_backup/TestBackupActionModifications.json", async |case| {
        let done = back_up(case, case.input("backup"), &actions(case)).await?;
        for (path, wanted) in case.want("assertTarballFileContents").as_object().unwrap() {
            same(&done.files.get(path), &Some(wanted))?;
        }
        Ok(())
    });
}

#[test]
fn operations_are_registered_as_in_velero() {
    each_async("pkg_backup/TestBackupWithAsyncOperations.json", async |case| {
        let done = back_up(case, &case.input("req")["Backup"], &actions(case)).await?;
        let wanted = case.want("want").as_array().cloned().unwrap_or_default();
        let ids = |list: Vec<String>| list.into_iter().collect::<BTreeSet<_>>();
        let ours = done
            .outcome
            .operations
            .iter()
            .map(|operation| operation.spec.operation_id.clone());
        let theirs = wanted.iter().map(|operation| {
            operation["spec"]["operationID"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        });
        same(&ids(ours.collect()), &ids(theirs.collect()))
    });
}

#[test]
fn pods_come_before_claims_and_claims_before_volumes() {
    each_async("pkg_backup/TestBackupResourceOrdering.json", async |case| {
        let done = back_up(case, case.input("backup"), &[]).await?;
        let wanted = texts(case.want("assertTarballOrdering"));
        let mut seen: Vec<String> = Vec::new();
        for path in done
            .order
            .iter()
            .filter_map(|path| path.strip_prefix("resources/"))
        {
            let resource = path.split('/').next().unwrap_or_default().to_owned();
            if wanted.contains(&resource) && seen.last() != Some(&resource) {
                seen.push(resource);
            }
        }
        same(&seen, &wanted)
    });
}
