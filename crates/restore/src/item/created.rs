//! The end of an object's way: created, found there already or refused, and what is noted and done then.

use caravel_api::labels;
use serde_json::Value;

use super::{ItemError, Prepared};
use crate::create::{self, Creation, ExistingPolicy, create};
use crate::discovery::ServedResource;
use crate::established;
use crate::group_resource::known;
use crate::item_actions::claim;
use crate::item_name::ItemName;
use crate::log::Level;
use crate::managed_fields;
use crate::metadata::annotation;
use crate::operations;
use crate::restore_status;
use crate::run::{Engine, RestoredClaim, StartedOperation};

impl Engine {
    pub(super) async fn create_item(
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
}

fn has_saved_data(name: &ItemName, in_backup: &Value) -> bool {
    let notes = [labels::DATA_UPLOAD_NAME, labels::VOLUME_SNAPSHOT_NAME];
    name.group_resource.is(known::PERSISTENT_VOLUME_CLAIMS)
        && notes.iter().any(|key| annotation(in_backup, key).is_some())
}
