//! A filled volume goes from the restore PVC to the target PVC.
//!
//! The volume is noted on the DataDownload and retained before anything is deleted, so that a crash at any point finds
//! it again, and a deletion of the restore PVC cannot take the data with it:
//!
//! ```text
//! RecordVolume ► RetainVolume ► DeleteRestorePvc ► OfferVolume ► ClaimVolume ► bound ► RestoreReclaimPolicy
//!  (DataDownload)     (PV)        (pod and PVC)       (PV)       (target PVC)              (PV)
//! ```
//! The volume is offered before it is claimed, and the claim waits until the volume shows as Available: the binder
//! then binds on the claim's own event, instead of on its next resync. Velero claims first and leaks the storage
//! volume when a step fails; here a failure ends in [`crate::clean_up`], which knows from the note what to give back.
//! Source: velero-behaviour.md 5.4 step 5.

use std::collections::BTreeMap;

use caravel_api::v2alpha1::DataDownload;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::{self, Cluster};
use crate::cache_volume;
use crate::restore::RestoreRequest;
use crate::snapshot::claim_phase;
use crate::{ExposerError, Next, Step};

/// Annotation of a DataDownload that holds the note.
pub const RECORD_ANNOTATION: &str = "velero.io/caravel-rebind";

/// The binder's own notes; they would make it treat the new pair as its own work.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";

/// Which volume is being handed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RebindRecord {
    /// Name of the PersistentVolume.
    pub persistent_volume: String,
    /// Its reclaim policy before we retained it.
    pub reclaim_policy: String,
    /// When the hand-over began.
    pub since: Timestamp,
    /// The data mover's total bytes: the pod that knew them is deleted on the way.
    pub total_bytes: u64,
}

impl RebindRecord {
    /// The note on a DataDownload, if there is a readable one.
    pub fn of(download: &DataDownload) -> Option<Self> {
        let text = download.metadata.annotations.as_ref()?.get(RECORD_ANNOTATION)?;
        serde_json::from_str(text).ok()
    }
}

/// What exists of it.
#[derive(Clone, Debug, Default)]
pub struct Rebinding {
    pub record: Option<RebindRecord>,
    pub target: Option<PersistentVolumeClaim>,
    pub restore_pvc: Option<PersistentVolumeClaim>,
    pub pod: Option<Pod>,
    pub volume: Option<PersistentVolume>,
}

/// Reads everything the next step rests on.
pub async fn observe(
    cluster: &Cluster,
    request: &RestoreRequest,
    record: Option<RebindRecord>,
) -> Result<Rebinding, ExposerError> {
    let (claims, pods) = (cluster.ours::<PersistentVolumeClaim>(), cluster.ours::<Pod>());
    let (target, restore_pvc, pod) = futures::try_join!(
        crate::restore::target(cluster, &request.target_namespace, &request.target_pvc),
        api::get(&claims, &request.name),
        api::get(&pods, &request.name),
    )?;
    let name = match &record {
        Some(record) => record.persistent_volume.clone(),
        None => restore_pvc
            .as_ref()
            .map(volume_name)
            .unwrap_or_default()
            .to_owned(),
    };
    let volume = api::get(&cluster.wide(), &name).await?;
    Ok(Rebinding {
        record,
        target,
        restore_pvc,
        pod,
        volume,
    })
}

