//! Which snapshots a backup has in the repositories. Pure.
//!
//! Told by the volume info; by the DataUploads in the tarball and the older files beside it where that says nothing
//! (Velero before 1.13); by the DataUploads in the cluster, of a backup that did not end; and by what a deletion of Velero's
//! that did not end has left. A cluster that only sees the bucket needs none of the objects.

use std::collections::{BTreeMap, BTreeSet};

use caravel_api::phase::UploaderType;
use caravel_api::v1::PodVolumeBackup;
use caravel_api::v2alpha1::DataUpload;
use caravel_backup_store::volume_info::{BackupVolumeInfo, VolumeMethod, VolumeResult};
use serde_json::Value;

/// Namespace of the volumes → snapshot ids in its repository. One repository each: a backup has one location, and only
/// Kopia's repositories are opened.
pub(super) type ByRepository = BTreeMap<String, BTreeSet<String>>;

/// What is known.
#[derive(Clone, Debug, Default)]
pub(super) struct InRepositories {
    /// Never with an empty set of ids.
    pub snapshots: ByRepository,
    /// What this version cannot delete, in sentences.
    pub cannot_go: Vec<String>,
}

impl InRepositories {
    /// One snapshot.
    pub(super) fn add(&mut self, namespace: &str, snapshot: &str) {
        // An upload that failed has none.
        if !snapshot.is_empty() {
            let ids = self.snapshots.entry(namespace.to_owned()).or_default();
            ids.insert(snapshot.to_owned());
        }
    }

    /// What the volume info tells.
    pub(super) fn add_volumes(&mut self, volumes: &[BackupVolumeInfo]) {
        for volume in volumes {
            if volume.backup_method == VolumeMethod::NativeSnapshot && !has_no_snapshot(volume) {
                let claim = format!(" ({}/{})", volume.pvc_namespace, volume.pvc_name);
                self.cannot_go.push(native(&volume.pv_name, &claim));
            }
            if let Some(moved) = &volume.snapshot_data_movement_info
                && is_built_in(&moved.data_mover)
            {
                self.add(&volume.pvc_namespace, &moved.snapshot_handle);
            }
            if let Some(through_pod) = &volume.pvb_info {
                let (namespace, pod) = (&through_pod.pod_namespace, &through_pod.pod_name);
                let snapshot = &through_pod.snapshot_handle;
                if snapshot.is_empty() || is_kopia(&through_pod.uploader_type) {
                    self.add(namespace, snapshot);
                } else {
                    self.cannot_go
                        .push(not_kopia(&through_pod.volume_name, namespace, pod));
                }
            }
        }
    }

    /// What DataUploads tell, of the cluster or of the tarball; all of this backup.
    pub(super) fn add_uploads<'a>(&mut self, uploads: impl IntoIterator<Item = &'a DataUpload>) {
        for upload in uploads {
            if is_built_in(&upload.spec.datamover) {
                let snapshot = upload.status.as_ref().map(|status| &*status.snapshot_id);
                self.add(&upload.spec.source_namespace, snapshot.unwrap_or_default());
            }
        }
    }

    /// What the file of PodVolumeBackups tells.
    pub(super) fn add_pod_volume_backups(&mut self, backups: &[PodVolumeBackup]) {
        for backup in backups {
            let (spec, status) = (&backup.spec, backup.status.clone().unwrap_or_default());
            let namespace = spec.pod.namespace.as_deref().unwrap_or_default();
            if status.snapshot_id.is_empty() || spec.uploader_type == Some(UploaderType::Kopia) {
                self.add(namespace, &status.snapshot_id);
            } else {
                let pod = spec.pod.name.as_deref().unwrap_or_default();
                self.cannot_go.push(not_kopia(&spec.volume, namespace, pod));
            }
        }
    }

    /// What the file of native snapshots tells: `{"spec": {"persistentVolumeName": …}, "status": {"providerSnapshotID": …}}`.
    pub(super) fn add_native(&mut self, snapshots: &[Value]) {
        let text = |snapshot: &Value, at: &str| {
            let text = snapshot.pointer(at).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        for snapshot in snapshots {
            if !text(snapshot, "/status/providerSnapshotID").is_empty() {
                let volume = text(snapshot, "/spec/persistentVolumeName");
                self.cannot_go.push(native(&volume, ""));
            }
        }
    }
}

/// Whether the tarball has to be asked: the volume info is missing, or was written before a movement had ended.
pub(super) fn asks_tarball(volumes: Option<&[BackupVolumeInfo]>) -> bool {
    let open = |volume: &BackupVolumeInfo| {
        volume.snapshot_data_movement_info.as_ref().is_some_and(|moved| {
            let ended = matches!(&*moved.phase, "Failed" | "Canceled");
            is_built_in(&moved.data_mover) && moved.snapshot_handle.is_empty() && !ended
        })
    };
    volumes.is_none_or(|volumes| volumes.iter().any(open))
}

/// Whether the data is in our repositories. Another data mover's data is its own to delete (`examples/custom-data-mover`),
/// as in Velero, whose delete action passes over it.
pub(super) fn is_built_in(data_mover: &str) -> bool {
    matches!(data_mover, "" | "velero")
}

/// A native snapshot that failed has no handle.
fn has_no_snapshot(volume: &BackupVolumeInfo) -> bool {
    let native = volume.native_snapshot_info.as_ref();
    volume.result == VolumeResult::Failed && native.is_none_or(|native| native.snapshot_handle.is_empty())
}

/// Where nothing is said, Velero means restic.
fn is_kopia(uploader: &str) -> bool {
    uploader == "kopia"
}

