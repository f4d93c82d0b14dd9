//! How volumes were saved of which the backup's volume info says nothing: all of a backup of Velero before 1.13, which has
//! none, and single ones of a later backup. Their claims, DataUploads and VolumeSnapshots in the tarball and three older
//! files beside it say it then, as in Velero 1.18.3 (`hasSnapshot`, `hasPodVolumeBackup`, `hasCSIVolumeSnapshot`,
//! `hasSnapshotDataUpload` of `pkg/restore/restore.go`).
//!
//! It matters for volumes with the reclaim policy `Retain`: one that counts as not saved is created again as it was, and
//! its claim is bound to what the storage holds today, in place of what was backed up.

use std::collections::{BTreeMap, BTreeSet};

use caravel_api::labels;
use caravel_backup_store::volume_info::{BackupVolumeInfo, PodVolumeInfo, VolumeMethod};
use serde_json::Value;

use crate::contents::BackupContents;
use crate::group_resource::{GroupResource, known};
use crate::metadata::annotation;

/// Names the claim of a PodVolumeBackup's volume. Velero's `PVCNameAnnotation`.
const CLAIM_OF_POD_VOLUME: &str = "velero.io/pvc-name";

/// The files beside the tarball that say how volumes were saved; each may be missing.
#[derive(Clone, Debug, Default)]
pub struct OlderFiles {
    /// `<backup>-volumesnapshots.json.gz`: `{"spec": {"persistentVolumeName": …}, "status": {"providerSnapshotID": …}}`.
    pub native_snapshots: Vec<Value>,
    /// `<backup>-podvolumebackups.json.gz`: PodVolumeBackups.
    pub pod_volume_backups: Vec<Value>,
    /// `<backup>-csi-volumesnapshots.json.gz`: VolumeSnapshots.
    pub csi_snapshots: Vec<Value>,
}

/// A claim, or a volume, that the volume info does not name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsaid {
    /// Of the claim; empty for a volume that no claim holds.
    namespace: String,
    claim: String,
    volume: String,
    /// The claim names its DataUpload, or one in the tarball names the claim.
    moved: bool,
    /// A VolumeSnapshot in the tarball is of this claim.
    snapshot: bool,
}

impl Unsaid {
    fn of(namespace: &str, claim: &str, volume: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            claim: claim.to_owned(),
            volume: volume.to_owned(),
            moved: false,
            snapshot: false,
        }
    }
}

/// The bound claims and the volumes of the backup that `said` does not name. What cannot be read is passed over: its own
/// restore says what is wrong with it.
pub fn unsaid(said: &[BackupVolumeInfo], contents: &BackupContents) -> Vec<Unsaid> {
    let claims: BTreeSet<(&str, &str)> = said
        .iter()
        .map(|info| (&*info.pvc_namespace, &*info.pvc_name))
        .collect();
    let volumes: BTreeSet<&str> = said.iter().map(|info| &*info.pv_name).collect();
    let mut found = Vec::new();
    let mut held = BTreeSet::new();
    each_object(
        contents,
        known::PERSISTENT_VOLUME_CLAIMS,
        |namespace, name, claim| {
            let volume = text(claim, "/spec/volumeName");
            if !volume.is_empty() && !claims.contains(&(namespace, name)) {
                held.insert(volume.to_owned());
                found.push(Unsaid {
                    moved: annotation(claim, labels::DATA_UPLOAD_NAME).is_some(),
                    ..Unsaid::of(namespace, name, volume)
                });
            }
        },
    );
    each_object(contents, known::PERSISTENT_VOLUMES, |_, name, volume| {
        let namespace = text(volume, "/spec/claimRef/namespace");
        let claim = text(volume, "/spec/claimRef/name");
        let is_said = volumes.contains(name) || claims.contains(&(namespace, claim));
        if !is_said && !held.contains(name) {
            found.push(Unsaid::of(namespace, claim, name));
        }
    });
    if !found.is_empty() {
        look_into(contents, &mut found);
    }
    found
}

