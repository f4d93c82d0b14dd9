//! Labels, annotations and fixed names of Velero's API (velero-behaviour.md section 0).
//!
//! Mirrors Velero's `pkg/apis/velero/v1/labels_annotations.go` and `pkg/label/label.go`. Label values go through
//! [`crate::label_value`]; names of objects are not shortened here.

use sha2::{Digest, Sha256};
use sha3::Sha3_224;

/// The namespace Velero runs in unless told otherwise.
pub const DEFAULT_NAMESPACE: &str = "velero";

/// On every object that `velero install` makes.
pub const COMPONENT: &str = "component";
/// Value of [`COMPONENT`].
pub const COMPONENT_VELERO: &str = "velero";

// Labels.

/// Backup name, on restored objects and everything made for a backup.
pub const BACKUP_NAME: &str = "velero.io/backup-name";
/// Backup UID, on DataUpload, PodVolumeBackup and DeleteBackupRequest.
pub const BACKUP_UID: &str = "velero.io/backup-uid";
/// Restore name, on restored objects and everything made for a restore.
pub const RESTORE_NAME: &str = "velero.io/restore-name";
/// Restore UID, on DataDownload, PodVolumeRestore and the DataUpload result ConfigMap.
pub const RESTORE_UID: &str = "velero.io/restore-uid";
/// Schedule name, on Backups that a Schedule made.
pub const SCHEDULE_NAME: &str = "velero.io/schedule-name";
/// BackupStorageLocation name, on Backup, BackupRepository and PodVolumeBackup.
pub const STORAGE_LOCATION: &str = "velero.io/storage-location";
/// Pod UID, on PodVolumeRestore.
pub const POD_UID: &str = "velero.io/pod-uid";
/// PVC UID, on PodVolumeRestore, PodVolumeBackup and DataUpload.
pub const PVC_UID: &str = "velero.io/pvc-uid";
/// Namespace of the volumes a BackupRepository holds.
pub const VOLUME_NAMESPACE: &str = "velero.io/volume-namespace";
/// Repository type of a BackupRepository.
pub const REPOSITORY_TYPE: &str = "velero.io/repository-type";
/// BackupRepository name, on its maintenance Jobs.
pub const REPO_NAME: &str = "velero.io/repo-name";
/// Operation id (`du-…`, `dd-…`), on DataUpload and DataDownload.
pub const ASYNC_OPERATION_ID: &str = "velero.io/async-operation-id";
/// DataUpload name, on its data mover pod.
pub const DATA_UPLOAD: &str = "velero.io/data-upload";
/// DataDownload name, on its data mover pod.
pub const DATA_DOWNLOAD: &str = "velero.io/data-download";
/// PodVolumeBackup name, on its data mover pod.
pub const POD_VOLUME_BACKUP: &str = "velero.io/pod-volume-backup";
/// PodVolumeRestore name, on its data mover pod.
pub const POD_VOLUME_RESTORE: &str = "velero.io/pod-volume-restore";
/// Which exposer made a data mover pod.
pub const EXPOSER_POD_GROUP: &str = "velero.io/exposer-pod-group";
/// Value of [`EXPOSER_POD_GROUP`] for snapshots being backed up.
pub const EXPOSER_POD_GROUP_SNAPSHOT: &str = "snapshot-exposer";
/// Value of [`EXPOSER_POD_GROUP`] for volumes being restored.
pub const EXPOSER_POD_GROUP_GENERIC_RESTORE: &str = "generic-restore-exposer";
/// `true` on a DataUpload, DataDownload, PodVolumeBackup or PodVolumeRestore while it is accepted.
pub const EXPOSE_ON_GOING: &str = "velero.io/expose-on-going";
/// `true` on the ConfigMap that remembers a deleted DataUpload's snapshot.
pub const DATA_UPLOAD_SNAPSHOT_INFO: &str = "velero.io/data-upload-snapshot-info";
/// `<namespace>.<pvc>`, on the DataUpload result ConfigMap.
pub const PVC_NAMESPACE_NAME: &str = "velero.io/pvc-namespace-name";
/// What a ConfigMap is for; the DataUpload result has [`RESOURCE_USAGE_DATA_UPLOAD`].
pub const RESOURCE_USAGE: &str = "velero.io/resource-usage";
/// Value of [`RESOURCE_USAGE`] on the DataUpload result ConfigMap.
pub const RESOURCE_USAGE_DATA_UPLOAD: &str = "DataUpload";
/// `<namespace>.<pvc>.<5 random>`: ties the target PVC's selector to the PV that a DataDownload filled.
pub const DYNAMIC_PV_RESTORE: &str = "velero.io/dynamic-pv-restore";
/// VolumeSnapshot name, on the PVC (also as annotation).
pub const VOLUME_SNAPSHOT_NAME: &str = "velero.io/volume-snapshot-name";
/// `true` leaves the object, or the whole namespace, out of every backup.
pub const EXCLUDE_FROM_BACKUP: &str = "velero.io/exclude-from-backup";
/// On the VolumeSnapshotClass that Velero shall use for its driver (presence counts); on a PVC, as annotation, its name.
pub const CSI_VOLUMESNAPSHOT_CLASS: &str = "velero.io/csi-volumesnapshot-class";
/// On the VolumeGroupSnapshotClass that Velero shall use for its driver.
pub const CSI_VOLUMEGROUPSNAPSHOT_CLASS: &str = "velero.io/csi-volumegroupsnapshot-class";
/// Default key of the label that groups PVCs into one group snapshot.
pub const VOLUME_GROUP: &str = "velero.io/volume-group";
/// Why an expired Backup could not be collected.
pub const GC_FAILURE: &str = "velero.io/gc-failure";
/// Selects a plug-in's ConfigMap.
pub const PLUGIN_CONFIG: &str = "velero.io/plugin-config";

