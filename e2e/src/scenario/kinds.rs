//! The kinds of objects that scenarios look at.

use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

/// A kind, by group, version, name and plural.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $group:literal $version:literal $kind:literal $plural:literal;)*) => {
        impl Kind {
            $($(#[$doc])* pub const $name: Self =
                Self { group: $group, version: $version, kind: $kind, plural: $plural };)*
        }
    };
}

kinds! {
    /// Backup
    BACKUP = "velero.io" "v1" "Backup" "backups";
    /// Restore
    RESTORE = "velero.io" "v1" "Restore" "restores";
    /// BackupStorageLocation
    BACKUP_STORAGE_LOCATION = "velero.io" "v1" "BackupStorageLocation" "backupstoragelocations";
    /// BackupRepository
    BACKUP_REPOSITORY = "velero.io" "v1" "BackupRepository" "backuprepositories";
    /// DataUpload
    DATA_UPLOAD = "velero.io" "v2alpha1" "DataUpload" "datauploads";
    /// DataDownload
    DATA_DOWNLOAD = "velero.io" "v2alpha1" "DataDownload" "datadownloads";
    /// VolumeSnapshot
    VOLUME_SNAPSHOT = "snapshot.storage.k8s.io" "v1" "VolumeSnapshot" "volumesnapshots";
    /// VolumeSnapshotContent, cluster-scoped
    VOLUME_SNAPSHOT_CONTENT = "snapshot.storage.k8s.io" "v1" "VolumeSnapshotContent" "volumesnapshotcontents";
    /// VolumeSnapshotClass, cluster-scoped
    VOLUME_SNAPSHOT_CLASS = "snapshot.storage.k8s.io" "v1" "VolumeSnapshotClass" "volumesnapshotclasses";
    /// Pod
    POD = "" "v1" "Pod" "pods";
    /// PersistentVolumeClaim
    PERSISTENT_VOLUME_CLAIM = "" "v1" "PersistentVolumeClaim" "persistentvolumeclaims";
    /// PersistentVolume, cluster-scoped
    PERSISTENT_VOLUME = "" "v1" "PersistentVolume" "persistentvolumes";
    /// Namespace, cluster-scoped
    NAMESPACE = "" "v1" "Namespace" "namespaces";
    /// Secret
    SECRET = "" "v1" "Secret" "secrets";
    /// ConfigMap
    CONFIG_MAP = "" "v1" "ConfigMap" "configmaps";
    /// Deployment
    DEPLOYMENT = "apps" "v1" "Deployment" "deployments";
    /// Lease
    LEASE = "coordination.k8s.io" "v1" "Lease" "leases";
}

impl Kind {
    /// The kind's name.
    pub fn name(self) -> &'static str {
        self.kind
    }

    /// As the client wants it.
    pub fn resource(self) -> ApiResource {
        ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(self.group, self.version, self.kind),
            self.plural,
        )
    }
}

/// An object as one would apply it.
pub fn without_server_fields(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "managedFields",
            "generation",
        ] {
            metadata.remove(field);
        }
    }
    object
}