/// What DataUploads and VolumeSnapshots of the tarball say.
fn look_into(contents: &BackupContents, unsaid: &mut [Unsaid]) {
    let mut by_claim: BTreeMap<(String, String), &mut Unsaid> = unsaid
        .iter_mut()
        .map(|one| ((one.namespace.clone(), one.claim.clone()), one))
        .collect();
    each_object(contents, known::DATA_UPLOADS, |_, _, upload| {
        let claim = (
            text(upload, "/spec/sourceNamespace"),
            text(upload, "/spec/sourcePVC"),
        );
        if let Some(one) = by_claim.get_mut(&(claim.0.to_owned(), claim.1.to_owned())) {
            one.moved = true;
        }
    });
    each_object(contents, known::VOLUME_SNAPSHOTS, |namespace, _, snapshot| {
        // One without a backup's name is the user's own, and Velero would not restore from it.
        let labels = snapshot.pointer("/metadata/labels");
        if labels
            .and_then(|labels| labels.get(labels::BACKUP_NAME))
            .is_none()
        {
            return;
        }
        let claim = source_claim(snapshot).to_owned();
        if let Some(one) = by_claim.get_mut(&(namespace.to_owned(), claim)) {
            one.snapshot = true;
        }
    });
}

/// `said`, and what the older files and the tarball say about the others. A volume of which nothing is known was not saved.
pub fn completed(
    mut said: Vec<BackupVolumeInfo>,
    unsaid: &[Unsaid],
    files: &OlderFiles,
) -> Vec<BackupVolumeInfo> {
    said.extend(unsaid.iter().filter_map(|one| {
        let (method, moved) = method_of(one, files)?;
        Some(BackupVolumeInfo {
            pvc_name: one.claim.clone(),
            pvc_namespace: one.namespace.clone(),
            pv_name: one.volume.clone(),
            backup_method: method,
            snapshot_data_moved: moved,
            ..BackupVolumeInfo::default()
        })
    }));
    said
}

/// Volumes that were saved through their pods and that no claim holds, of a backup without volume info.
pub fn of_pods(pod_volume_backups: &[Value]) -> Vec<BackupVolumeInfo> {
    let own = pod_volume_backups
        .iter()
        .filter(|backup| is_restorable(backup) && annotation(backup, CLAIM_OF_POD_VOLUME).is_none());
    own.map(|backup| BackupVolumeInfo {
        backup_method: VolumeMethod::PodVolumeBackup,
        pvb_info: Some(PodVolumeInfo {
            snapshot_handle: text(backup, "/status/snapshotID").to_owned(),
            volume_name: text(backup, "/spec/volume").to_owned(),
            pod_name: text(backup, "/spec/pod/name").to_owned(),
            pod_namespace: text(backup, "/spec/pod/namespace").to_owned(),
            ..PodVolumeInfo::default()
        }),
        ..BackupVolumeInfo::default()
    })
    .collect()
}

/// How one volume was saved, and whether its data was moved; in Velero's order.
fn method_of(one: &Unsaid, files: &OlderFiles) -> Option<(VolumeMethod, bool)> {
    if has_native_snapshot(&one.volume, &files.native_snapshots) {
        return Some((VolumeMethod::NativeSnapshot, false));
    }
    if one.claim.is_empty() {
        return None;
    }
    if has_pod_volume_backup(&one.namespace, &one.claim, &files.pod_volume_backups) {
        return Some((VolumeMethod::PodVolumeBackup, false));
    }
    let snapshot = one.snapshot || has_csi_snapshot(&one.namespace, &one.claim, &files.csi_snapshots);
    (one.moved || snapshot).then_some((VolumeMethod::CsiSnapshot, one.moved))
}

fn has_native_snapshot(volume: &str, snapshots: &[Value]) -> bool {
    snapshots
        .iter()
        .any(|snapshot| text(snapshot, "/spec/persistentVolumeName") == volume)
}

