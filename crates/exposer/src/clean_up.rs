//! After the end of a DataUpload or DataDownload everything temporary goes.
//!
//! Order: pod and PVCs (with their volumes), the volume of a hand-over that failed, our VolumeSnapshot (whose content has
//! policy Delete: the storage snapshot goes too), the source VolumeSnapshot if it was never released. Only objects
//! that this movement made are touched: pods and PVCs by owner UID, snapshots by their reference to our content.
//!
//! The volume of a DataDownload is given up only when the movement did not complete *and* the target PVC does not
//! hold it; a volume that the target has claimed keeps its data and gets its reclaim policy back.

use caravel_csi::{VolumeSnapshot, VolumeSnapshotContent};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use serde_json::json;

use crate::api::{self, Cluster};
use crate::cache_volume;
use crate::rebind::{self, RebindRecord};
use crate::restore::RestoreRequest;
use crate::{ExposerError, Next, Step};

/// Whose temporary objects.
#[derive(Clone, Debug, Default)]
pub struct CleanUpRequest {
    /// Name and UID of the DataUpload or DataDownload.
    pub name: String,
    pub uid: String,
    /// Namespace and name of a DataUpload's source VolumeSnapshot.
    pub source: Option<(String, String)>,
    /// A DataDownload's hand-over that did not complete.
    pub unfinished_rebind: Option<(RebindRecord, RestoreRequest)>,
}

/// What is left.
#[derive(Clone, Debug, Default)]
pub struct Leftovers {
    pub pod: Option<Pod>,
    pub pvc: Option<PersistentVolumeClaim>,
    /// The volume of `pvc`.
    pub pvc_volume: Option<PersistentVolume>,
    /// A DataDownload's, of its data mover's cache.
    pub cache_pvc: Option<PersistentVolumeClaim>,
    pub backup: Option<VolumeSnapshot>,
    pub backup_content: Option<VolumeSnapshotContent>,
    pub source: Option<VolumeSnapshot>,
    pub source_content: Option<VolumeSnapshotContent>,
    /// The volume of the unfinished hand-over, and its target.
    pub rebound_volume: Option<PersistentVolume>,
    pub target: Option<PersistentVolumeClaim>,
}

/// Reads what is left of a movement.
pub async fn observe(cluster: &Cluster, request: &CleanUpRequest) -> Result<Leftovers, ExposerError> {
    let (claims, pods) = (cluster.ours::<PersistentVolumeClaim>(), cluster.ours::<Pod>());
    let (pod, pvc) = futures::try_join!(api::get(&pods, &request.name), api::get(&claims, &request.name))?;
    let mut left = Leftovers {
        pod: pod.filter(|pod| api::is_owned_by(&pod.metadata, &request.uid)),
        pvc: pvc.filter(|pvc| api::is_owned_by(&pvc.metadata, &request.uid)),
        ..Leftovers::default()
    };
    let volumes = cluster.wide::<PersistentVolume>();
    let volume = left
        .pvc
        .as_ref()
        .map(rebind::volume_name)
        .unwrap_or_default()
        .to_owned();
    left.pvc_volume = api::get(&volumes, &volume).await?;
    // Whatever the configuration says now. Only what has no source can have one.
    if request.source.is_none() {
        left.cache_pvc = cache_volume::find(cluster, &request.name, &request.uid).await?;
    }
    if let Some((record, target)) = &request.unfinished_rebind {
        left.rebound_volume = api::get(&volumes, &record.persistent_volume).await?;
        left.target = crate::restore::target(cluster, &target.target_namespace, &target.target_pvc).await?;
    }
    if let Some((namespace, name)) = &request.source {
        let theirs = cluster.in_namespace::<VolumeSnapshot>(namespace);
        let ours = cluster.ours::<VolumeSnapshot>();
        let contents = cluster.wide::<VolumeSnapshotContent>();
        let (source, backup, content) = futures::try_join!(
            api::get(&theirs, name),
            api::get(&ours, &request.name),
            api::get(&contents, &request.name)
        )?;
        let bound = source
            .as_ref()
            .and_then(|source| source.status.as_ref()?.bound_volume_snapshot_content_name.clone());
        left.source_content = api::get(&contents, &bound.unwrap_or_default()).await?;
        left.source = source;
        left.backup = backup.filter(|backup| {
            backup.spec.source.volume_snapshot_content_name.as_deref() == Some(&request.name)
        });
        left.backup_content = content.filter(|content| {
            content.spec.volume_snapshot_ref.namespace.as_deref() == Some(&cluster.namespace)
        });
    }
    Ok(left)
}

impl Leftovers {
    /// What comes next.
    pub fn next(&self, request: &CleanUpRequest) -> Next {
        let name = &request.name;
        let stages = [
            (
                Step::DeletePodAndPvc,
                format!("data mover pod and PVC {name} to be gone"),
                vec![
                    self.pod.as_ref().map(|pod| &pod.metadata),
                    self.pvc.as_ref().map(|pvc| &pvc.metadata),
                    self.cache_pvc.as_ref().map(|pvc| &pvc.metadata),
                ],
            ),
            (
                Step::DeleteVolume,
                "the restored volume to be gone".to_owned(),
                vec![
                    self.rebound_volume
                        .as_ref()
                        .filter(|_| self.has_volume_to_settle(request))
                        .map(|volume| &volume.metadata),
                ],
            ),
            (
                Step::DeleteBackupSnapshot,
                format!("VolumeSnapshot {name} and its storage snapshot to be gone"),
                vec![
                    self.backup.as_ref().map(|snapshot| &snapshot.metadata),
                    self.backup_content.as_ref().map(|content| &content.metadata),
                ],
            ),
            (
                Step::DeleteSource,
                "the source VolumeSnapshot to be gone".to_owned(),
                vec![self.source.as_ref().map(|source| &source.metadata)],
            ),
        ];
        for (step, what, objects) in stages {
            let mut left = objects.into_iter().flatten().peekable();
            if left.peek().is_some() {
                let all_on_their_way = left.all(|meta| meta.deletion_timestamp.is_some());
                return if all_on_their_way {
                    Next::wait(what)
                } else {
                    Next::Do(step)
                };
            }
        }
        Next::Done
    }

