//! Delete item actions: called for the items of the backup's tarball before anything of the backup is deleted
//! (velero-behaviour.md 3.9; upstream `internal/delete/delete_item_action_handler.go`).
//!
//! Otherwise than upstream, which logs it and goes on, an action that fails keeps the backup: its error stands in the
//! DeleteBackupRequest, and the next request begins again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use caravel_api::v1::Backup;
use caravel_backup_store::BackupStore;
use caravel_backup_store::tarball::{ItemPath, Reader};
use caravel_item_action::{ActionError, DeleteItemAction, ResourceIdentifier, ResourceSelector};
use caravel_restore::contents::BackupContents;
use kube::ResourceExt;
use serde_json::Value;

use crate::context::Context;
use crate::reconcile::Error;

/// In the order in which they are called for an item.
pub(super) type Actions = Vec<Arc<dyn DeleteItemAction>>;

/// The actions of this version. Velero's own two are no actions here: the snapshots in the repositories ([`super::data`])
/// and in the storage ([`super::snapshots`]) are looked for before anything is deleted, and not only in the tarball.
pub(super) fn built_in() -> Actions {
    Vec::new()
}

/// Calls the actions for all items of the backup; gives what went wrong. Without an action nothing is downloaded.
pub(super) async fn invoke(
    context: &Context,
    scratch: &Path,
    store: &BackupStore,
    backup: &Backup,
    actions: &Actions,
) -> Result<Vec<String>, Error> {
    if actions.is_empty() {
        return Ok(Vec::new());
    }
    let folder = tempfile::Builder::new().prefix("delete-").tempdir_in(scratch)?;
    let Some(archive) = tarball(store, &backup.name_any(), folder.path()).await? else {
        return Ok(Vec::new());
    };
    let (into, selectors) = (folder.path().join("backup"), selectors(actions));
    let unpacked = context
        .environment
        .run(move || unpack(&archive, &into, &selectors));
    call(actions, &unpacked.await??, backup).await
}

