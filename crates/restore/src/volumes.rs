//! What becomes of a PersistentVolume, and whether a claim gets its data back (velero-behaviour.md 8.4). Pure.
//!
//! Data comes back from where a DataUpload moved it, or from a CSI snapshot that stayed in the storage. Volumes that another
//! method saved (native snapshot, file system backup) are not restored yet: their claims come back empty, with a warning
//! naming them (guarantee 5).

use caravel_api::labels;
use serde_json::Value;

use crate::metadata::annotation;

/// How the backup saved a volume, from `<backup>-volumeinfo.json.gz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Moved to the bucket by a DataUpload.
    Moved,
    /// By a CSI snapshot that stayed in the storage.
    Snapshot,
    /// By a method that this version does not restore; the word is for the warning.
    Unsupported(&'static str),
    /// Not at all.
    Not,
}

/// What to do with a PersistentVolume of the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeDecision {
    /// Its claim gets a new volume; the reason is logged.
    Leave(&'static str),
    /// Create it as it was, bound to the claim of the same name: its storage still exists.
    RestoreAsIs,
}

/// Decides on a PersistentVolume. Only a volume whose storage outlives it (another policy than `Delete`) and that nothing
/// else saved is created again.
pub fn decide_volume(volume: &Value, saved: Saved) -> VolumeDecision {
    match saved {
        Saved::Moved => return VolumeDecision::Leave("its data was moved; the claim gets a new volume"),
        Saved::Snapshot | Saved::Unsupported(_) => {
            return VolumeDecision::Leave("a snapshot holds its data; the claim gets a new volume");
        }
        Saved::Not => {}
    }
    match volume
        .pointer("/spec/persistentVolumeReclaimPolicy")
        .and_then(Value::as_str)
    {
        Some("Delete") => VolumeDecision::Leave(
            "its reclaim policy is Delete and the backup holds no data; the claim gets a new, empty volume",
        ),
        _ => VolumeDecision::RestoreAsIs,
    }
}

/// Guarantee 5, second half: why the volume of a restored claim will be empty; `None` when its data comes back.
///
/// `volume_comes_back` is true when the claim's volume is restored as is, or still exists in the cluster.
pub fn empty_claim_warning(
    namespace: &str,
    name: &str,
    claim_in_backup: &Value,
    saved: Saved,
    volume_comes_back: bool,
    restore_pvs: Option<bool>,
) -> Option<String> {
    let had_volume = claim_in_backup
        .pointer("/spec/volumeName")
        .and_then(Value::as_str)
        .is_some_and(|v| !v.is_empty());
    if !had_volume {
        // It was never bound: there was nothing to save.
        return None;
    }
    let claim = format!("PersistentVolumeClaim {namespace}/{name} comes back with an empty volume");
    if restore_pvs == Some(false) {
        return Some(format!("{claim}: spec.restorePVs of the restore is false"));
    }
    let has_upload = annotation(claim_in_backup, labels::DATA_UPLOAD_NAME).is_some();
    match saved {
        Saved::Moved => None,
        // Without its name on the claim nothing leads to a snapshot: it is somebody else's.
        Saved::Snapshot if annotation(claim_in_backup, labels::VOLUME_SNAPSHOT_NAME).is_some() => None,
        Saved::Not if has_upload || volume_comes_back => None,
        Saved::Unsupported(method) => Some(format!(
            "{claim}: its data was saved by {method}, which this version does not restore yet"
        )),
        Saved::Snapshot | Saved::Not => Some(format!(
            "{claim}: the backup holds no data of it; back up again with its volume to save it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn volume(policy: &str) -> Value {
        json!({"spec": {"persistentVolumeReclaimPolicy": policy}})
    }

    #[test]
    fn a_volume_comes_back_only_when_its_storage_outlives_it_and_nothing_else_saved_it() {
        for (policy, saved, restored) in [
            ("Retain", Saved::Not, true),
            ("Recycle", Saved::Not, true),
            ("Delete", Saved::Not, false),
            ("Retain", Saved::Moved, false),
            ("Retain", Saved::Snapshot, false),
            ("Delete", Saved::Moved, false),
            ("Retain", Saved::Unsupported("a native snapshot"), false),
        ] {
            let decision = decide_volume(&volume(policy), saved);
            assert_eq!(
                decision == VolumeDecision::RestoreAsIs,
                restored,
                "{policy} {saved:?}"
            );
        }
    }

    #[test]
    fn guarantee_5_a_claim_that_comes_back_empty_is_a_warning_that_names_it() {
        let bound = json!({"spec": {"volumeName": "pv-1"}});
        let pending = json!({"spec": {}});
        let moved = json!({"metadata": {"annotations": {"velero.io/data-upload-name": "velero/b1-x"}}, "spec": {"volumeName": "pv-1"}});
        let warning = |claim: &Value, saved, comes_back, restore_pvs| {
            empty_claim_warning("shop", "data", claim, saved, comes_back, restore_pvs)
        };
        for (what, text) in [
            ("no data saved", warning(&bound, Saved::Not, false, None)),
            (
                "saved in a way we cannot restore",
                warning(&bound, Saved::Unsupported("file system backup"), false, None),
            ),
            (
                "asked to restore no volumes",
                warning(&moved, Saved::Moved, false, Some(false)),
            ),
        ] {
            let text = text.unwrap_or_else(|| panic!("{what}: no warning"));
            assert!(
                text.contains("shop/data") && text.contains("empty"),
                "{what}: {text}"
            );
        }
        assert_eq!(warning(&moved, Saved::Moved, false, None), None);
        let kept = json!({"metadata": {"annotations": {"velero.io/volume-snapshot-name": "velero-data-x"}},
            "spec": {"volumeName": "pv-1"}});
        assert_eq!(warning(&kept, Saved::Snapshot, false, None), None);
        assert!(warning(&kept, Saved::Snapshot, false, Some(false)).is_some());
        assert!(
            warning(&bound, Saved::Snapshot, false, None).is_some(),
            "somebody else's snapshot"
        );
        assert_eq!(
            warning(&moved, Saved::Not, false, None),
            None,
            "an old backup without volume info, but with an upload"
        );
        assert_eq!(
            warning(&bound, Saved::Not, true, None),
            None,
            "its volume is retained"
        );
        assert_eq!(warning(&pending, Saved::Not, false, None), None, "never bound");
    }
}
