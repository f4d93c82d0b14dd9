//! One object's way from the backup into the cluster (velero-behaviour.md 8.3, 8.4):
//! read → skip? → namespace → forget the old life → item actions → additional items → map, label → create → wait.

mod additional;
mod created;
mod volumes;

use std::future::Future;
use std::pin::Pin;

use caravel_api::labels;
use caravel_item_action::RestoreItemInput;
use serde_json::{Value, json};

use crate::group_resource::{GroupResource, known};
use crate::item_name::ItemName;
use crate::log::Level;
use crate::metadata::{
    add_restore_labels, child_map, forget_managed_fields, forget_old_life, reason_to_skip,
};
use crate::namespaces;
use crate::run::Engine;
use crate::volumes::{VolumeDecision, decide_volume};

/// By which an action says that its additional items pass the filters; never comes into the cluster.
const MUST_INCLUDE: &str = labels::MUST_INCLUDE_ADDITIONAL_ITEMS_OF_RESTORE;

/// Why an item is not restored; added to the results with the item's name.
type ItemError = Box<dyn std::error::Error + Send + Sync>;

/// What the actions made of an item.
struct Prepared {
    item: Value,
    operation: Option<(String, String)>,
}

impl Engine {
    /// Restores one object and what it needs; never fails as a whole, errors go into the results.
    pub(crate) fn restore_item(&self, name: ItemName) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            if !self.state.lock().processed.insert(&name.identifier()) {
                return;
            }
            let target = self.selection.target_namespace(&name.namespace).to_owned();
            if let Err(error) = self.try_restore(&name, &target).await {
                let where_ = if target.is_empty() {
                    String::new()
                } else {
                    format!("{target}/")
                };
                self.record(&name, &target, "failed");
                self.error(
                    &target,
                    format!(
                        "error restoring {}/{where_}{}: {}",
                        name.group_resource,
                        name.name,
                        chain(&*error)
                    ),
                );
            }
            self.run.progress.one_done();
        })
    }

    async fn try_restore(&self, name: &ItemName, target: &str) -> Result<(), ItemError> {
        let Some(served) = self.discovered.get(&name.group_resource) else {
            return Err("this cluster does not serve the resource".into());
        };
        let in_backup = self
            .run
            .contents
            .object(&name.group_resource, &name.namespace, &name.name)?;
        if name.group_resource.is(known::NAMESPACES) {
            return Ok(self.ensure_namespace(&name.name).await?);
        }
        if let Some(reason) = self.reason_to_leave(name, &in_backup) {
            self.log_item(Level::Info, &format!("Leaving out: {reason}"), name, target);
            return Ok(());
        }
        if served.namespaced && !name.group_resource.is(known::DATA_UPLOADS) {
            self.ensure_namespace(&name.namespace).await?;
        }
        let Some(prepared) = self.prepare(name, &in_backup).await? else {
            self.log_item(
                Level::Info,
                "Not created: an item action took it over",
                name,
                target,
            );
            return Ok(());
        };
        self.create_item(name, target, served, &in_backup, prepared).await
    }

    fn reason_to_leave(&self, name: &ItemName, in_backup: &Value) -> Option<&'static str> {
        if name.group_resource.is(known::PERSISTENT_VOLUMES) {
            let saved = self.run.saved_volumes.of_volume(&name.name);
            if let VolumeDecision::Leave(reason) = decide_volume(in_backup, saved) {
                return Some(reason);
            }
        }
        reason_to_skip(&name.group_resource, in_backup)
    }

    /// Makes the target of a namespace of the backup, once.
    async fn ensure_namespace(&self, namespace: &str) -> Result<(), namespaces::NamespaceError> {
        let target = self.selection.target_namespace(namespace).to_owned();
        let mut known_namespaces = self.namespaces.lock().await;
        if known_namespaces.contains(&target) {
            return Ok(());
        }
        let resource = GroupResource::parse(known::NAMESPACES);
        let from_backup = self.run.contents.object(&resource, "", namespace).ok();
        let created = namespaces::ensure(
            &self.run.client,
            &target,
            from_backup,
            self.run.terminating_timeout,
            &self.own,
        )
        .await?;
        let name = ItemName {
            group_resource: resource,
            namespace: String::new(),
            name: target.clone(),
        };
        if created {
            self.log_item(Level::Info, "Created namespace", &name, "");
            self.record(&name, "", "created");
        }
        known_namespaces.insert(target);
        Ok(())
    }

    /// Runs the item through forgetting, actions, additional items, mapping and labels. `None`: do not create it.
    async fn prepare(&self, name: &ItemName, in_backup: &Value) -> Result<Option<Prepared>, ItemError> {
        let mut item = in_backup.clone();
        forget_old_life(&mut item);
        self.forget_volumes(name, in_backup, &mut item).await?;
        let mut operation = None;
        let identifier = name.identifier();
        for (action, wanted) in self.run.actions.iter().zip(&self.selectors) {
            if !wanted.matches(&identifier, &item) {
                continue;
            }
            let input = RestoreItemInput {
                item: item.clone(),
                item_from_backup: in_backup,
                restore: &self.run.restore,
            };
            let mut output = action.execute(input).await?;
            if output.skip_restore {
                return Ok(None);
            }
            if let Some(id) = output.operation_id.take() {
                operation = Some((action.name().to_owned(), id));
            }
            if !output.item.is_null() {
                item = std::mem::take(&mut output.item);
            }
            let must_include = take_annotation(&mut item, MUST_INCLUDE);
            let mut restored = Vec::new();
            for additional in std::mem::take(&mut output.additional_items) {
                if self
                    .restore_additional(additional.clone().into(), must_include)
                    .await
                {
                    restored.push(additional);
                }
            }
            if output.wait_for_additional_items {
                let timeout = output
                    .additional_items_ready_timeout
                    .unwrap_or(self.run.resource_timeout);
                self.wait_until_ready(&**action, &restored, timeout).await?;
            }
        }
        if let Some(modifiers) = &self.run.modifiers {
            let target = self.selection.target_namespace(&name.namespace);
            for why in modifiers.apply(&mut item, &name.group_resource.to_string()) {
                self.error(
                    target,
                    format!(
                        "resource modifiers on {}/{}: {why}",
                        name.group_resource, name.name
                    ),
                );
            }
        }
        self.map_namespace(name, &mut item);
        add_restore_labels(
            &mut item,
            &self.run.restore.spec.backup_name,
            &restore_name(&self.run.restore),
        );
        forget_managed_fields(&mut item);
        Ok(Some(Prepared { item, operation }))
    }

    fn map_namespace(&self, name: &ItemName, item: &mut Value) {
        if !name.namespace.is_empty() {
            let target = self.selection.target_namespace(&name.namespace);
            child_map(item, "metadata").insert("namespace".into(), json!(target));
        }
        if name.group_resource.is(known::PERSISTENT_VOLUMES)
            && let Some(namespace) = item.pointer_mut("/spec/claimRef/namespace")
            && let Some(old) = namespace.as_str()
        {
            *namespace = json!(self.selection.target_namespace(old));
        }
    }

    /// Adds to the resource list: `shop/data(created)`.
    fn record(&self, name: &ItemName, target: &str, what: &str) {
        let Some(served) = self.discovered.get(&name.group_resource) else {
            return;
        };
        // Of exactly its length: there is one for each object, and all are kept.
        let entry = if target.is_empty() {
            [&*name.name, "(", what, ")"].concat()
        } else {
            [target, "/", &name.name, "(", what, ")"].concat()
        };
        self.state
            .lock()
            .outcome
            .resource_list
            .entry(served.group_version_kind())
            .or_default()
            .push(entry);
    }

    fn log_item(&self, level: Level, message: &str, name: &ItemName, target: &str) {
        let resource = name.group_resource.to_string();
        self.log(
            level,
            message,
            &[
                ("groupResource", &resource),
                ("namespace", target),
                ("name", &name.name),
            ],
        );
    }
}

/// Takes an annotation off; true when it said `true`.
fn take_annotation(item: &mut Value, key: &str) -> bool {
    let annotations = item
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut);
    annotations
        .and_then(|annotations| annotations.remove(key))
        .is_some_and(|value| value == "true")
}

fn restore_name(restore: &caravel_api::v1::Restore) -> String {
    kube::ResourceExt::name_any(restore)
}

/// An error and its causes in one line. What the API server says is its own words, as in Velero, not the client's record of
/// them.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(kube::Error::Api(status)) = error.downcast_ref()
        && !status.message.is_empty()
    {
        return status.message.clone();
    }
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !line.contains(&words) {
            line = format!("{line}: {words}");
        }
        cause = next.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_api_server_is_said_in_its_own_words() {
        let words = "Pod \"a\" is invalid: spec.initContainers[1].name: Duplicate value: \"b\"";
        let status = kube::core::Status::failure(words, "Invalid").with_code(422);
        let error: ItemError = kube::Error::Api(status.boxed()).into();
        assert_eq!(chain(&*error), words);
        let other: ItemError = "no volume".into();
        assert_eq!(chain(&*other), "no volume");
    }
}
