//! What a backup has because of what was written: Namespace objects, CRDs, and copies in other versions.

use std::sync::Arc;

use caravel_item_action::{IdentifierSet, ResourceIdentifier};
use serde_json::Value;

use super::{Run, RunError, about};
use crate::cluster::{self, name};
use crate::collect;
use crate::discovery::Resource;
use crate::log::About;

impl Run {
    /// Namespace objects: those selected themselves, and those of every item that was written.
    pub(super) fn namespaces(&mut self) -> Result<(), RunError> {
        let request = Arc::clone(&self.request);
        if !request.selection.resources.collects("namespaces", false) {
            return Ok(());
        }
        let wanted = |object: &&Value| {
            request.selection.takes_namespace(object) || self.namespaces.contains(name(object))
        };
        let chosen: Vec<&Value> = request.namespaces.iter().filter(wanted).collect();
        for object in chosen {
            let id = ResourceIdentifier::new("", "namespaces", "", name(object));
            if let Some(why) = collect::namespace_left_out(object) {
                request.log.item(
                    about("namespaces", &id),
                    format!("Skip namespace {} because {why}.", id.name),
                );
            } else if self.seen.insert(&id) {
                self.add_to_total(1);
                self.write(&id, object)?;
            }
        }
        Ok(())
    }

    /// The CRD of every custom resource in the backup.
    pub(super) async fn custom_resource_definitions(&mut self) -> Result<(), RunError> {
        let request = Arc::clone(&self.request);
        let group = "apiextensions.k8s.io";
        let Some(resource) = request.discovered.find(group, "customresourcedefinitions") else {
            return Ok(());
        };
        if !request.selection.resources.adds_crds() {
            return Ok(());
        }
        for gr in self.custom.clone() {
            let id = ResourceIdentifier::new(group, "customresourcedefinitions", "", &gr);
            if self.seen.contains(&id) {
                continue;
            }
            match cluster::get(&request.client, &resource.api, "", &gr).await {
                // A group of the API server itself, or an aggregated one.
                Ok(None) => {}
                Ok(Some(item)) => {
                    self.seen.insert(&id);
                    self.add_to_total(1);
                    self.item(id, item).await?;
                }
                Err(error) => request
                    .log
                    .error(about(&id.group_resource(), &id), "Error getting CRD", error),
            }
        }
        Ok(())
    }

    /// The copies in other versions of what was written; last, for then it is known what that is. Actions do not see them:
    /// those that are built in are about kinds of one version.
    pub(super) async fn other_versions(&mut self) -> Result<(), RunError> {
        let request = Arc::clone(&self.request);
        if !request.all_versions {
            return Ok(());
        }
        for resource in request.discovered.other_versions() {
            let preferred = request.discovered.find(&resource.api.group, &resource.api.plural);
            let key = preferred.map(Resource::list_key).unwrap_or_default();
            if self.outcome.resource_list.contains_key(&key) {
                self.copies_in(resource).await?;
            }
        }
        Ok(())
    }

    /// The written objects of one kind, in a version that is not preferred.
    async fn copies_in(&mut self, resource: &Resource) -> Result<(), RunError> {
        let request = Arc::clone(&self.request);
        let gr = resource.group_resource();
        let namespaces = match request.selection.namespaces.to_list() {
            Some(namespaces) if resource.namespaced => namespaces,
            _ => vec![String::new()],
        };
        // A list that begins again brings some twice.
        let mut seen = IdentifierSet::default();
        for namespace in &namespaces {
            let mut taken = Ok(());
            let take = |item: Value| {
                let id = collect::identifier(resource, &item);
                if taken.is_ok() && self.written.contains(&id) && seen.insert(&id) {
                    self.add_to_total(1);
                    taken = self.put(resource, false, &id, &item);
                }
            };
            let listed = cluster::list(
                &request.client,
                &resource.api,
                namespace,
                None,
                request.page_size,
                take,
            );
            if let Err(error) = listed.await {
                let about = About {
                    resource: &gr,
                    namespace: Some(namespace),
                    name: "",
                };
                let version = &resource.api.version;
                request.log.error(
                    about,
                    "Error listing items",
                    format!("in version {version}: {error}"),
                );
            }
            taken?;
        }
        Ok(())
    }
}
