//! What the finalizer does with each restored claim, and how a Restore ends: velero-behaviour.md 8.8. Pure.

use caravel_api::phase::RestorePhase;
use caravel_backup_store::item_operations::RestoreOperation;
use caravel_backup_store::volume_info::PvInfo;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;
use serde_json::{Map, Value, json};

/// Set by the scheduler: the claim's pod has a node, so the volume will come.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// A claim that this Restore created, as it is now.
#[derive(Clone, Debug, Default)]
pub struct ClaimState {
    /// In the cluster.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Labels and reclaim policy of the old volume; `None` when the backup does not know them.
    pub old_volume: Option<PvInfo>,
    /// The claim.
    pub claim: Option<PersistentVolumeClaim>,
    /// Its volume, once bound.
    pub volume: Option<PersistentVolume>,
    /// Its StorageClass waits for a pod.
    pub waits_for_consumer: bool,
    /// Its data could not be brought back.
    pub download_failed: bool,
}

/// What to do with a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimDecision {
    /// Nothing, because of this.
    Leave(&'static str),
    /// It will be bound soon; look again when the claim changes.
    Wait,
    /// The volume is another claim's: an error of the Restore.
    Wrong(String),
    /// Merge-patch its volume.
    PatchVolume { volume: String, patch: Value },
}

/// Decides on a claim.
pub fn decide_claim(state: &ClaimState) -> ClaimDecision {
    let Some(old) = &state.old_volume else {
        return ClaimDecision::Leave("the backup says nothing about its old volume");
    };
    if state.download_failed {
        return ClaimDecision::Leave("its data could not be restored");
    }
    let Some(claim) = &state.claim else {
        return ClaimDecision::Leave("it was deleted");
    };
    let Some(volume) = &state.volume else {
        let has_pod = claim.annotations().contains_key(SELECTED_NODE);
        return if state.waits_for_consumer && !has_pod {
            ClaimDecision::Leave("it waits for its first pod (WaitForFirstConsumer)")
        } else {
            ClaimDecision::Wait
        };
    };
    if let Some(why) = bound_to_another(state, volume) {
        return ClaimDecision::Wrong(why);
    }
    match volume_patch(volume, old) {
        None => ClaimDecision::Leave("its volume is as the old one was"),
        Some(patch) => ClaimDecision::PatchVolume {
            volume: volume.name_any(),
            patch,
        },
    }
}

/// Labels and reclaim policy of one claim's volume must not come to another's.
fn bound_to_another(state: &ClaimState, volume: &PersistentVolume) -> Option<String> {
    let bound_to = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let namespace = bound_to.namespace.as_deref().unwrap_or_default();
    let name = bound_to.name.as_deref().unwrap_or_default();
    (namespace != state.namespace || name != state.name).then(|| {
        format!(
            "fail to patch dynamic PV {}: PersistentVolumeClaim {}/{} is bound to it, but it is bound to {namespace}/{name}; see `kubectl describe pv {}`",
            volume.name_any(),
            state.namespace,
            state.name,
            volume.name_any(),
        )
    })
}

/// The operations that bring the data of a claim of the backup.
pub fn operations_of<'a>(
    operations: &'a [RestoreOperation],
    namespace: &'a str,
    claim: &'a str,
) -> impl Iterator<Item = &'a RestoreOperation> {
    operations.iter().filter(move |operation| {
        let id = &operation.spec.resource_identifier;
        id.group.is_empty()
            && id.resource == "persistentvolumeclaims"
            && id.namespace == namespace
            && id.name == claim
    })
}

/// The old volume's labels and reclaim policy, as far as they differ.
fn volume_patch(volume: &PersistentVolume, old: &PvInfo) -> Option<Value> {
    let labels: Map<String, Value> = old
        .labels
        .iter()
        .filter(|(key, value)| volume.labels().get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let policy = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    let mut patch = json!({});
    if !labels.is_empty() {
        patch["metadata"] = json!({"labels": labels});
    }
    if !old.reclaim_policy.is_empty() && policy != Some(old.reclaim_policy.as_str()) {
        patch["spec"] = json!({"persistentVolumeReclaimPolicy": old.reclaim_policy});
    }
    (patch != json!({})).then_some(patch)
}

/// How a Restore ends: `None` while it is not in a finalizing phase.
pub fn final_phase(phase: &RestorePhase, errors: usize) -> Option<RestorePhase> {
    match phase {
        RestorePhase::Finalizing if errors == 0 => Some(RestorePhase::Completed),
        RestorePhase::Finalizing | RestorePhase::FinalizingPartiallyFailed => {
            Some(RestorePhase::PartiallyFailed)
        }
        _ => None,
    }
}

/// Names of one kind in the resource list that carry this mark: `shop/data(created)` → (`shop`, `data`).
pub fn created_objects(entries: &[String]) -> Vec<(String, String)> {
    let created = entries.iter().filter_map(|entry| entry.strip_suffix("(created)"));
    created
        .filter_map(|entry| entry.split_once('/'))
        .map(|(ns, name)| (ns.to_owned(), name.to_owned()))
        .collect()
}
