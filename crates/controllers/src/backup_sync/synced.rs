//! Which VolumeSnapshotContents a cluster lacks of the backups that a bucket has, and which it has too many. Pure. As Velero
//! 1.7 (`pkg/controller/backup_sync_controller.go`), with differences: the content stands for the snapshot by its handle (there
//! the object of the other cluster is made again as it was), it never says anything but `Retain`, and it is made only where a
//! driver looks at it.

use std::collections::{BTreeMap, BTreeSet};

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupPhase};
use caravel_csi::{DeletionPolicy, VolumeSnapshotClass, VolumeSnapshotContent, in_storage};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;

use crate::cancel;
use crate::snapshot_objects::MARK;

/// A snapshot in a storage: driver and handle.
pub(super) type Snapshot = (String, String);

/// What there is to do for one backup.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Contents to make.
    pub(super) create: Vec<VolumeSnapshotContent>,
    /// Drivers without which the others are not made.
    pub(super) waits_for: BTreeSet<String>,
}

/// True of a backup of this location whose snapshots have their contents in each cluster: it ended, and nobody takes it away.
/// `was_brought`: it came from the bucket just now; what an old Velero wrote does not say how many snapshots there are.
pub(super) fn has_contents(
    backup: &Backup,
    location: &str,
    in_bucket: &BTreeSet<String>,
    was_brought: bool,
) -> bool {
    let status = backup.status.clone().unwrap_or_default();
    let ended = matches!(
        status.phase,
        Some(BackupPhase::Completed | BackupPhase::PartiallyFailed)
    );
    let has_snapshots = was_brought || status.csi_volume_snapshots_attempted > 0;
    backup.spec.storage_location == location
        && ended
        && has_snapshots
        && backup.metadata.deletion_timestamp.is_none()
        && in_bucket.contains(&backup.name_any())
        && cancel::wished_by(backup).is_none()
}

/// Decides for one backup. `saved`: the contents of its file that are its own; `has`: the snapshots of which the cluster has
/// an object of this backup; `classes`: VolumeSnapshotClass of each driver; `namespace`: Velero's.
pub(super) fn plan(
    backup: &Backup,
    saved: &[VolumeSnapshotContent],
    has: &BTreeSet<Snapshot>,
    classes: &BTreeMap<String, String>,
    namespace: &str,
) -> Plan {
    let mut plan = Plan::default();
    let mut done = has.clone();
    for content in saved {
        // One that never had a handle stands for nothing.
        let Some(handle) = content.handle() else { continue };
        let driver = &content.spec.driver;
        if !done.insert((driver.clone(), handle.to_owned())) {
            continue;
        }
        match classes.get(driver) {
            Some(class) => plan
                .create
                .push(synced(backup, content, handle, class, namespace)),
            None => {
                plan.waits_for.insert(driver.clone());
            }
        }
    }
    plan
}

/// The class of each driver, the first by name.
pub(super) fn by_driver(classes: &[VolumeSnapshotClass]) -> BTreeMap<String, String> {
    let mut names: Vec<_> = classes
        .iter()
        .map(|class| (class.name_any(), &class.driver))
        .collect();
    names.sort();
    let mut by_driver = BTreeMap::new();
    for (name, driver) in names {
        by_driver.entry(driver.clone()).or_insert(name);
    }
    by_driver
}

/// A content that stands for a backup's snapshot in this cluster. It names the VolumeSnapshot that there was, which nothing in
/// this cluster is bound to, so that a user may make that one and look at the snapshot.
fn synced(
    backup: &Backup,
    saved: &VolumeSnapshotContent,
    handle: &str,
    class: &str,
    namespace: &str,
) -> VolumeSnapshotContent {
    let name = name(namespace, backup, &saved.spec.driver, handle);
    let mut content = in_storage::temporary_content(saved, handle, &name);
    let of = &saved.spec.volume_snapshot_ref;
    content.spec.deletion_policy = DeletionPolicy::Retain;
    content.spec.volume_snapshot_class_name = Some(class.to_owned());
    content.spec.volume_snapshot_ref = ObjectReference {
        api_version: Some("snapshot.storage.k8s.io/v1".to_owned()),
        kind: Some("VolumeSnapshot".to_owned()),
        namespace: of.namespace.clone(),
        name: of.name.clone(),
        ..ObjectReference::default()
    };
    // The csi-snapshotter puts its own on: without one nothing waits for a driver that never came.
    content.metadata.finalizers = None;
    content.metadata.labels = Some(labels_of(backup));
    content.annotations_mut().insert(
        labels::SYNCED_BACKUP.to_owned(),
        format!("{namespace}/{}", backup.name_any()),
    );
    content
}