/// Only a backup that ended well, with a snapshot to restore from.
fn is_restorable(backup: &Value) -> bool {
    text(backup, "/status/phase") == "Completed" && !text(backup, "/status/snapshotID").is_empty()
}

pub(crate) fn has_pod_volume_backup(namespace: &str, claim: &str, backups: &[Value]) -> bool {
    backups.iter().any(|backup| {
        is_restorable(backup)
            && text(backup, "/spec/pod/namespace") == namespace
            && annotation(backup, CLAIM_OF_POD_VOLUME) == Some(claim)
    })
}

pub(crate) fn has_csi_snapshot(namespace: &str, claim: &str, snapshots: &[Value]) -> bool {
    !claim.is_empty()
        && snapshots.iter().any(|snapshot| {
            text(snapshot, "/metadata/namespace") == namespace && source_claim(snapshot) == claim
        })
}

fn source_claim(snapshot: &Value) -> &str {
    text(snapshot, "/spec/source/persistentVolumeClaimName")
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn each_object(contents: &BackupContents, resource: &str, mut see: impl FnMut(&str, &str, &Value)) {
    let resource = GroupResource::parse(resource);
    for (namespace, names) in contents.names(&resource).into_iter().flatten() {
        for name in names {
            if let Ok(object) = contents.object(&resource, namespace, name) {
                see(namespace, name, &object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saved_volumes::SavedVolumes;
    use crate::volumes::{Saved, VolumeDecision, decide_volume};
    use serde_json::json;

    /// A backup with these objects below `resources`.
    fn backup(objects: &[(&str, Value)]) -> (tempfile::TempDir, BackupContents) {
        let folder = tempfile::tempdir().unwrap();
        for (path, object) in objects {
            let file = folder.path().join("resources").join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, object.to_string()).unwrap();
        }
        let contents = BackupContents::read(folder.path()).unwrap();
        (folder, contents)
    }

    fn retained_volume() -> Value {
        json!({"spec": {"persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "shop", "name": "data"}}})
    }

    fn claim(annotations: &Value) -> Value {
        json!({"metadata": {"name": "data", "namespace": "shop", "annotations": annotations}, "spec": {"volumeName": "pv-1"}})
    }

    const CLAIM: &str = "persistentvolumeclaims/namespaces/shop/data.json";
    const VOLUME: &str = "persistentvolumes/cluster/pv-1.json";

    #[test]
    fn a_retained_volume_of_a_backup_without_volume_info_does_not_come_back_with_the_data_of_today() {
        let upload = json!({"spec": {"sourceNamespace": "shop", "sourcePVC": "data"}});
        let snapshot = json!({"metadata": {"namespace": "shop", "labels": {"velero.io/backup-name": "b1"}},
            "spec": {"source": {"persistentVolumeClaimName": "data"}}});
        let named = json!({"velero.io/data-upload-name": "velero/b1-x"});
        let nothing = OlderFiles::default();
        let native = OlderFiles {
            native_snapshots: vec![json!({"spec": {"persistentVolumeName": "pv-1"}})],
            ..OlderFiles::default()
        };
        let of_pod = OlderFiles {
            pod_volume_backups: vec![json!({
                "metadata": {"annotations": {"velero.io/pvc-name": "data"}}, "spec": {"pod": {"namespace": "shop"}},
                "status": {"phase": "Completed", "snapshotID": "k1"}})],
            ..OlderFiles::default()
        };
        let csi = OlderFiles {
            csi_snapshots: vec![snapshot.clone()],
            ..OlderFiles::default()
        };
        let plain = || vec![(CLAIM, claim(&json!({}))), (VOLUME, retained_volume())];
        let with = |path, object: &Value| [plain(), vec![(path, object.clone())]].concat();
        let upload_in_tarball = with("datauploads.velero.io/namespaces/velero/b1-x.json", &upload);
        let snapshot_in_tarball = with(
            "volumesnapshots.snapshot.storage.k8s.io/namespaces/shop/s.json",
            &snapshot,
        );
        let annotated = vec![(CLAIM, claim(&named)), (VOLUME, retained_volume())];
        for (how, objects, files, moved) in [
            ("the claim names its upload", annotated, &nothing, true),
            ("an upload names the claim", upload_in_tarball, &nothing, true),
            ("a snapshot in the tarball", snapshot_in_tarball, &nothing, false),
            ("a snapshot in its file", plain(), &csi, false),
            ("a native snapshot", plain(), &native, false),
            ("file system backup", plain(), &of_pod, false),
        ] {
            let (_folder, contents) = backup(&objects);
            let unsaid = unsaid(&[], &contents);
            let saved = SavedVolumes::from(completed(Vec::new(), &unsaid, files));
            let of_volume = saved.of_volume("pv-1");
            assert_eq!(of_volume == Saved::Moved, moved, "{how}");
            assert_eq!(
                saved.of_claim("shop", "data", &json!({})),
                of_volume,
                "{how}: claim and volume agree"
            );
            let decided = decide_volume(&retained_volume(), of_volume);
            assert!(matches!(decided, VolumeDecision::Leave(_)), "{how}: {decided:?}");
        }
    }

    #[test]
    fn a_retained_volume_that_nothing_saved_comes_back_as_it_was() {
        let by_hand = json!({"metadata": {"namespace": "shop"}, "spec": {"source": {"persistentVolumeClaimName": "data"}}});
        let (_folder, contents) = backup(&[
            (CLAIM, claim(&json!({}))),
            (VOLUME, retained_volume()),
            (
                "volumesnapshots.snapshot.storage.k8s.io/namespaces/shop/by-hand.json",
                by_hand,
            ),
        ]);
        let unsaid = unsaid(&[], &contents);
        assert_eq!(unsaid.len(), 1);
        let other = OlderFiles {
            native_snapshots: vec![json!({"spec": {"persistentVolumeName": "pv-2"}})],
            pod_volume_backups: vec![json!({
                "metadata": {"annotations": {"velero.io/pvc-name": "data"}}, "spec": {"pod": {"namespace": "shop"}},
                "status": {"phase": "Failed"}})],
            csi_snapshots: vec![json!({"metadata": {"namespace": "shop"}, "spec": {"source": {}}})],
        };
        let saved = SavedVolumes::from(completed(Vec::new(), &unsaid, &other));
        let decided = decide_volume(&retained_volume(), saved.of_volume("pv-1"));
        assert_eq!(decided, VolumeDecision::RestoreAsIs);
    }

    #[test]
    fn what_the_volume_info_says_is_not_asked_again() {
        let named = json!({"velero.io/data-upload-name": "velero/b1-x"});
        let (_folder, contents) = backup(&[(CLAIM, claim(&named)), (VOLUME, retained_volume())]);
        let said = BackupVolumeInfo {
            pvc_namespace: "shop".into(),
            pvc_name: "data".into(),
            pv_name: "pv-1".into(),
            skipped: true,
            ..BackupVolumeInfo::default()
        };
        assert_eq!(unsaid(&[said], &contents), []);
    }

    #[test]
    fn a_volume_whose_claim_is_not_in_the_backup_is_known_by_its_claim_ref() {
        let (_folder, contents) = backup(&[(VOLUME, retained_volume())]);
        let unsaid = unsaid(&[], &contents);
        let files = OlderFiles {
            csi_snapshots: vec![
                json!({"metadata": {"namespace": "shop"}, "spec": {"source": {"persistentVolumeClaimName": "data"}}}),
            ],
            ..OlderFiles::default()
        };
        let saved = SavedVolumes::from(completed(Vec::new(), &unsaid, &files));
        let decided = decide_volume(&retained_volume(), saved.of_volume("pv-1"));
        assert!(matches!(decided, VolumeDecision::Leave(_)), "{decided:?}");
    }
}
