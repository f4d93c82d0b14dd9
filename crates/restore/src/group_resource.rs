//! `deployments.apps`: a resource with its API group, as directories in the tarball, `--include-resources` and the
//! restore priorities spell it (velero-behaviour.md 0 "GR" and 2.2).

use std::fmt;

/// A plural resource name and its API group; the core group is the empty string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupResource {
    /// Plural, lower case: `deployments`.
    pub resource: String,
    /// `apps`; empty for the core group.
    pub group: String,
}

impl GroupResource {
    /// `GroupResource::new("apps", "deployments")`.
    pub fn new(group: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            resource: resource.into(),
            group: group.into(),
        }
    }

    /// Parses `deployments.apps` or `pods`: all after the first dot is the group.
    pub fn parse(text: &str) -> Self {
        match text.split_once('.') {
            Some((resource, group)) => Self::new(group, resource),
            None => Self::new("", text),
        }
    }

    /// True when this prints as `text`; spares an allocation in comparisons with constants.
    pub fn is(&self, text: &str) -> bool {
        match text.split_once('.') {
            Some((resource, group)) => self.resource == resource && self.group == group,
            None => self.group.is_empty() && self.resource == text,
        }
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.resource)
        } else {
            write!(f, "{}.{}", self.resource, self.group)
        }
    }
}

/// The resources that the restore treats in a way of their own.
pub mod known {
    /// Restored in a first pass; the rest waits until they are Established.
    pub const CUSTOM_RESOURCE_DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
    /// Created on demand, never as items.
    pub const NAMESPACES: &str = "namespaces";
    /// Never restored; each becomes a DataUploadResult ConfigMap.
    pub const DATA_UPLOADS: &str = "datauploads.velero.io";
    /// Cluster-scoped half of a CSI snapshot.
    pub const VOLUME_SNAPSHOT_CONTENTS: &str = "volumesnapshotcontents.snapshot.storage.k8s.io";
    /// Namespaced half of a CSI snapshot.
    pub const VOLUME_SNAPSHOTS: &str = "volumesnapshots.snapshot.storage.k8s.io";
    /// Restored only where velero-behaviour.md 8.4 says so.
    pub const PERSISTENT_VOLUMES: &str = "persistentvolumes";
    /// Claims.
    pub const PERSISTENT_VOLUME_CLAIMS: &str = "persistentvolumeclaims";
    /// Pods.
    pub const PODS: &str = "pods";
    /// Jobs: a finished one is not run again.
    pub const JOBS: &str = "jobs.batch";
    /// Merged instead of compared when they exist.
    pub const SERVICE_ACCOUNTS: &str = "serviceaccounts";
}
