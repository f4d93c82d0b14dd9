//! How the backup saved each claim's volume: `<backup>-volumeinfo.json.gz` by claim and by volume
//! (velero-behaviour.md 2.3). Reads only the members that the restore decides by. Where it says nothing: [`older`].

pub mod older;

use caravel_api::labels;
use caravel_backup_store::volume_info::{BackupVolumeInfo, VolumeMethod};
use serde_json::Value;

use crate::metadata::annotation;
use crate::volumes::Saved;

fn saved(volume: &BackupVolumeInfo) -> Saved {
    if volume.skipped {
        return Saved::Not;
    }
    match volume.backup_method {
        _ if volume.snapshot_data_moved => Saved::Moved,
        VolumeMethod::CsiSnapshot => Saved::Snapshot,
        VolumeMethod::NativeSnapshot => Saved::Unsupported("a native snapshot"),
        VolumeMethod::PodVolumeBackup => Saved::Unsupported("file system backup"),
        _ => Saved::Not,
    }
}

/// All of a backup.
#[derive(Clone, Debug, Default)]
pub struct SavedVolumes {
    volumes: Vec<BackupVolumeInfo>,
}

impl From<Vec<BackupVolumeInfo>> for SavedVolumes {
    fn from(volumes: Vec<BackupVolumeInfo>) -> Self {
        Self { volumes }
    }
}

impl SavedVolumes {
    /// How a claim's volume was saved. The claim's own annotations count where the file is missing.
    pub fn of_claim(&self, namespace: &str, name: &str, claim: &Value) -> Saved {
        if annotation(claim, labels::DATA_UPLOAD_NAME).is_some() {
            return Saved::Moved;
        }
        let found = self
            .volumes
            .iter()
            .find(|volume| volume.pvc_namespace == namespace && volume.pvc_name == name);
        let by_annotation = || match annotation(claim, labels::VOLUME_SNAPSHOT_NAME) {
            Some(_) => Saved::Snapshot,
            None => Saved::Not,
        };
        found.map_or_else(by_annotation, saved)
    }

    /// How a volume was saved.
    pub fn of_volume(&self, name: &str) -> Saved {
        self.volumes
            .iter()
            .find(|volume| volume.pv_name == name)
            .map_or(Saved::Not, saved)
    }

    /// The volumes of a pod that were saved through it and that no claim holds. Of a claim's it is said where the claim is
    /// restored.
    pub fn of_pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
        let own = self
            .volumes
            .iter()
            .filter(|volume| volume.pvc_name.is_empty() && !volume.skipped);
        own.filter_map(|volume| volume.pvb_info.as_ref())
            .filter(move |saved| saved.pod_namespace == namespace && saved.pod_name == name)
            .map(|saved| saved.volume_name.as_str())
    }

    /// All that the backup says about a claim's old volume.
    pub fn info(&self, namespace: &str, claim: &str) -> Option<&BackupVolumeInfo> {
        self.volumes
            .iter()
            .find(|volume| volume.pvc_namespace == namespace && volume.pvc_name == claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_method_of_the_volume_info_is_known() {
        let volumes = serde_json::from_value::<Vec<BackupVolumeInfo>>(
            json!([
                {"pvcName": "a", "pvcNamespace": "s", "pvName": "pv-a", "backupMethod": "CSISnapshot", "snapshotDataMoved": true,
                    "pvInfo": {"reclaimPolicy": "Delete", "labels": null}},
                {"pvcName": "b", "pvcNamespace": "s", "pvName": "pv-b", "backupMethod": "CSISnapshot", "snapshotDataMoved": false},
                {"pvcName": "c", "pvcNamespace": "s", "backupMethod": "PodVolumeBackup"},
                {"pvcName": "d", "pvcNamespace": "s", "skipped": true},
            ])
        )
        .map(SavedVolumes::from)
        .unwrap();
        let claim = json!({});
        assert_eq!(volumes.of_claim("s", "a", &claim), Saved::Moved);
        assert_eq!(volumes.of_volume("pv-a"), Saved::Moved);
        assert_eq!(volumes.of_claim("s", "b", &claim), Saved::Snapshot);
        assert!(matches!(
            volumes.of_claim("s", "c", &claim),
            Saved::Unsupported(_)
        ));
        assert_eq!(volumes.of_claim("s", "d", &claim), Saved::Not);
        assert_eq!(volumes.of_claim("s", "unknown", &claim), Saved::Not);
        assert_eq!(
            volumes
                .info("s", "a")
                .and_then(|info| Some(info.pv_info.as_ref()?.reclaim_policy.as_str())),
            Some("Delete")
        );
    }

    #[test]
    fn volumes_saved_through_a_pod_are_the_pod_s_unless_a_claim_holds_them() {
        let through = |pod: &str, claim: &str, volume: &str| {
            json!({"pvcName": claim, "backupMethod": "PodVolumeBackup",
                "pvbInfo": {"podNamespace": "s", "podName": pod, "volumeName": volume}})
        };
        let saved: Vec<BackupVolumeInfo> = serde_json::from_value(json!([
            through("web", "", "cache"),
            through("web", "data", "data"),
            through("db", "", "scratch")
        ]))
        .unwrap();
        let saved = SavedVolumes::from(saved);
        assert_eq!(saved.of_pod("s", "web").collect::<Vec<_>>(), ["cache"]);
        assert_eq!(saved.of_pod("t", "web").count(), 0);
    }

    #[test]
    fn a_claim_that_names_its_upload_or_snapshot_counts_as_saved_without_volume_info() {
        let claim = json!({"metadata": {"annotations": {"velero.io/data-upload-name": "velero/b1-x"}}});
        assert_eq!(SavedVolumes::default().of_claim("s", "a", &claim), Saved::Moved);
        let claim = json!({"metadata": {"annotations": {"velero.io/volume-snapshot-name": "velero-a-x"}}});
        assert_eq!(
            SavedVolumes::default().of_claim("s", "a", &claim),
            Saved::Snapshot
        );
    }
}