impl Rebinding {
    /// What comes next.
    pub fn next(&self, request: &RestoreRequest) -> Next {
        let object = format!("target PVC {}/{}", request.target_namespace, request.target_pvc);
        let Some(target) = &self.target else {
            return Next::impossible(format!("{object} was deleted"));
        };
        let Some(record) = &self.record else {
            return match &self.restore_pvc {
                None => Next::impossible(format!("restore PVC {} was deleted", request.name)),
                Some(pvc) if claim_phase(pvc) == "Bound" && self.volume.is_some() => {
                    Next::Do(Step::RecordVolume)
                }
                Some(_) => Next::wait(format!("restore PVC {} to be bound", request.name)),
            };
        };
        let name = &record.persistent_volume;
        let Some(volume) = &self.volume else {
            return Next::impossible(format!("PersistentVolume {name} was deleted"));
        };
        let claimed = volume_name(target);
        if !claimed.is_empty() && claimed != name {
            return Next::impossible(format!(
                "{object} was bound to PersistentVolume {claimed} meanwhile"
            ));
        }
        if is_offered(volume, request) {
            return after_offer(volume, target, record, &object);
        }
        if reclaim_policy(volume) != "Retain" {
            return Next::Do(Step::RetainVolume);
        }
        let is_alive = |deleted: bool| !deleted;
        let pod = self
            .pod
            .as_ref()
            .map(|pod| is_alive(pod.metadata.deletion_timestamp.is_some()));
        let pvc = self
            .restore_pvc
            .as_ref()
            .map(|pvc| is_alive(pvc.metadata.deletion_timestamp.is_some()));
        match (pod, pvc) {
            (Some(true), _) | (_, Some(true)) => Next::Do(Step::DeleteRestorePvc),
            (Some(false), _) | (_, Some(false)) => Next::wait(format!(
                "data mover pod and restore PVC {} to be gone",
                request.name
            )),
            (None, None) => Next::Do(Step::OfferVolume),
        }
    }
}

fn after_offer(
    volume: &PersistentVolume,
    target: &PersistentVolumeClaim,
    record: &RebindRecord,
    object: &str,
) -> Next {
    let name = &record.persistent_volume;
    let phase = volume_phase(volume);
    if volume_name(target).is_empty() {
        return match phase {
            "Available" | "Bound" => Next::Do(Step::ClaimVolume),
            _ => Next::wait(format!("PersistentVolume {name} to be available (it is {phase})")),
        };
    }
    if phase != "Bound" || claim_phase(target) != "Bound" {
        return Next::wait(format!("{object} to be bound to PersistentVolume {name}"));
    }
    if reclaim_policy(volume) != record.reclaim_policy {
        return Next::Do(Step::RestoreReclaimPolicy);
    }
    Next::Done
}

/// Takes one step of this ladder.
pub async fn take(
    cluster: &Cluster,
    request: &RestoreRequest,
    rebinding: &Rebinding,
    step: Step,
    total_bytes: u64,
    now: Timestamp,
) -> Result<(), ExposerError> {
    let volumes = cluster.wide::<PersistentVolume>();
    let Some(volume) = &rebinding.volume else {
        return Ok(());
    };
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    match step {
        Step::RecordVolume => {
            let record = RebindRecord {
                persistent_volume: name.into(),
                reclaim_policy: reclaim_policy(volume).into(),
                since: now,
                total_bytes,
            };
            record_on(cluster, request, &record).await
        }
        Step::RetainVolume => set_policy(cluster, volume, "Retain").await,
        Step::DeleteRestorePvc => {
            if let Some(pod) = &rebinding.pod {
                api::delete(&cluster.ours::<Pod>(), &pod.metadata).await?;
            }
            if let Some(pvc) = &rebinding.restore_pvc {
                api::delete(&cluster.ours::<PersistentVolumeClaim>(), &pvc.metadata).await?;
            }
            // The hand-over does not wait for it to be gone: the clean-up does.
            match cache_volume::find(cluster, &request.name, &request.uid).await? {
                Some(claim) => cache_volume::delete(cluster, &claim).await,
                None => Ok(()),
            }
        }
        Step::OfferVolume => {
            let labels = rebinding.target.as_ref().map(selector_labels).unwrap_or_default();
            let offer = json!({
                "metadata": {
                    "resourceVersion": volume.metadata.resource_version,
                    "labels": labels,
                    "annotations": { BOUND_BY_CONTROLLER: null },
                },
                "spec": { "claimRef": {
                    "kind": "PersistentVolumeClaim", "namespace": request.target_namespace, "name": request.target_pvc,
                    "uid": null, "resourceVersion": null,
                }},
            });
            api::patch(&volumes, name, &offer).await
        }
        Step::ClaimVolume => {
            let claim = json!({
                "metadata": { "annotations": { BIND_COMPLETED: null, BOUND_BY_CONTROLLER: null } },
                "spec": { "volumeName": name },
            });
            let claims = cluster.in_namespace::<PersistentVolumeClaim>(&request.target_namespace);
            api::patch(&claims, &request.target_pvc, &claim).await
        }
        Step::RestoreReclaimPolicy => {
            let policy = rebinding
                .record
                .as_ref()
                .map_or("Delete", |record| record.reclaim_policy.as_str());
            set_policy(cluster, volume, policy).await
        }
        _ => Ok(()),
    }
}