// Annotations.

/// On a Backup: old override of the file system backup timeout.
pub const POD_VOLUME_TIMEOUT: &str = "velero.io/pod-volume-timeout";
/// On a Backup: version of the cluster it was taken from (`v1.34.1`).
pub const SOURCE_CLUSTER_GIT_VERSION: &str = "velero.io/source-cluster-k8s-gitversion";
/// On a Backup: major version of the cluster it was taken from.
pub const SOURCE_CLUSTER_MAJOR_VERSION: &str = "velero.io/source-cluster-k8s-major-version";
/// On a Backup: minor version of the cluster it was taken from.
pub const SOURCE_CLUSTER_MINOR_VERSION: &str = "velero.io/source-cluster-k8s-minor-version";
/// On a Backup: the server's `--resource-timeout`.
pub const RESOURCE_TIMEOUT: &str = "velero.io/resource-timeout";
/// On a Backup: the ConfigMap with the server's volume policies that held for it too.
pub const GLOBAL_BACKUP_VOLUME_POLICIES: &str = "velero.io/global-backup-volume-policy-configmap";
/// On an object that a backup item action returns: leave it out.
pub const SKIP_FROM_BACKUP: &str = "velero.io/skip-from-backup";
/// On a VolumeSnapshot in a backup: the driver's snapshot handle.
pub const VOLUME_SNAPSHOT_HANDLE: &str = "velero.io/csi-volumesnapshot-handle";
/// On a VolumeSnapshot in a backup: its restore size.
pub const VOLUME_SNAPSHOT_RESTORE_SIZE: &str = "velero.io/csi-volumesnapshot-restore-size";
/// On a VolumeSnapshot in a backup: the CSI driver.
pub const CSI_DRIVER_NAME: &str = "velero.io/csi-driver-name";
/// On a VolumeSnapshot in a backup: the deletion policy of its content.
pub const CSI_VSC_DELETION_POLICY: &str = "velero.io/csi-vsc-deletion-policy";
/// On a VolumeSnapshot in a backup: the handle of the group snapshot that it is part of.
pub const VOLUME_GROUP_SNAPSHOT_HANDLE: &str = "velero.io/csi-volumegroupsnapshot-handle";
/// On a Backup, followed by the driver in lower case: the VolumeSnapshotClass to use.
pub const CSI_VOLUMESNAPSHOT_CLASS_PREFIX: &str = "velero.io/csi-volumesnapshot-class_";
/// On a PVC in a backup with moved data: `<namespace>/<DataUpload>`.
pub const DATA_UPLOAD_NAME: &str = "velero.io/data-upload-name";
/// `true` or `false` on any item: restore its status or not.
pub const RESTORE_STATUS: &str = "velero.io/restore-status";
/// On a Backup or Restore that began again after its server ended: which attempt this is. Ours; Velero fails them.
pub const ATTEMPT: &str = "velero.io/attempt";
/// On a BackupRepository: somebody wants it maintained now, `quick` or `full`. Taken off when the Job is made, or refused in
/// `status.recentMaintenance`. Ours.
pub const MAINTAIN_NOW: &str = "velero.io/maintain-now";
/// On a BackupRepository: the maintenance Job that was made for the last [`MAINTAIN_NOW`]. Ours.
pub const MAINTENANCE_JOB: &str = "velero.io/maintenance-job";
/// On a VolumeSnapshotContent that backup sync made: `<namespace>/<name>` of its Backup. Ours.
pub const SYNCED_BACKUP: &str = "velero.io/synced-backup";
/// On a renamed PV: its old name.
pub const ORIGINAL_PV_NAME: &str = "velero.io/original-pv-name";
/// On a pod: comma list of volumes for file system backup.
pub const BACKUP_VOLUMES: &str = "backup.velero.io/backup-volumes";
/// On a pod: comma list of volumes kept out of file system backup.
pub const BACKUP_VOLUMES_EXCLUDES: &str = "backup.velero.io/backup-volumes-excludes";
/// On an object that a backup item action returns: additional items pass the filters. Taken off before writing.
pub const MUST_INCLUDE_ADDITIONAL_ITEMS: &str = "backup.velero.io/must-include-additional-items";
/// On an item that a restore item action returns: additional items pass the filters. Never comes into the cluster.
pub const MUST_INCLUDE_ADDITIONAL_ITEMS_OF_RESTORE: &str = "restore.velero.io/must-include-additional-items";
/// On a PVC that the CSI action returns: it has no CSI volume.
pub const SKIPPED_NO_CSI_PV: &str = "backup.velero.io/skipped-no-csi-pv";