    /// The volume must go, or must get its policy back.
    fn has_volume_to_settle(&self, request: &CleanUpRequest) -> bool {
        let (Some((record, _)), Some(volume)) = (&request.unfinished_rebind, &self.rebound_volume) else {
            return false;
        };
        !self.target_holds(record) || rebind::reclaim_policy(volume) != record.reclaim_policy
    }

    fn target_holds(&self, record: &RebindRecord) -> bool {
        self.target
            .as_ref()
            .is_some_and(|target| rebind::volume_name(target) == record.persistent_volume)
    }
}

/// Takes one step of this ladder.
pub async fn take(
    cluster: &Cluster,
    request: &CleanUpRequest,
    left: &Leftovers,
    step: Step,
) -> Result<(), ExposerError> {
    match step {
        Step::DeletePodAndPvc => delete_pod_and_pvc(cluster, request, left).await,
        Step::DeleteVolume => settle_volume(cluster, request, left).await,
        Step::DeleteBackupSnapshot => {
            // With policy Delete the content follows its VolumeSnapshot; alone it has to be deleted itself.
            match (&left.backup, &left.backup_content) {
                (Some(backup), _) if backup.metadata.deletion_timestamp.is_none() => {
                    api::delete(&cluster.ours::<VolumeSnapshot>(), &backup.metadata).await
                }
                (_, Some(content)) => {
                    api::delete(&cluster.wide::<VolumeSnapshotContent>(), &content.metadata).await
                }
                _ => Ok(()),
            }
        }
        Step::DeleteSource => delete_source(cluster, left).await,
        _ => Ok(()),
    }
}

async fn delete_pod_and_pvc(
    cluster: &Cluster,
    request: &CleanUpRequest,
    left: &Leftovers,
) -> Result<(), ExposerError> {
    if let Some(volume) = &left.pvc_volume {
        // A temporary volume goes, even where its class retains volumes; one that is being handed over is settled later.
        let is_handed_over = request
            .unfinished_rebind
            .as_ref()
            .is_some_and(|(record, _)| Some(&record.persistent_volume) == volume.metadata.name.as_ref());
        if !is_handed_over && rebind::reclaim_policy(volume) != "Delete" {
            rebind::set_policy(cluster, volume, "Delete").await?;
        }
    }
    if let Some(pod) = &left.pod {
        api::delete(&cluster.ours::<Pod>(), &pod.metadata).await?;
    }
    if let Some(pvc) = &left.pvc {
        api::delete(&cluster.ours::<PersistentVolumeClaim>(), &pvc.metadata).await?;
    }
    match &left.cache_pvc {
        Some(claim) => cache_volume::delete(cluster, claim).await,
        None => Ok(()),
    }
}

async fn settle_volume(
    cluster: &Cluster,
    request: &CleanUpRequest,
    left: &Leftovers,
) -> Result<(), ExposerError> {
    let (Some((record, target)), Some(volume)) = (&request.unfinished_rebind, &left.rebound_volume) else {
        return Ok(());
    };
    if left.target_holds(record) {
        return rebind::set_policy(cluster, volume, &record.reclaim_policy).await;
    }
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let volumes = cluster.wide::<PersistentVolume>();
    // Taken back with the version that was read: if the binder has given it to the target meanwhile, this conflicts
    // and the next look keeps it.
    let mut take_back = json!({
        "metadata": { "resourceVersion": volume.metadata.resource_version },
        "spec": { "persistentVolumeReclaimPolicy": "Delete" },
    });
    if rebind::is_offered(volume, target) {
        take_back["spec"]["claimRef"] = json!({ "namespace": cluster.namespace, "name": request.name });
    }
    api::patch(&volumes, name, &take_back).await?;
    api::delete(&volumes, &volume.metadata).await
}

/// A source that was retained for us and not released goes with its storage snapshot.
async fn delete_source(cluster: &Cluster, left: &Leftovers) -> Result<(), ExposerError> {
    let Some(source) = &left.source else { return Ok(()) };
    if let Some(content) = left
        .source_content
        .as_ref()
        .filter(|content| content.metadata.deletion_timestamp.is_none())
    {
        let name = content.metadata.name.as_deref().unwrap_or_default();
        let policy = json!({"spec": {"deletionPolicy": "Delete"}});
        api::patch(&cluster.wide::<VolumeSnapshotContent>(), name, &policy).await?;
    }
    let namespace = source.metadata.namespace.as_deref().unwrap_or_default();
    api::delete(
        &cluster.in_namespace::<VolumeSnapshot>(namespace),
        &source.metadata,
    )
    .await
}

#[cfg(test)]
mod tests;
