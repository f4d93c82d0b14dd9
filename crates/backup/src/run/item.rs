//! One item: its actions, what it brings along, and itself.

use caravel_item_action::ResourceIdentifier;
use serde_json::Value;

use super::prepare::{Failure, Prepared, prepare};
use super::{Run, RunError, about, is_claim, snapshot_objects, volume_infos};
use crate::cluster::{self, name, namespace, text};
use crate::collect;

impl Run {
    /// Runs the actions of an item and writes it, after what it brings along.
    pub(super) async fn item(&mut self, id: ResourceIdentifier, item: Value) -> Result<(), RunError> {
        let prepared = prepare(&self.request, &id, item).await;
        self.settle(id, prepared).await
    }

    pub(super) async fn settle(
        &mut self,
        id: ResourceIdentifier,
        prepared: Result<Prepared, Failure>,
    ) -> Result<(), RunError> {
        let gr = id.group_resource();
        let mut prepared = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                self.request
                    .log
                    .error(about(&gr, &id), "Error backing up item", failure);
                return Ok(());
            }
        };
        let mut needed = Vec::new();
        for additional in std::mem::take(&mut prepared.additional_items) {
            if snapshot_objects::is_needed(&additional.id) {
                needed.push(additional.id.clone());
            }
            Box::pin(self.additional(additional.id, additional.must_include)).await?;
        }
        if let Some(missing) = needed.iter().find(|id| !self.outcome.snapshots.has(id)) {
            let why = format!(
                "{missing} is not in the backup, so that nothing would lead to the snapshot of its data"
            );
            self.request
                .log
                .error(about(&gr, &id), "Error backing up item", why);
            return Ok(());
        }
        if is_claim(&id) {
            if text(&prepared.item, "/spec/volumeName").is_empty() {
                self.request.log.warn(
                    about(&gr, &id),
                    "PersistentVolumeClaim has no volume yet: the claim is backed up, and there is no data that could be",
                );
            }
            let info = volume_infos::of_claim(&self.request.backup, &prepared, &self.outcome);
            self.outcome.volume_infos.extend(info);
        } else if gr == "persistentvolumes" {
            self.pv_infos
                .insert(id.name.clone(), volume_infos::pv_info(&prepared.item));
        }
        self.outcome.operations.extend(prepared.operations);
        if prepared.skip {
            self.request
                .log
                .item(about(&gr, &id), "Item is left out, as an action asks");
            return Ok(());
        }
        // An action may have given the item another name; it is then in the backup under that one.
        let written_as = ResourceIdentifier::new(
            &id.group,
            &id.resource,
            namespace(&prepared.item),
            name(&prepared.item),
        );
        self.write(&written_as, &prepared.item)
    }

    /// An item that another one brings along: fetched, filtered, backed up.
    async fn additional(&mut self, id: ResourceIdentifier, must_include: bool) -> Result<(), RunError> {
        if !self.seen.insert(&id) {
            return Ok(());
        }
        let Some(item) = self.fetch(&id, must_include).await else {
            return Ok(());
        };
        self.add_to_total(1);
        if is_claim(&id) {
            self.start_claim(id, item);
            return Ok(());
        }
        self.item(id, item).await
    }

    /// An item that was not listed, if the filters let it pass.
    pub(super) async fn fetch(&self, id: &ResourceIdentifier, must_include: bool) -> Option<Value> {
        let request = &self.request;
        let gr = id.group_resource();
        let Some(resource) = request.discovered.find(&id.group, &id.resource) else {
            request.log.warn(
                about(&gr, id),
                "Additional item is of a kind that the cluster does not have",
            );
            return None;
        };
        let in_namespaces = !resource.namespaced || request.selection.namespaces.includes(&id.namespace);
        let passes =
            must_include || (in_namespaces && request.selection.resources.follows(&gr, resource.namespaced));
        if !passes {
            request.log.item(
                about(&gr, id),
                "Excluding additional item because the filters leave it out",
            );
            return None;
        }
        let item = match cluster::get(&request.client, &resource.api, &id.namespace, &id.name).await {
            Ok(Some(item)) => item,
            Ok(None) => {
                request.log.warn(
                    about(&gr, id),
                    "Additional item was not found in Kubernetes API, can't back it up",
                );
                return None;
            }
            Err(error) => {
                request
                    .log
                    .error(about(&gr, id), "Error getting additional item", error);
                return None;
            }
        };
        let named_out = request.selection.kinds.keeps_out(&gr, &item);
        let why = collect::left_out(&item).or(named_out.then_some("a filter policy leaves its name out"));
        // Must-include is about filters: what is being deleted is not taken all the same.
        if let Some(why) = collect::being_deleted(&item).or(why.filter(|_| !must_include)) {
            request
                .log
                .item(about(&gr, id), format!("Excluding item because {why}"));
            return None;
        }
        Some(item)
    }
}