/// On the Secret of the repositories' password: how far its change is, or how it ended. Ours.
pub const REPOSITORY_PASSWORD_CHANGE: &str = "velero.io/repository-password-change";

/// Prefix of a DataUpload's operation id.
pub const DATA_UPLOAD_OPERATION_PREFIX: &str = "du-";
/// Prefix of a DataDownload's operation id.
pub const DATA_DOWNLOAD_OPERATION_PREFIX: &str = "dd-";

/// Feature flag of CSI snapshots.
pub const FEATURE_ENABLE_CSI: &str = "EnableCSI";
/// Feature flag of backing up every API group version.
pub const FEATURE_ENABLE_API_GROUP_VERSIONS: &str = "EnableAPIGroupVersions";

/// ServiceAccount of the data mover pods, made by our `install`.
pub const DATA_MOVER_SERVICE_ACCOUNT: &str = "velero-data-mover";

/// Longest legal label value.
const LABEL_VALUE_MAX: usize = 63;
/// Characters of the hash that end a shortened value.
const HASH_DIGITS: usize = 6;

/// A name as a legal label value: unchanged up to 63 characters, else its first 57 and six digits of its SHA-256.
///
/// Source: Velero `pkg/label/label.go`, `GetValidName`.
pub fn label_value(name: &str) -> String {
    if name.len() <= LABEL_VALUE_MAX {
        return name.to_owned();
    }
    let hash = hex::encode(Sha256::digest(name.as_bytes()));
    let keep = (0..=LABEL_VALUE_MAX - HASH_DIGITS)
        .rev()
        .find(|end| name.is_char_boundary(*end))
        .unwrap_or(0);
    format!("{}{}", &name[..keep], &hash[..HASH_DIGITS])
}

/// A name as the value of [`REPO_NAME`]: unchanged up to 63 characters, else its SHA3-224.
///
/// Source: Velero v1.18.3 `pkg/label/label.go`, `ReturnNameOrHash`.
pub fn name_or_hash(name: &str) -> String {
    if name.len() <= LABEL_VALUE_MAX {
        name.to_owned()
    } else {
        hex::encode(Sha3_224::digest(name))
    }
}

/// The name that a VolumeSnapshot of a backup, and its VolumeSnapshotContent, get in a restore: unlike any other restore's.
///
/// Source: Velero `pkg/util/util.go`, `GenerateSha256FromRestoreUIDAndVsName`.
pub fn restored_snapshot_name(restore_uid: &str, snapshot: &str) -> String {
    name_digest(&format!("{restore_uid}/{snapshot}"))
}

/// SHA-256 in hexadecimal: a name that follows from what it is made of.
pub fn name_digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_snapshot_has_the_name_that_velero_gives_it() {
        // Velero's pkg/restore/actions/csi/volumesnapshot_action_test.go.
        assert_eq!(
            restored_snapshot_name("restoreUID", "vsName"),
            "16e560cdf7afa5692e34255d9032494205b275c461355e1e3fc5dcaee516236f"
        );
    }

    #[test]
    fn a_long_name_becomes_57_characters_and_a_hash() {
        let name = "the-really-long-location-name-that-is-much-more-than-63-characters";
        // The expected value is Velero's own test data (pkg/label/label_test.go).
        assert_eq!(
            label_value(name),
            "the-really-long-location-name-that-is-much-more-than-63-c69d817"[..57].to_owned()
                + &hex::encode(Sha256::digest(name))[..6]
        );
        assert_eq!(label_value(name).len(), 63);
    }

    #[test]
    fn a_short_name_stays() {
        assert_eq!(label_value("shop"), "shop");
        assert_eq!(label_value(&"x".repeat(63)), "x".repeat(63));
    }
}