fn native(volume: &str, claim: &str) -> String {
    format!(
        "the native snapshot of volume {volume}{claim} is in the storage system, and this version cannot delete it: delete the backup with Velero, or the snapshot by hand and then backups/<name>/ in the bucket"
    )
}

fn not_kopia(volume: &str, namespace: &str, pod: &str) -> String {
    format!(
        "volume {volume} of pod {namespace}/{pod} was saved by restic, whose repositories this version cannot open: delete the backup with a Velero that has restic, or the snapshot by restic and then backups/<name>/ in the bucket"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn volumes(json: Value) -> Vec<BackupVolumeInfo> {
        serde_json::from_value(json).unwrap()
    }

    fn upload(namespace: &str, id: &str, mover: &str) -> DataUpload {
        let json = json!({"metadata": {"name": "u"}, "spec": {"sourceNamespace": namespace, "datamover": mover},
            "status": {"snapshotID": id}});
        serde_json::from_value(json).unwrap()
    }

    fn moved(namespace: &str, handle: &str, mover: &str, phase: &str) -> Value {
        json!({"pvcNamespace": namespace, "backupMethod": "CSISnapshot", "snapshotDataMoved": true,
            "snapshotDataMovementInfo": {"snapshotHandle": handle, "dataMover": mover, "uploaderType": "kopia",
                "operationID": "du-1", "size": 1, "Phase": phase}})
    }

    #[test]
    fn each_snapshot_is_found_once_by_volume_info_or_upload() {
        let mut found = InRepositories::default();
        found.add_volumes(&volumes(json!([
            moved("shop", "a1", "velero", "Completed"),
            {"pvcNamespace": "shop", "skipped": true},
            moved("bank", "", "velero", "Failed"),
        ])));
        found.add_uploads(&[upload("shop", "a1", ""), upload("shop", "a2", "velero")]);
        let shop = BTreeSet::from(["a1".to_owned(), "a2".to_owned()]);
        assert_eq!(found.snapshots, [("shop".to_owned(), shop)].into());
        assert!(found.cannot_go.is_empty());
    }

    #[test]
    fn what_another_data_mover_has_saved_is_not_looked_for_in_our_repositories() {
        let mut found = InRepositories::default();
        found.add_volumes(&volumes(json!([moved(
            "shop",
            "/folder/shop.tar",
            "tar-mover",
            "Completed"
        )])));
        found.add_uploads(&[upload("shop", "/folder/shop.tar", "tar-mover")]);
        assert!(found.snapshots.is_empty() && found.cannot_go.is_empty());
    }

    #[test]
    fn a_native_snapshot_stops_the_deletion() {
        let mut found = InRepositories::default();
        found.add_volumes(&volumes(json!([
            {"pvName": "pv1", "backupMethod": "CSISnapshot"},
            {"pvName": "pv2", "backupMethod": "NativeSnapshot"},
            {"pvName": "pv3", "backupMethod": "PodVolumeBackup"},
            {"pvName": "failed", "backupMethod": "NativeSnapshot", "result": "failed"},
        ])));
        found.add_native(&[
            json!({"spec": {"persistentVolumeName": "pv4"}, "status": {"providerSnapshotID": "snap-1"}}),
            json!({"spec": {"persistentVolumeName": "failed"}, "status": {}}),
        ]);
        assert_eq!(found.cannot_go.len(), 2, "{:?}", found.cannot_go);
        assert!(found.cannot_go[0].contains("pv2") && found.cannot_go[1].contains("pv4"));
    }

    #[test]
    fn volumes_saved_through_their_pods_are_forgotten_where_kopia_saved_them_and_refused_where_restic_did() {
        let mut found = InRepositories::default();
        let through_pod = |snapshot: &str, uploader: &str| {
            json!({"backupMethod": "PodVolumeBackup", "pvbInfo": {"snapshotHandle": snapshot, "uploaderType": uploader,
                "volumeName": "data", "podName": "web", "podNamespace": "shop", "Phase": "Completed"}})
        };
        found.add_volumes(&volumes(json!([
            through_pod("k1", "kopia"),
            through_pod("r1", "restic"),
            through_pod("", "restic")
        ])));
        let backup = |snapshot: &str, uploader: Value| -> PodVolumeBackup {
            serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"snapshotID": snapshot},
                "spec": {"pod": {"namespace": "shop", "name": "web"}, "volume": "data", "uploaderType": uploader}}))
            .unwrap()
        };
        found.add_pod_volume_backups(&[backup("k2", json!("kopia")), backup("r2", json!(null))]);
        let shop = BTreeSet::from(["k1".to_owned(), "k2".to_owned()]);
        assert_eq!(found.snapshots, [("shop".to_owned(), shop)].into());
        assert_eq!(found.cannot_go.len(), 2, "{:?}", found.cannot_go);
        assert!(found.cannot_go[0].contains("pod shop/web") && found.cannot_go[0].contains("restic"));
    }

    #[test]
    fn the_tarball_is_asked_only_where_the_volume_info_leaves_something_open() {
        let said = |json: Value| asks_tarball(Some(&volumes(json!([json]))));
        assert!(asks_tarball(None));
        assert!(!asks_tarball(Some(&[])));
        assert!(!said(moved("shop", "a1", "velero", "Completed")));
        assert!(!said(moved("shop", "", "velero", "Failed")));
        assert!(!said(moved("shop", "", "tar-mover", "InProgress")));
        assert!(said(moved("shop", "", "velero", "InProgress")));
    }
}