/// Downloads the backup's tarball into `folder`; `None` of a backup that failed before it had one.
async fn tarball(store: &BackupStore, name: &str, folder: &Path) -> Result<Option<PathBuf>, Error> {
    let archive = folder.join("contents.tar.gz");
    match store.get_backup_contents(name, &archive).await {
        Ok(()) => Ok(Some(archive)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn selectors(actions: &Actions) -> Vec<ResourceSelector> {
    actions.iter().map(|action| action.applies_to()).collect()
}

/// Unpacks what an action may want: of each item the plain copy, which is of the preferred version.
fn unpack(archive: &Path, into: &Path, selectors: &[ResourceSelector]) -> Result<BackupContents, Error> {
    let by_name: Vec<ResourceSelector> = selectors
        .iter()
        .map(|selector| ResourceSelector {
            labels: None,
            ..selector.clone()
        })
        .collect();
    let is_wanted = |entry: &str| {
        let item = ItemPath::parse(entry).filter(|item| item.version.is_none());
        item.is_some_and(|item| {
            let id = identifier(&item);
            by_name.iter().any(|selector| selector.matches(&id, &Value::Null))
        })
    };
    Reader::open(archive)?.unpack_some_to(into, is_wanted)?;
    Ok(BackupContents::read_or_empty(into)?)
}

fn identifier(item: &ItemPath) -> ResourceIdentifier {
    let (resource, group) = item
        .group_resource
        .split_once('.')
        .unwrap_or((&item.group_resource, ""));
    let namespace = item.namespace.as_deref().unwrap_or_default();
    ResourceIdentifier::new(group, resource, namespace, &item.name)
}

/// Each action for each item that it applies to; an error is no reason not to call the others.
async fn call(actions: &Actions, contents: &BackupContents, backup: &Backup) -> Result<Vec<String>, Error> {
    let selectors = selectors(actions);
    let mut errors = Vec::new();
    for resource in contents.resources() {
        let Some(items) = contents.names(resource) else {
            continue;
        };
        for (namespace, names) in items {
            for name in names {
                let item = contents.object(resource, namespace, name)?;
                let id = ResourceIdentifier::new(&resource.group, &resource.resource, namespace, &**name);
                for (action, selector) in actions.iter().zip(&selectors) {
                    if selector.matches(&id, &item)
                        && let Err(error) = action.execute(&item, backup).await
                    {
                        errors.push(said(action.name(), &id, &error));
                    }
                }
            }
        }
    }
    Ok(errors)
}

fn said(action: &str, id: &ResourceIdentifier, error: &ActionError) -> String {
    format!(
        "delete item action {action} failed for {id}: {error}; nothing of the backup is deleted, and the next `velero backup delete` begins again"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use async_trait::async_trait;
    use caravel_backup_store::tarball::Writer;
    use caravel_cases::{Case, each_async, same, texts};
    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;

    struct Noted {
        selector: ResourceSelector,
        fails: bool,
        called: Mutex<Vec<String>>,
    }

    impl Noted {
        fn new(selector: ResourceSelector, fails: bool) -> Arc<Self> {
            Arc::new(Self {
                selector,
                fails,
                called: Mutex::default(),
            })
        }
    }

    #[async_trait]
    impl DeleteItemAction for Noted {
        fn name(&self) -> &str {
            "noted"
        }

        fn applies_to(&self) -> ResourceSelector {
            self.selector.clone()
        }

        async fn execute(&self, item: &Value, _: &Backup) -> Result<(), ActionError> {
            let metadata = &item["metadata"];
            let name = metadata["name"].as_str().unwrap();
            let called = match metadata["namespace"].as_str() {
                Some(namespace) => format!("{namespace}/{name}"),
                None => name.to_owned(),
            };
            self.called.lock().push(called);
            if self.fails {
                return Err(ActionError::new("the storage is away"));
            }
            Ok(())
        }
    }

    /// Unpacks and calls, as a deletion does.
    async fn delete(items: &[(ItemPath, Value)], actions: &[Arc<Noted>]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("contents.tar.gz");
        let mut tarball = Writer::create(&archive).unwrap();
        for (path, item) in items {
            let namespace = path.namespace.as_deref().unwrap_or_default();
            tarball
                .append(&path.group_resource, "v1", true, namespace, &path.name, item)
                .unwrap();
        }
        tarball.finish().unwrap();
        let actions: Actions = actions
            .iter()
            .map(|action| Arc::clone(action) as Arc<dyn DeleteItemAction>)
            .collect();
        let contents = unpack(&archive, &folder.path().join("backup"), &selectors(&actions)).unwrap();
        call(&actions, &contents, &Backup::default()).await.unwrap()
    }

    fn items(tarball: &Value) -> Vec<(ItemPath, Value)> {
        let files = tarball.as_object().into_iter().flatten();
        files
            .map(|(path, text)| {
                let item = serde_json::from_str(text.as_str().unwrap()).unwrap();
                (ItemPath::parse(path).unwrap(), item)
            })
            .collect()
    }

    /// Words in selectors are resolved, as upstream's resolver does; labels are equalities.
    fn selector(case: &Case, given: &Value) -> ResourceSelector {
        let resources = case.input("apiResources").as_array().unwrap();
        let resolved = |field: &str| {
            let resolve = |word: String| {
                let found = resources.iter().find(|resource| resource["shortName"] == word);
                found.map_or(word, |resource| resource["plural"].as_str().unwrap().to_owned())
            };
            texts(&given[field]).into_iter().map(resolve).collect()
        };
        let labels = given["LabelSelector"].as_str().unwrap_or_default();
        let labels = labels
            .split_once('=')
            .map(|(key, value)| [(key.to_owned(), value.to_owned())].into_iter().collect());
        ResourceSelector {
            included_namespaces: texts(&given["IncludedNamespaces"]),
            excluded_namespaces: texts(&given["ExcludedNamespaces"]),
            included_resources: resolved("IncludedResources"),
            excluded_resources: resolved("ExcludedResources"),
            labels,
        }
    }

    #[test]
    fn delete_item_actions_are_called_for_the_items_that_they_are_called_for_in_velero() {
        let file = "internal_delete/TestInvokeDeleteItemActionsRunForCorrectItems.json";
        each_async(file, async |case| {
            let wanted = case.want("actions").as_array().unwrap();
            let actions: Vec<Arc<Noted>> = wanted
                .iter()
                .map(|action| Noted::new(selector(case, &action["selector"]), false))
                .collect();
            let errors = delete(&items(&case.input("tarball")["$tarball"]), &actions).await;
            same(&errors, &Vec::new())?;
            for (action, wanted) in actions.iter().zip(wanted) {
                let called = action.called.lock();
                let ours: BTreeSet<&String> = called.iter().collect();
                same(&called.len(), &ours.len())?;
                let wanted = texts(&wanted["executedFor"]);
                same(&ours, &wanted.iter().collect())?;
            }
            Ok(())
        });
    }

    #[tokio::test]
    async fn an_action_that_fails_is_an_error_that_names_the_item_and_the_others_are_called() {
        let secret = |name: &str| {
            let path = format!("resources/secrets/namespaces/shop/{name}.json");
            let item = json!({"metadata": {"name": name, "namespace": "shop"}});
            (ItemPath::parse(&path).unwrap(), item)
        };
        let away = Noted::new(ResourceSelector::resources(&["secrets"]), true);
        let well = Noted::new(ResourceSelector::default(), false);
        let errors = delete(
            &[secret("a"), secret("b")],
            &[Arc::clone(&away), Arc::clone(&well)],
        )
        .await;
        assert_eq!(errors.len(), 2);
        assert!(
            errors[0].contains("noted failed for secrets shop/a: the storage is away"),
            "{errors:?}"
        );
        assert_eq!((away.called.lock().len(), well.called.lock().len()), (2, 2));
    }
}
