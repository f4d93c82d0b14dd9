//! Which objects a restore brings back, in which order: the tarball's names put through the [`Selection`] and the
//! [`Priorities`]. Pure apart from reading objects where labels filter. [`crate::run`] carries the plan out.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::contents::BackupContents;
use crate::discovery::Discovered;
use crate::group_resource::{GroupResource, known};
use crate::item_name::ItemName;
use crate::priority::{self, Priorities};
use crate::selection::Selection;

/// The objects of one resource in one namespace. There may be a million of them: a name is shared with the
/// [`BackupContents`], and nothing else is kept of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedNamespace {
    /// In the backup; empty for cluster scope.
    pub namespace: String,
    /// Of the objects, sorted.
    pub names: Vec<Arc<str>>,
}

/// The objects of one resource, sorted by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedResource {
    /// Which resource.
    pub group_resource: GroupResource,
    /// Where they are; none is empty.
    pub namespaces: Vec<PlannedNamespace>,
}

impl PlannedResource {
    /// Number of objects; never 0.
    pub fn total(&self) -> usize {
        self.namespaces
            .iter()
            .map(|namespace| namespace.names.len())
            .sum()
    }

    /// Each object, in order.
    pub fn objects(&self) -> impl Iterator<Item = ItemName> {
        self.namespaces.iter().flat_map(|planned| {
            planned.names.iter().map(|name| ItemName {
                group_resource: self.group_resource.clone(),
                namespace: planned.namespace.clone(),
                name: name.to_string(),
            })
        })
    }
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
        self.resources.iter().map(PlannedResource::total).sum()
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
        let planned = PlannedResource {
            namespaces: objects_of(contents, selection, &group_resource),
            group_resource,
        };
        if planned.namespaces.is_empty() {
            continue;
        }
        if discovered.get(&planned.group_resource).is_none() {
            plan.not_served.insert(name, planned.total());
            continue;
        }
        plan.resources.push(planned);
    }
    plan
}

fn objects_of(
    contents: &BackupContents,
    selection: &Selection,
    group_resource: &GroupResource,
) -> Vec<PlannedNamespace> {
    let is_namespace = group_resource.is(known::NAMESPACES);
    // The DataUploads stand in Velero's own namespace; the claims of the namespaces asked for find theirs among them.
    let carries_data = group_resource.is(known::DATA_UPLOADS);
    let mut planned = Vec::new();
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
        let takes = |name: &&Arc<str>| {
            if is_namespace && !selection.namespaces.includes(name) {
                return false;
            }
            if carries_data || !selection.looks_at_objects() {
                return true;
            }
            // One that cannot be read is taken: its own restore says what is wrong with it, and the others go on.
            let object = contents.object(group_resource, namespace, name).ok();
            object.is_none_or(|object| selection.takes_object(group_resource, &object))
        };
        let names: Vec<Arc<str>> = names.iter().filter(takes).cloned().collect();
        if !names.is_empty() {
            planned.push(PlannedNamespace {
                namespace: namespace.clone(),
                names,
            });
        }
    }
    planned
}
