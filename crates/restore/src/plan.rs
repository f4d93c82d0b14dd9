//! Which objects a restore brings back, in which order: the tarball's names put through the [`Selection`] and the
//! [`Priorities`]. Pure apart from reading objects where labels filter. [`crate::run`] carries the plan out.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::contents::BackupContents;
use crate::discovery::Discovered;
use crate::group_resource::{GroupResource, known};
use crate::priority::{self, Priorities};
use crate::selection::Selection;

/// An object to restore. Its words are shared, for there may be a million of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlannedItem {
    /// In the backup; empty for cluster scope.
    pub namespace: Arc<str>,
    /// After namespace mapping; empty for cluster scope.
    pub target_namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// The objects of one resource, sorted by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedResource {
    /// Which resource.
    pub group_resource: GroupResource,
    /// Its objects; never empty.
    pub items: Vec<PlannedItem>,
}

/// A restore, resource by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are restored. Resources are done one after the other.
    pub resources: Vec<PlannedResource>,
    /// Resources of the backup that the cluster does not serve, with the number of objects that stay behind.
    pub not_served: BTreeMap<String, usize>,
}

impl Plan {
    /// Number of objects, as `status.progress.totalItems`.
    pub fn total(&self) -> usize {
        self.resources.iter().map(|resource| resource.items.len()).sum()
    }

    /// Moves the CustomResourceDefinitions out: they are restored first, then discovery is asked again.
    pub fn split_definitions(mut self) -> (Option<PlannedResource>, Self) {
        let at = self
            .resources
            .iter()
            .position(|resource| resource.group_resource.is(known::CUSTOM_RESOURCE_DEFINITIONS));
        (at.map(|at| self.resources.remove(at)), self)
    }
}

/// Makes the plan.
pub fn plan(
    contents: &BackupContents,
    selection: &Selection,
    priorities: &Priorities,
    discovered: &Discovered,
) -> Plan {
    let priorities = priority::resolved(priorities, |name| {
        discovered
            .resolve(name)
            .map(|served| served.group_resource.to_string())
    });
    let in_backup: Vec<String> = contents.resources().map(ToString::to_string).collect();
    let mut plan = Plan::default();
    for name in priority::ordered(&priorities, in_backup.iter().map(String::as_str)) {
        let group_resource = GroupResource::parse(&name);
        if contents.names(&group_resource).is_none() || !selection.takes_resource(&group_resource) {
            continue;
        }
        let items = items_of(contents, selection, &group_resource);
        if items.is_empty() {
            continue;
        }
        if discovered.get(&group_resource).is_none() {
            plan.not_served.insert(name, items.len());
            continue;
        }
        plan.resources.push(PlannedResource {
            group_resource,
            items,
        });
    }
    plan
}

fn items_of(
    contents: &BackupContents,
    selection: &Selection,
    group_resource: &GroupResource,
) -> Vec<PlannedItem> {
    let is_namespace = group_resource.is(known::NAMESPACES);
    // The DataUploads stand in Velero's own namespace; the claims of the namespaces asked for find theirs among them.
    let carries_data = group_resource.is(known::DATA_UPLOADS);
    let mut items = Vec::new();
    for (namespace, names) in contents.names(group_resource).into_iter().flatten() {
        let cluster_scoped = namespace.is_empty();
        let scope_taken = if cluster_scoped {
            is_namespace || selection.takes_cluster_scope()
        } else {
            carries_data || selection.namespaces.includes(namespace)
        };
        if !scope_taken {
            continue;
        }
        let target_namespace: Arc<str> = selection.target_namespace(namespace).into();
        let namespace: Arc<str> = namespace.as_str().into();
        for name in names {
            if is_namespace && !selection.namespaces.includes(name) {
                continue;
            }
            if !carries_data && selection.looks_at_objects() {
                // One that cannot be read is taken: its own restore says what is wrong with it, and the others go on.
                let object = contents.object(group_resource, &namespace, name).ok();
                if object.is_some_and(|object| !selection.takes_object(group_resource, &object)) {
                    continue;
                }
            }
            items.push(PlannedItem {
                namespace: Arc::clone(&namespace),
                target_namespace: Arc::clone(&target_namespace),
                name: Arc::clone(name),
            });
        }
    }
    items
}
