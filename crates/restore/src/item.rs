//! One object's way from the backup into the cluster (velero-behaviour.md 8.3, 8.4):
//! read → skip? → namespace → forget the old life → item actions → additional items → map, label → create → wait.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use caravel_api::labels;
use caravel_item_action::{ResourceIdentifier, RestoreItemAction, RestoreItemInput};
use serde_json::{Value, json};

use crate::create::{self, Creation, ExistingPolicy, create};
use crate::discovery::ServedResource;
use crate::established;
use crate::group_resource::{GroupResource, known};
use crate::item_actions::claim;
use crate::item_name::ItemName;
use crate::log::Level;
use crate::managed_fields;
use crate::metadata::{
    add_restore_labels, annotation, child_map, forget_binding, forget_managed_fields, forget_old_life,
    reason_to_skip,
};
use crate::namespaces;
use crate::operations;
use crate::restore_status;
use crate::run::{Engine, RestoredClaim, StartedOperation};
use crate::volumes::{Saved, VolumeDecision, decide_volume, empty_claim_warning};

/// By which an action says that its additional items pass the filters; never comes into the cluster.
const MUST_INCLUDE: &str = labels::MUST_INCLUDE_ADDITIONAL_ITEMS_OF_RESTORE;
/// How often an action is asked whether its additional items are ready. Velero's.
const READY_INTERVAL: Duration = Duration::from_secs(1);

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

    /// Claims and volumes forget each other where the claim gets a new volume; guarantee 5 is kept here.
    async fn forget_volumes(
        &self,
        name: &ItemName,
        in_backup: &Value,
        item: &mut Value,
    ) -> Result<(), ItemError> {
        if name.group_resource.is(known::PERSISTENT_VOLUMES) {
            forget_binding(item);
            return Ok(());
        }
        if name.group_resource.is(known::PODS) {
            self.warn_of_volumes_saved_through(name);
        }
        if !name.group_resource.is(known::PERSISTENT_VOLUME_CLAIMS) {
            return Ok(());
        }
        forget_binding(item);
        claim::forget_traces(item);
        let saved = self
            .run
            .saved_volumes
            .of_claim(&name.namespace, &name.name, in_backup);
        let restore_pvs = self.run.restore.spec.restore_pvs;
        let volume_stays = restore_pvs != Some(false) && self.volume_stays(in_backup, saved).await?;
        if !volume_stays {
            claim::forget_volume(item);
        }
        let target = self.selection.target_namespace(&name.namespace);
        let warning = empty_claim_warning(target, &name.name, in_backup, saved, volume_stays, restore_pvs);
        if let Some(warning) = warning {
            self.warning(target, warning);
        }
        Ok(())
    }

    /// Guarantee 5 of volumes that no claim holds.
    fn warn_of_volumes_saved_through(&self, pod: &ItemName) {
        let target = self.selection.target_namespace(&pod.namespace);
        for volume in self.run.saved_volumes.of_pod(&pod.namespace, &pod.name) {
            let warning = format!(
                "Pod {target}/{} comes back with an empty volume {volume}: its data was saved by file system backup, which this version does not restore yet",
                pod.name
            );
            self.warning(target, warning);
        }
    }

    /// True when the claim's old volume is restored as is (now, as an additional item), or is still in the cluster.
    async fn volume_stays(&self, claim_in_backup: &Value, saved: Saved) -> Result<bool, ItemError> {
        let volume = claim_in_backup
            .pointer("/spec/volumeName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if volume.is_empty() || saved != Saved::Not {
            return Ok(false);
        }
        let resource = GroupResource::parse(known::PERSISTENT_VOLUMES);
        if self.run.contents.contains(&resource, "", volume) {
            let object = self.run.contents.object(&resource, "", volume)?;
            let as_is = decide_volume(&object, self.run.saved_volumes.of_volume(volume))
                == VolumeDecision::RestoreAsIs;
            if as_is {
                let name = ItemName {
                    group_resource: resource,
                    namespace: String::new(),
                    name: volume.to_owned(),
                };
                self.restore_item(name).await;
            }
            return Ok(as_is);
        }
        let volumes: kube::Api<k8s_openapi::api::core::v1::PersistentVolume> =
            kube::Api::all(self.run.client.clone());
        Ok(volumes.get_opt(volume).await?.is_some())
    }

    /// An item that another needs: restored first when the backup has it and the filters (or `must_include`) let it
    /// pass. One that the backup does not have is a warning. True when it was restored, now or before.
    async fn restore_additional(&self, name: ItemName, must_include: bool) -> bool {
        let in_scope = if name.namespace.is_empty() {
            self.selection.cluster_resources != Some(false)
        } else {
            self.selection.namespaces.includes(&name.namespace)
        };
        let taken = in_scope
            && self
                .selection
                .resources
                .includes(&name.group_resource.to_string());
        let must_have = name.group_resource.is(known::DATA_UPLOADS);
        if !(taken || must_include || must_have) {
            self.log_item(
                Level::Info,
                "Not restoring additional item: it is excluded",
                &name,
                "",
            );
            return false;
        }
        if !self
            .run
            .contents
            .contains(&name.group_resource, &name.namespace, &name.name)
        {
            let target = self.selection.target_namespace(&name.namespace);
            let said = format!(
                "unable to restore additional item {}/{}: the backup does not have it",
                name.group_resource, name.name
            );
            self.warning(target, said);
            return false;
        }
        self.restore_item(name).await;
        true
    }

    /// Waits for what an action needs before its item can be created.
    async fn wait_until_ready(
        &self,
        action: &dyn RestoreItemAction,
        items: &[ResourceIdentifier],
        timeout: Duration,
    ) -> Result<(), ItemError> {
        let ready = async {
            while !action
                .are_additional_items_ready(items, &self.run.restore)
                .await?
            {
                tokio::time::sleep(READY_INTERVAL).await;
            }
            Ok::<_, ItemError>(())
        };
        match tokio::time::timeout(timeout, ready).await {
            Ok(ended) => ended,
            Err(_) => Err(format!(
                "additional items of {} are not ready to use after {timeout:?}",
                action.name()
            )
            .into()),
        }
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

    async fn create_item(
        &self,
        name: &ItemName,
        target: &str,
        served: &ServedResource,
        in_backup: &Value,
        prepared: Prepared,
    ) -> Result<(), ItemError> {
        let policy = ExistingPolicy::from(&*self.run.restore.spec.existing_resource_policy);
        let own = self.is_first_of(name, target).then_some(&self.own);
        let created = create(&self.run.client, served, target, &prepared.item, policy, own).await;
        match created {
            Ok(done @ (Creation::Done | Creation::Own)) => {
                self.record(name, target, "created");
                let message = match done {
                    Creation::Own => "Created by an earlier attempt of this restore",
                    _ => "Created",
                };
                self.log_item(Level::Info, message, name, target);
                self.note_claim(name, target, in_backup, &prepared);
                self.restore_status(name, target, served, in_backup, &prepared.item)
                    .await;
                self.restore_appliers(target, served, in_backup, &prepared.item)
                    .await;
                if name.group_resource.is(known::PODS) {
                    let run = &self.run;
                    run.exec_hooks.start(&run.client, &run.log, prepared.item);
                }
                if name.group_resource.is(known::CUSTOM_RESOURCE_DEFINITIONS) {
                    established::wait(&self.run.client, &name.name, self.run.resource_timeout).await?;
                }
            }
            Ok(Creation::Merged) => {
                self.record(name, target, "updated");
                if has_saved_data(name, in_backup) {
                    self.warn_of_kept_data(name, target);
                }
            }
            Ok(Creation::NotUpdated(why)) => {
                self.record(name, target, "skipped");
                self.warning(
                    target,
                    format!(
                        "could not update {} {:?}, which already exists: {why}",
                        served.kind, name.name
                    ),
                );
            }
            Ok(Creation::Same | Creation::Different) if has_saved_data(name, in_backup) => {
                self.record(name, target, "skipped");
                self.warn_of_kept_data(name, target);
            }
            Ok(Creation::Same) => self.record(name, target, "skipped"),
            Ok(Creation::Different) => {
                self.record(name, target, "skipped");
                self.warning(
                    target,
                    format!(
                        "could not restore, {} {:?} already exists. Warning: the in-cluster version is different than the backed-up version",
                        served.kind, name.name
                    ),
                );
            }
            Err(error) => {
                self.give_up(prepared.operation).await;
                return Err(error.into());
            }
        }
        self.note_operation(name, prepared.operation);
        Ok(())
    }

    /// Whether no other object of this run goes to the same place: the second one finds what the first one made, and that is
    /// not its own.
    fn is_first_of(&self, name: &ItemName, target: &str) -> bool {
        let in_cluster = ItemName {
            namespace: target.to_owned(),
            ..name.clone()
        };
        self.state.lock().targets.insert(&in_cluster.identifier())
    }

    fn warn_of_kept_data(&self, name: &ItemName, target: &str) {
        self.warning(target, format!("PersistentVolumeClaim {target}/{} already exists: its data is left as it is; delete it and restore again to get the backup's", name.name));
    }

    /// Best effort: the object is there, and a status is what its controller writes.
    async fn restore_status(
        &self,
        name: &ItemName,
        target: &str,
        served: &ServedResource,
        in_backup: &Value,
        created: &Value,
    ) {
        let kinds = restore_status::kinds(&self.run.restore.spec, &self.discovered);
        if !restore_status::wanted(kinds.as_ref(), &name.group_resource.to_string(), in_backup) {
            return;
        }
        if let Err(error) = restore_status::write(&self.run.client, served, target, created, in_backup).await
        {
            self.warning(
                target,
                format!(
                    "could not restore the status of {} {:?}: {error}",
                    served.kind, name.name
                ),
            );
        }
    }

    /// Who applied which fields server-side: without it their next apply would be in conflict with us.
    async fn restore_appliers(
        &self,
        target: &str,
        served: &ServedResource,
        in_backup: &Value,
        created: &Value,
    ) {
        let Some(fields) = managed_fields::of_appliers(in_backup, created) else {
            return;
        };
        if let Err(error) =
            create::set_managed_fields(&self.run.client, served, target, created, &fields).await
        {
            let name = created
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            self.error(
                target,
                format!(
                    "cannot say on {} {name:?} who applied which of its fields: {error}",
                    served.kind
                ),
            );
        }
    }

    /// The claim of an operation could not be created: nobody will ever wait for its data.
    async fn give_up(&self, operation: Option<(String, String)>) {
        let Some((_, operation_id)) = operation else {
            return;
        };
        let namespace = kube::ResourceExt::namespace(&*self.run.restore).unwrap_or_default();
        if let Err(error) = operations::cancel(&self.run.client, &namespace, &operation_id).await {
            self.error(
                "",
                format!("cannot cancel the DataDownload of operation {operation_id}: {error}"),
            );
        }
    }

    fn note_operation(&self, name: &ItemName, operation: Option<(String, String)>) {
        if let Some((action, operation_id)) = operation {
            let started = StartedOperation {
                action,
                item: name.clone(),
                operation_id,
            };
            self.state.lock().outcome.operations.push(started);
        }
    }

    fn note_claim(&self, name: &ItemName, target: &str, in_backup: &Value, prepared: &Prepared) {
        if !name.group_resource.is(known::PERSISTENT_VOLUME_CLAIMS) {
            return;
        }
        let volume = in_backup
            .pointer("/spec/volumeName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        self.state.lock().outcome.claims.push(RestoredClaim {
            source_namespace: name.namespace.clone(),
            namespace: target.to_owned(),
            name: name.name.clone(),
            volume_in_backup: volume.to_owned(),
            operation_id: prepared.operation.as_ref().map(|(_, id)| id.clone()),
            snapshot: claim::snapshot_source(&prepared.item).map(str::to_owned),
        });
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

fn has_saved_data(name: &ItemName, in_backup: &Value) -> bool {
    let notes = [labels::DATA_UPLOAD_NAME, labels::VOLUME_SNAPSHOT_NAME];
    name.group_resource.is(known::PERSISTENT_VOLUME_CLAIMS)
        && notes.iter().any(|key| annotation(in_backup, key).is_some())
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