/// By which the deletion of the Backup, as it is in this cluster, finds its contents.
pub(super) fn labels_of(backup: &Backup) -> BTreeMap<String, String> {
    let (mark, marked) = MARK;
    [
        (labels::BACKUP_NAME, labels::label_value(&backup.name_any())),
        (labels::BACKUP_UID, backup.uid().unwrap_or_default()),
        (
            labels::STORAGE_LOCATION,
            labels::label_value(&backup.spec.storage_location),
        ),
        (mark, marked.to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The same for each try, also when the Backup has come into the cluster anew.
fn name(namespace: &str, backup: &Backup, driver: &str, handle: &str) -> String {
    let of = format!("{namespace}/{}/{driver}/{handle}", backup.name_any());
    let digits = labels::name_digest(&of);
    format!("velero-synced-{}", digits.get(..40).unwrap_or(&digits))
}

/// The contents that were synced for backups of this location that neither the bucket nor the cluster has any more: theirs went
/// while they were made, or by `kubectl delete backup`.
pub(super) fn ownerless<'a>(
    contents: &'a [VolumeSnapshotContent],
    location: &str,
    namespace: &str,
    in_cluster: &BTreeSet<String>,
    in_bucket: &BTreeSet<String>,
) -> Vec<(&'a VolumeSnapshotContent, String)> {
    let location = labels::label_value(location);
    let of_location = contents.iter().filter(|content| {
        content.labels().get(labels::STORAGE_LOCATION) == Some(&location)
            && content.metadata.deletion_timestamp.is_none()
    });
    of_location
        .filter_map(|content| {
            let (of, backup) = content
                .annotations()
                .get(labels::SYNCED_BACKUP)?
                .split_once('/')?;
            let is_left = of == namespace && !in_cluster.contains(backup) && !in_bucket.contains(backup);
            is_left.then(|| (content, backup.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DRIVER: &str = "disk.example.com";

    fn backup(status: Value) -> Backup {
        serde_json::from_value(
            json!({"metadata": {"name": "b1", "namespace": "velero", "uid": "here"},
            "spec": {"storageLocation": "default"}, "status": status}),
        )
        .unwrap()
    }

    fn ended() -> Backup {
        backup(json!({"phase": "Completed", "csiVolumeSnapshotsAttempted": 1}))
    }

    /// As the file of the cluster that made it has it, before anybody had patched its policy.
    fn saved(handle: &str) -> VolumeSnapshotContent {
        serde_json::from_value(json!({"metadata": {"name": "snapcontent-1", "uid": "there", "resourceVersion": "7",
                "finalizers": ["f"], "labels": {"velero.io/backup-name": "b1", "velero.io/backup-uid": "there"},
                "annotations": {"snapshot.storage.kubernetes.io/deletion-secret-name": "key",
                    "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted": "yes"}},
            "spec": {"driver": DRIVER, "deletionPolicy": "Delete", "source": {"volumeHandle": "volume-1"},
                "volumeSnapshotClassName": "theirs", "sourceVolumeMode": "Block",
                "volumeSnapshotRef": {"namespace": "shop", "name": "velero-data-x", "uid": "vs", "resourceVersion": "6"}},
            "status": {"snapshotHandle": handle, "readyToUse": true}}))
        .unwrap()
    }

    fn classes() -> BTreeMap<String, String> {
        [(DRIVER.to_owned(), "ours".to_owned())].into()
    }

    #[test]
    fn a_synced_content_stands_for_the_snapshot_and_says_retain_whatever_the_class_said() {
        let plan = plan(
            &ended(),
            &[saved("snap-1")],
            &BTreeSet::new(),
            &classes(),
            "velero",
        );
        let made = serde_json::to_value(&plan.create[0]).unwrap();
        assert_eq!(
            made["spec"],
            json!({"deletionPolicy": "Retain", "driver": DRIVER, "source": {"snapshotHandle": "snap-1"},
                "sourceVolumeMode": "Block", "volumeSnapshotClassName": "ours",
                "volumeSnapshotRef": {"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
                    "namespace": "shop", "name": "velero-data-x"}})
        );
        assert_eq!(
            made["metadata"]["labels"],
            json!({"velero.io/backup-name": "b1", "velero.io/backup-uid": "here",
                "velero.io/storage-location": "default", "velero.io/exclude-from-backup": "true"})
        );
        assert_eq!(
            made["metadata"]["annotations"],
            json!({"snapshot.storage.kubernetes.io/deletion-secret-name": "key", "velero.io/synced-backup": "velero/b1"})
        );
        for field in ["uid", "resourceVersion", "finalizers"] {
            assert!(made["metadata"].get(field).is_none(), "{field}");
        }
        assert!(
            made["metadata"]["name"]
                .as_str()
                .unwrap()
                .starts_with("velero-synced-")
        );
    }

    #[test]
    fn a_content_has_the_same_name_each_time_and_another_snapshot_or_installation_another_one() {
        let named = |handle: &str, namespace: &str| {
            let plan = plan(
                &ended(),
                &[saved(handle)],
                &BTreeSet::new(),
                &classes(),
                namespace,
            );
            plan.create[0].name_any()
        };
        assert_eq!(named("snap-1", "velero"), named("snap-1", "velero"));
        assert_ne!(named("snap-1", "velero"), named("snap-2", "velero"));
        assert_ne!(named("snap-1", "velero"), named("snap-1", "velero-2"));
    }

    #[test]
    fn a_snapshot_that_has_its_object_here_gets_no_other() {
        let has = [(DRIVER.to_owned(), "snap-1".to_owned())].into();
        let plan = plan(
            &ended(),
            &[saved("snap-1"), saved("snap-2"), saved("snap-2"), saved("")],
            &has,
            &classes(),
            "velero",
        );
        let made: Vec<_> = plan.create.iter().map(|content| content.handle()).collect();
        assert_eq!(made, [Some("snap-2")]);
    }

    #[test]
    fn a_driver_without_a_class_is_waited_for() {
        let plan = plan(
            &ended(),
            &[saved("snap-1")],
            &BTreeSet::new(),
            &BTreeMap::new(),
            "velero",
        );
        assert!(plan.create.is_empty());
        assert_eq!(plan.waits_for, [DRIVER.to_owned()].into());
    }

    #[test]
    fn only_a_backup_that_ended_and_that_nobody_takes_away_has_contents() {
        let bucket: BTreeSet<String> = ["b1".to_owned()].into();
        let has = |backup: &Backup| has_contents(backup, "default", &bucket, false);
        assert!(has(&ended()));
        assert!(!has_contents(&ended(), "elsewhere", &bucket, false));
        assert!(!has_contents(&ended(), "default", &BTreeSet::new(), false));
        for phase in ["Deleting", "Failed", "Finalizing", "InProgress"] {
            assert!(
                !has(&backup(json!({"phase": phase, "csiVolumeSnapshotsAttempted": 1}))),
                "{phase}"
            );
        }
        let mut canceled = ended();
        canceled
            .annotations_mut()
            .insert(cancel::CANCEL.to_owned(), "alice".to_owned());
        assert!(
            !has(&canceled),
            "nothing of a canceled backup is left in a cluster"
        );
        let silent = backup(json!({"phase": "Completed"}));
        assert!(!has(&silent));
        assert!(
            has_contents(&silent, "default", &bucket, true),
            "an old Velero's backup does not tell of its snapshots"
        );
    }

    #[test]
    fn only_what_this_installation_has_synced_of_this_location_can_be_without_its_backup() {
        let all = plan(
            &ended(),
            &[saved("snap-1")],
            &BTreeSet::new(),
            &classes(),
            "velero",
        )
        .create;
        let names = |location: &str, namespace: &str, cluster: &[&str], bucket: &[&str]| {
            let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let found = ownerless(&all, location, namespace, &set(cluster), &set(bucket));
            found.into_iter().map(|(_, backup)| backup).collect::<Vec<_>>()
        };
        assert_eq!(names("default", "velero", &[], &[]), ["b1"]);
        assert!(names("default", "velero", &["b1"], &[]).is_empty());
        assert!(names("default", "velero", &[], &["b1"]).is_empty());
        assert!(names("elsewhere", "velero", &[], &[]).is_empty());
        assert!(names("default", "another", &[], &[]).is_empty());
        assert!(
            ownerless(
                &[saved("snap-1")],
                "default",
                "velero",
                &BTreeSet::new(),
                &BTreeSet::new()
            )
            .is_empty()
        );
    }

    #[test]
    fn of_several_classes_of_a_driver_the_first_by_name_is_used() {
        let class = |name: &str, driver: &str| VolumeSnapshotClass {
            metadata: kube::api::ObjectMeta {
                name: Some(name.to_owned()),
                ..Default::default()
            },
            driver: driver.to_owned(),
            ..VolumeSnapshotClass::default()
        };
        let found = by_driver(&[class("b", DRIVER), class("a", DRIVER), class("c", "other")]);
        assert_eq!(found[DRIVER], "a");
        assert_eq!(found["other"], "c");
    }
}
