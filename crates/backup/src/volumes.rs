//! How each selected volume is saved, or why not (guarantee 5; velero-behaviour.md 4.1, 4.6). Pure.
//!
//! This version saves volumes by CSI snapshots, which stay in the storage or whose data is moved. File system backup and
//! native snapshots are later issues; a Backup that would need one is refused and names the PVC.

use caravel_api::labels;
use caravel_api::v1::BackupSpec;
use serde_json::Value;

use crate::cluster::{metadata_entry, name, namespace, text};
use crate::resource_policies::{ActionType, Policies};
use crate::volume_choice::VolumeChoice;

/// What happens to the data of one PVC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumePlan {
    /// Snapshot by the driver, then moved to the repository.
    Move { driver: String },
    /// Snapshot by the driver, which stays in the storage.
    Snapshot { driver: String },
    /// The Backup says that volumes are not wanted.
    NotWanted,
    /// A volume policy says that this one is not wanted, or that somebody else saves it.
    LeftOut { why: String },
    /// No volume exists yet (an unbound PVC): there is nothing to save, the manifest is; a warning says so.
    NothingYet,
    /// Wanted, and no method would save it: the Backup is refused.
    Unsaved { why: String },
}

/// What decides about volumes, for one backup.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// With all defaults applied.
    pub spec: &'a BackupSpec,
    /// The server's `--features=EnableCSI`.
    pub enable_csi: bool,
    pub policies: Option<&'a Policies>,
}

/// What Velero writes into the volume info of a volume that a policy leaves out.
pub const SKIPPED_BY_POLICY: &str = "skipped due to resource policy ";

fn by_policy(claim: &Value, volume: Option<&Value>, policies: Option<&Policies>) -> Option<ActionType> {
    let choice = VolumeChoice {
        policies,
        ..VolumeChoice::default()
    };
    let asked = crate::resource_policies::Volume {
        persistent_volume: volume,
        claim: Some(claim),
        ..Default::default()
    };
    choice.action(asked).map(|action| action.kind.clone())
}

/// Decides for one PVC. `volume`: its PV, if it has one.
pub fn plan(claim: &Value, volume: Option<&Value>, rules: Rules<'_>) -> VolumePlan {
    let Rules {
        spec,
        enable_csi,
        policies,
    } = rules;
    let policy = by_policy(claim, volume, policies);
    let left_out = |why: &str| VolumePlan::LeftOut { why: why.to_owned() };
    match policy {
        Some(ActionType::Skip) => return left_out(SKIPPED_BY_POLICY),
        Some(ActionType::Custom) => return left_out("left to a custom action of the volume policy"),
        Some(ActionType::FsBackup) => {
            return VolumePlan::Unsaved {
                why: "the volume policy's action for it is fs-backup, which this version does not have yet"
                    .to_owned(),
            };
        }
        Some(ActionType::Snapshot) => {}
        Some(ActionType::Unknown(_)) | None if spec.snapshot_volumes == Some(false) => {
            return VolumePlan::NotWanted;
        }
        Some(ActionType::Unknown(_)) | None => {}
    }
    let volume_name = text(claim, "/spec/volumeName");
    let phase = text(claim, "/status/phase");
    if volume_name.is_empty() || (phase == "Pending" && volume.is_none()) {
        return VolumePlan::NothingYet;
    }
    let unsaved = |why: String| VolumePlan::Unsaved { why };
    let Some(volume) = volume else {
        return unsaved(format!(
            "its PersistentVolume {volume_name} does not exist (phase {phase}); label the claim {}=true to leave it out",
            labels::EXCLUDE_FROM_BACKUP
        ));
    };
    let driver = text(volume, "/spec/csi/driver");
    if driver.is_empty() {
        return unsaved(format!(
            "its volume {volume_name} is not a CSI volume, and this version has no other method yet; {}",
            without_volumes(claim)
        ));
    }
    if !enable_csi {
        return unsaved(format!(
            "the server runs without --features=EnableCSI, so that CSI volumes cannot be snapshotted; turn it on, or {}",
            without_volumes(claim)
        ));
    }
    if text(claim, "/spec/storageClassName").is_empty() {
        return unsaved(format!(
            "it has no storageClassName, without which no volume can be made of its snapshot; {}",
            without_volumes(claim)
        ));
    }
    let group_key = &spec.volume_group_snapshot_label_key;
    if !group_key.is_empty() && metadata_entry(claim, "labels", group_key).is_some() {
        return unsaved(format!(
            "its label {group_key} puts it into a volume group, and this version does not have group snapshots yet; \
             remove the label to have it snapshotted by itself, or {}",
            without_volumes(claim)
        ));
    }
    let driver = driver.to_owned();
    if spec.snapshot_move_data == Some(true) {
        VolumePlan::Move { driver }
    } else {
        VolumePlan::Snapshot { driver }
    }
}

