//! How the backup saved each claim's volume: `<backup>-volumeinfo.json.gz` by claim and by volume
//! (velero-behaviour.md 2.3). Reads only the members that the restore decides by.

use std::collections::BTreeMap;

use caravel_api::labels;
use serde::Deserialize;
use serde_json::Value;

use crate::metadata::annotation;
use crate::volumes::Saved;

/// What the volume info says that matters here.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SavedVolume {
    /// Claim's name; may be empty.
    pub pvc_name: String,
    /// Claim's namespace.
    pub pvc_namespace: String,
    /// Volume's name.
    pub pv_name: String,
    /// `CSISnapshot`, `NativeSnapshot`, `PodVolumeBackup`, or empty when skipped.
    pub backup_method: String,
    /// True when a data mover took it to the bucket.
    pub snapshot_data_moved: bool,
    /// True when nothing saved it.
    pub skipped: bool,
    /// The volume's own settings, for the finalizer.
    pub pv_info: Option<VolumeSettings>,
}

/// What the finalizer gives back to a newly provisioned volume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSettings {
    /// `Delete` or `Retain`.
    pub reclaim_policy: String,
    /// Labels of the old volume; JSON null when it had none.
    pub labels: Option<BTreeMap<String, String>>,
}

impl SavedVolume {
    fn saved(&self) -> Saved {
        match self.backup_method.as_str() {
            _ if self.skipped => Saved::Not,
            _ if self.snapshot_data_moved => Saved::Moved,
            "CSISnapshot" => Saved::Unsupported("a CSI snapshot that stayed in the storage system"),
            "NativeSnapshot" => Saved::Unsupported("a native snapshot"),
            "PodVolumeBackup" => Saved::Unsupported("file system backup"),
            _ => Saved::Not,
        }
    }
}

/// All of a backup.
#[derive(Clone, Debug, Default)]
pub struct SavedVolumes {
    volumes: Vec<SavedVolume>,
}

impl SavedVolumes {
    /// Reads the JSON array; an empty slice (old backups have no such file) is no volumes.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        if json.is_empty() {
            return Ok(Self::default());
        }
        let volumes: Option<Vec<SavedVolume>> = serde_json::from_slice(json)?;
        Ok(Self {
            volumes: volumes.unwrap_or_default(),
        })
    }

    /// How a claim's volume was saved. The claim's own annotation counts where the file is missing.
    pub fn of_claim(&self, namespace: &str, name: &str, claim: &Value) -> Saved {
        if annotation(claim, labels::DATA_UPLOAD_NAME).is_some() {
            return Saved::Moved;
        }
        let found = self
            .volumes
            .iter()
            .find(|volume| volume.pvc_namespace == namespace && volume.pvc_name == name);
        found.map_or(Saved::Not, SavedVolume::saved)
    }

    /// How a volume was saved.
    pub fn of_volume(&self, name: &str) -> Saved {
        self.volumes
            .iter()
            .find(|volume| volume.pv_name == name)
            .map_or(Saved::Not, SavedVolume::saved)
    }

    /// The settings of a claim's old volume.
    pub fn settings(&self, namespace: &str, claim: &str) -> Option<&VolumeSettings> {
        let found = self
            .volumes
            .iter()
            .find(|volume| volume.pvc_namespace == namespace && volume.pvc_name == claim)?;
        found.pv_info.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_method_of_the_volume_info_is_known() {
        let volumes = SavedVolumes::from_json(
            json!([
                {"pvcName": "a", "pvcNamespace": "s", "pvName": "pv-a", "backupMethod": "CSISnapshot", "snapshotDataMoved": true,
                    "pvInfo": {"reclaimPolicy": "Delete", "labels": null}},
                {"pvcName": "b", "pvcNamespace": "s", "pvName": "pv-b", "backupMethod": "CSISnapshot", "snapshotDataMoved": false},
                {"pvcName": "c", "pvcNamespace": "s", "backupMethod": "PodVolumeBackup"},
                {"pvcName": "d", "pvcNamespace": "s", "skipped": true},
            ])
            .to_string()
            .as_bytes(),
        )
        .unwrap();
        let claim = json!({});
        assert_eq!(volumes.of_claim("s", "a", &claim), Saved::Moved);
        assert_eq!(volumes.of_volume("pv-a"), Saved::Moved);
        assert!(matches!(
            volumes.of_claim("s", "b", &claim),
            Saved::Unsupported(_)
        ));
        assert!(matches!(
            volumes.of_claim("s", "c", &claim),
            Saved::Unsupported(_)
        ));
        assert_eq!(volumes.of_claim("s", "d", &claim), Saved::Not);
        assert_eq!(volumes.of_claim("s", "unknown", &claim), Saved::Not);
        assert_eq!(
            volumes
                .settings("s", "a")
                .map(|settings| settings.reclaim_policy.as_str()),
            Some("Delete")
        );
    }

    #[test]
    fn a_claim_that_names_its_upload_counts_as_moved_without_volume_info() {
        let claim = json!({"metadata": {"annotations": {"velero.io/data-upload-name": "velero/b1-x"}}});
        assert_eq!(
            SavedVolumes::from_json(b"").unwrap().of_claim("s", "a", &claim),
            Saved::Moved
        );
    }
}
