//! Whether a volume is saved by a snapshot, through its pod, by somebody else, or not at all (velero-behaviour.md 3.5;
//! upstream `internal/volumehelper`). Pure: PVC, PV and pods are passed in.

use std::collections::BTreeMap;

use caravel_api::labels;
use serde_json::Value;

use crate::cluster::{metadata_entry, name, namespace, text};
use crate::resource_policies::{Action, ActionType, Policies, Volume, parameters_hold};

/// What decides it, for one backup.
#[derive(Clone, Copy, Debug, Default)]
pub struct VolumeChoice<'a> {
    pub policies: Option<&'a Policies>,
    /// `spec.snapshotVolumes`.
    pub snapshot_volumes: Option<bool>,
    /// `spec.defaultVolumesToFsBackup`.
    pub default_to_fs_backup: bool,
    /// PVCs are saved by moving their snapshots, never through their pods (`spec.snapshotMoveData`).
    pub leave_claims: bool,
}

/// A claim has no volume that could be saved, and no policy says that this is well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoVolume {
    #[error("PVC {0} has no volume backing this claim")]
    Unbacked(String),
    #[error("PVC {claim} is in phase {phase} and is not bound to a volume")]
    Unbound { claim: String, phase: String },
    #[error("failed to get PV {volume} for PVC {claim}: it does not exist")]
    Missing { claim: String, volume: String },
    #[error("PVC {0} does not exist")]
    NoClaim(String),
}

/// The volume of a claim. `found`: the PV that it names, if that exists.
///
/// # Errors
/// [`NoVolume`].
pub fn volume_of<'a>(claim: &Value, found: Option<&'a Value>) -> Result<&'a Value, NoVolume> {
    let of = format!("{}/{}", namespace(claim), name(claim));
    let volume = text(claim, "/spec/volumeName");
    if volume.is_empty() {
        return Err(NoVolume::Unbacked(of));
    }
    let phase = text(claim, "/status/phase");
    if phase != "Bound" {
        return Err(NoVolume::Unbound {
            claim: of,
            phase: phase.to_owned(),
        });
    }
    found.ok_or_else(|| NoVolume::Missing {
        claim: of,
        volume: volume.to_owned(),
    })
}

impl<'a> VolumeChoice<'a> {
    /// The action of the first matching policy.
    pub fn action(&self, volume: Volume<'_>) -> Option<&'a Action> {
        self.policies?.action_for(&volume.facts()?)
    }

    /// Whether a claim's volume is snapshotted. `pods`: those that mount the claim.
    ///
    /// # Errors
    /// [`NoVolume`], where no policy decides.
    pub fn snapshot(&self, claim: &Value, found: Option<&Value>, pods: &[Value]) -> Result<bool, NoVolume> {
        let volume = volume_of(claim, found);
        let asked = Volume {
            persistent_volume: volume.as_ref().ok().copied(),
            claim: Some(claim),
            ..Volume::default()
        };
        if let Some(action) = self.action(asked) {
            return Ok(action.kind == ActionType::Snapshot);
        }
        Ok(self.snapshot_without_policy(volume?, pods))
    }

    /// The same, asked of the PV.
    pub fn snapshot_of_volume(&self, volume: &Value, pods: &[Value]) -> bool {
        let asked = Volume {
            persistent_volume: Some(volume),
            ..Volume::default()
        };
        match self.action(asked) {
            Some(action) => action.kind == ActionType::Snapshot,
            None => self.snapshot_without_policy(volume, pods),
        }
    }

    fn snapshot_without_policy(&self, volume: &Value, pods: &[Value]) -> bool {
        let claim = text(volume, "/spec/claimRef/name");
        let through_a_pod = !claim.is_empty()
            && pods.iter().any(|pod| {
                volumes_of(pod).iter().any(|volume| {
                    text(volume, "/persistentVolumeClaim/claimName") == claim && self.selected(volume, pod)
                })
            });
        !through_a_pod && self.snapshot_volumes != Some(false)
    }

    /// Whether a pod's volume is saved through the pod. `claim`: its PVC with the PV that it names.
    ///
    /// # Errors
    /// [`NoVolume`], where there are policies and none decides.
    pub fn fs_backup(
        &self,
        volume: &Value,
        pod: &Value,
        claim: Option<(&Value, Option<&Value>)>,
    ) -> Result<bool, NoVolume> {
        if !self.can_go_through_the_pod(volume) {
            return Ok(false);
        }
        if self.policies.is_some() {
            let claim_name = text(volume, "/persistentVolumeClaim/claimName");
            let claim = match claim {
                None if !claim_name.is_empty() => {
                    return Err(NoVolume::NoClaim(format!("{}/{claim_name}", namespace(pod))));
                }
                claim => claim,
            };
            let found = claim.map(|(claim, found)| volume_of(claim, found));
            let persistent = found.as_ref().and_then(|found| found.as_ref().ok().copied());
            let asked = Volume {
                persistent_volume: persistent,
                pod_volume: Some(volume),
                claim: claim.map(|(claim, _)| claim),
            };
            if let Some(action) = self.action(asked) {
                return Ok(action.kind == ActionType::FsBackup);
            }
            if let Some(found) = found {
                found?;
            }
        }
        Ok(self.selected(volume, pod))
    }

    /// Whether somebody else saves a volume, by a `custom` action with these parameters.
    pub fn custom(&self, volume: Volume<'_>, wanted: &BTreeMap<String, Value>) -> bool {
        let action = self.action(volume);
        action.is_some_and(|action| action.kind == ActionType::Custom && parameters_hold(action, wanted))
    }

    /// Volumes whose data is not the pod's own are never saved through it.
    pub fn can_go_through_the_pod(&self, volume: &Value) -> bool {
        let has = |source: &str| volume.get(source).is_some_and(|value| !value.is_null());
        let never = ["hostPath", "secret", "configMap", "projected", "downwardAPI"];
        let left_to_a_snapshot = self.leave_claims && has("persistentVolumeClaim");
        let token = text(volume, "/name").starts_with("default-token");
        !(token || left_to_a_snapshot || never.into_iter().any(has))
    }

    /// By the pod's annotation: those that it names, or with the default on those that it does not name.
    fn selected(&self, volume: &Value, pod: &Value) -> bool {
        let volume_name = text(volume, "/name");
        let named = |key: &str| {
            let names = metadata_entry(pod, "annotations", key).unwrap_or_default();
            names
                .split(',')
                .any(|name| !name.is_empty() && name == volume_name)
        };
        if self.default_to_fs_backup {
            !named(labels::BACKUP_VOLUMES_EXCLUDES)
        } else {
            named(labels::BACKUP_VOLUMES)
        }
    }
}

fn volumes_of(pod: &Value) -> &[Value] {
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    volumes.map(Vec::as_slice).unwrap_or_default()
}