fn without_volumes(claim: &Value) -> String {
    format!(
        "set spec.snapshotVolumes: false on the Backup to do without volumes, or leave this one out: kubectl -n {} label pvc {} {}=true",
        namespace(claim),
        name(claim),
        labels::EXCLUDE_FROM_BACKUP
    )
}

/// Why a pod asks for something that this version does not have: file system backup by annotation. Ignoring it would
/// make a backup that looks whole and is not.
pub fn unsupported_by_annotation(pod: &Value) -> Option<String> {
    let pod_name = format!("pod {}/{}", namespace(pod), name(pod));
    let volumes = metadata_entry(pod, "annotations", labels::BACKUP_VOLUMES).unwrap_or_default();
    (!volumes.is_empty()).then(|| {
        format!(
            "{pod_name} asks for file system backup of {volumes} (annotation {}); this version does not have it yet",
            labels::BACKUP_VOLUMES
        )
    })
}

/// The same where a volume policy asks for it: for volumes that are no claims (`emptyDir`, say). Of claims [`plan`] says it.
pub fn unsupported_by_policy(pod: &Value, policies: Option<&Policies>) -> Vec<String> {
    let choice = VolumeChoice {
        policies,
        leave_claims: true,
        ..VolumeChoice::default()
    };
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    let asked = volumes.into_iter().flatten().filter(|&volume| {
        let is_a_claim = volume.get("ephemeral").is_some();
        let of_pod = crate::resource_policies::Volume {
            pod_volume: Some(volume),
            ..Default::default()
        };
        !is_a_claim
            && choice.can_go_through_the_pod(volume)
            && choice
                .action(of_pod)
                .is_some_and(|action| action.kind == ActionType::FsBackup)
    });
    let said = asked.map(|volume| {
        format!(
            "pod {}/{}: the volume policy's action for its volume {} is fs-backup, which this version does not have yet; take the volume out of the policy's conditions to do without its data",
            namespace(pod),
            name(pod),
            text(volume, "/name")
        )
    });
    said.collect()
}