async fn record_on(
    cluster: &Cluster,
    request: &RestoreRequest,
    record: &RebindRecord,
) -> Result<(), ExposerError> {
    let Ok(text) = serde_json::to_string(record) else {
        return Ok(());
    };
    let note = json!({"metadata": {"annotations": { RECORD_ANNOTATION: text }}});
    api::patch(&cluster.ours::<DataDownload>(), &request.name, &note).await
}

/// Sets the reclaim policy of exactly the volume that was read.
pub(crate) async fn set_policy(
    cluster: &Cluster,
    volume: &PersistentVolume,
    policy: &str,
) -> Result<(), ExposerError> {
    let patch = json!({
        "metadata": { "resourceVersion": volume.metadata.resource_version },
        "spec": { "persistentVolumeReclaimPolicy": policy },
    });
    api::patch(
        &cluster.wide::<PersistentVolume>(),
        volume.metadata.name.as_deref().unwrap_or_default(),
        &patch,
    )
    .await
}

/// Whether the volume names the target PVC.
pub(crate) fn is_offered(volume: &PersistentVolume, request: &RestoreRequest) -> bool {
    volume
        .spec
        .as_ref()
        .and_then(|spec| spec.claim_ref.as_ref())
        .is_some_and(|claim| {
            claim.namespace.as_deref() == Some(&request.target_namespace)
                && claim.name.as_deref() == Some(&request.target_pvc)
        })
}

pub(crate) fn volume_name(pvc: &PersistentVolumeClaim) -> &str {
    pvc.spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref())
        .unwrap_or_default()
}

pub(crate) fn reclaim_policy(volume: &PersistentVolume) -> &str {
    let policy = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy.unwrap_or("Retain")
}

fn volume_phase(volume: &PersistentVolume) -> &str {
    volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

fn selector_labels(target: &PersistentVolumeClaim) -> BTreeMap<String, String> {
    let selector = target.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector
        .and_then(|selector| selector.match_labels.clone())
        .unwrap_or_default()
}

/// The newest warning event about a PVC that is not bound, as `reason: message`.
pub(crate) async fn claim_warning(
    cluster: &Cluster,
    pvc: Option<&PersistentVolumeClaim>,
) -> Result<Option<String>, ExposerError> {
    let Some(pvc) = pvc.filter(|pvc| claim_phase(pvc) != "Bound") else {
        return Ok(None);
    };
    let selector = format!(
        "involvedObject.uid={},type=Warning",
        pvc.metadata.uid.as_deref().unwrap_or_default()
    );
    // A reason is a courtesy: without it the deadline still holds.
    let events = cluster
        .ours::<Event>()
        .list(&ListParams::default().fields(&selector))
        .await;
    let newest = events.ok().and_then(|list| {
        list.items
            .into_iter()
            .max_by_key(|event| event.last_timestamp.clone())
    });
    Ok(newest
        .map(|event| crate::pod_state::sentence(&[event.reason.as_deref(), event.message.as_deref()], "")))
}

#[cfg(test)]
mod tests;