/// Volumes whose data nobody saves. `unclaimed`: those whose claim is not in the backup. Where the cluster has snapshot
/// locations, Velero would snapshot them natively; nobody shall believe that this happened.
pub fn without_native_snapshot<'a>(
    spec: &BackupSpec,
    unclaimed: impl Iterator<Item = &'a String>,
) -> Vec<&'a String> {
    if spec.volume_snapshot_locations.is_empty() || spec.snapshot_volumes == Some(false) {
        return Vec::new();
    }
    unclaimed.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim() -> Value {
        json!({"metadata": {"name": "data", "namespace": "shop"},
            "spec": {"volumeName": "pv1", "storageClassName": "fast"}, "status": {"phase": "Bound"}})
    }

    fn csi_volume() -> Value {
        json!({"metadata": {"name": "pv1"}, "spec": {"csi": {"driver": "disk.example.com"}}})
    }

    fn moving() -> BackupSpec {
        BackupSpec {
            snapshot_move_data: Some(true),
            ..BackupSpec::default()
        }
    }

    fn rules(spec: &BackupSpec, enable_csi: bool) -> Rules<'_> {
        Rules {
            spec,
            enable_csi,
            policies: None,
        }
    }

    fn policies(action: &str) -> Policies {
        let yaml = format!(
            "version: v1\nvolumePolicies:\n- conditions: {{csi: {{}}}}\n  action: {{type: {action}}}\n"
        );
        Policies::build(crate::resource_policies::Document::read(&yaml).unwrap()).unwrap()
    }

    #[test]
    fn a_volume_policy_decides_before_the_spec() {
        let spec = BackupSpec {
            snapshot_volumes: Some(false),
            ..moving()
        };
        let with = |action: &str| {
            let policies = policies(action);
            let rules = Rules {
                policies: Some(&policies),
                ..rules(&spec, true)
            };
            plan(&claim(), Some(&csi_volume()), rules)
        };
        assert!(matches!(with("skip"), VolumePlan::LeftOut { .. }));
        assert!(matches!(with("custom"), VolumePlan::LeftOut { .. }));
        assert!(matches!(with("snapshot"), VolumePlan::Move { .. }));
        assert!(why(with("fs-backup")).contains("fs-backup"));
    }

    fn why(plan: VolumePlan) -> String {
        match plan {
            VolumePlan::Unsaved { why } => why,
            other => panic!("expected Unsaved, found {other:?}"),
        }
    }

    #[test]
    fn a_bound_csi_volume_is_moved() {
        let plan = plan(&claim(), Some(&csi_volume()), rules(&moving(), true));
        assert_eq!(
            plan,
            VolumePlan::Move {
                driver: "disk.example.com".into()
            }
        );
    }

    #[test]
    fn a_bound_csi_volume_whose_data_is_not_moved_keeps_its_snapshot_in_the_storage() {
        let spec = BackupSpec::default();
        let plan = plan(&claim(), Some(&csi_volume()), rules(&spec, true));
        let driver = "disk.example.com".to_owned();
        assert_eq!(plan, VolumePlan::Snapshot { driver });
    }

    #[test]
    fn guarantee_5_a_volume_that_no_method_saves_is_unsaved_and_says_what_to_do() {
        let hostpath = json!({"metadata": {"name": "pv1"}, "spec": {"hostPath": {"path": "/x"}}});
        assert!(why(plan(&claim(), Some(&hostpath), rules(&moving(), true))).contains("not a CSI volume"));
        assert!(why(plan(&claim(), Some(&csi_volume()), rules(&moving(), false))).contains("EnableCSI"));
        assert!(why(plan(&claim(), None, rules(&moving(), true))).contains("pv1 does not exist"));
    }

    #[test]
    fn guarantee_5_does_not_hold_back_a_backup_that_wants_no_volumes() {
        let spec = BackupSpec {
            snapshot_volumes: Some(false),
            ..BackupSpec::default()
        };
        assert_eq!(plan(&claim(), None, rules(&spec, false)), VolumePlan::NotWanted);
    }

    #[test]
    fn an_unbound_claim_has_nothing_to_save_yet() {
        let mut pending = claim();
        pending["spec"]["volumeName"] = Value::Null;
        pending["status"]["phase"] = "Pending".into();
        assert_eq!(
            plan(&pending, None, rules(&moving(), true)),
            VolumePlan::NothingYet
        );
    }

    #[test]
    fn file_system_backup_by_annotation_is_refused_and_hooks_are_not() {
        let pod = |annotation: &str| json!({"metadata": {"name": "db", "namespace": "shop", "annotations": {annotation: "[\"/bin/sync\"]"}}});
        assert!(unsupported_by_annotation(&pod("backup.velero.io/backup-volumes")).is_some());
        assert!(unsupported_by_annotation(&pod("pre.hook.backup.velero.io/command")).is_none());
    }

    #[test]
    fn a_policy_that_asks_for_file_system_backup_of_a_pod_s_own_volume_is_refused_by_name() {
        let pod = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"volumes": [
            {"name": "cache", "emptyDir": {}}, {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}, {"name": "key", "secret": {"secretName": "key"}}]}});
        let with = |action: &str| {
            let yaml = format!(
                "version: v1\nvolumePolicies:\n- conditions: {{volumeTypes: [emptyDir, secret]}}\n  action: {{type: {action}}}\n"
            );
            Policies::build(crate::resource_policies::Document::read(&yaml).unwrap()).unwrap()
        };
        let said = unsupported_by_policy(&pod, Some(&with("fs-backup")));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains("pod shop/web") && said[0].contains("volume cache"),
            "{said:?}"
        );
        assert!(unsupported_by_policy(&pod, Some(&with("skip"))).is_empty());
        assert!(unsupported_by_policy(&pod, None).is_empty());
    }

    #[test]
    fn a_volume_without_its_claim_is_named_where_velero_would_snapshot_it_natively() {
        let volumes = ["pv1".to_owned()];
        let named = |locations: &[&str], wanted: Option<bool>| {
            let spec = BackupSpec {
                volume_snapshot_locations: locations.iter().map(|name| (*name).to_owned()).collect(),
                snapshot_volumes: wanted,
                ..BackupSpec::default()
            };
            without_native_snapshot(&spec, volumes.iter()).len()
        };
        assert_eq!(named(&["default"], None), 1);
        assert_eq!(named(&["default"], Some(true)), 1);
        assert_eq!(named(&["default"], Some(false)), 0);
        assert_eq!(named(&[], None), 0);
    }
}
