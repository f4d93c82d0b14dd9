//! A volume for the copies that the data mover of a restore keeps of what it reads (`cachePVC`).
//!
//! The claim `<DataDownload>-cache` lies beside the restore PVC, owned by the DataDownload; the data mover pod mounts it
//! and is told of it. Whether there is one is decided in [`CacheVolume::wanted`]. Source: velero-behaviour.md 5.4 and 5.7,
//! Velero `pkg/exposer/cache_volume.go`.

use std::collections::BTreeMap;

use caravel_api::labels;
use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;

use crate::ExposerError;
use crate::api::{self, Cluster};
use crate::rebind;
use crate::restore::{RestoreRequest, SELECTED_NODE};
use crate::settings::CachePvc;

/// Where the data mover pod has it.
pub const CACHE_FOLDER: &str = "/cachedir";
/// The variable with the repository's limit of its cache, in MiB.
pub const CACHE_LIMIT_VARIABLE: &str = "CARAVEL_CACHE_LIMIT_MB";
/// Name of the volume in the pod.
pub(crate) const CACHE_VOLUME: &str = "cachedir";
const GIBIBYTE: u64 = 1 << 30;

/// The cache volume that a restore shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheVolume {
    pub storage_class: String,
    /// What the cache in it may hold, in MiB.
    pub limit_mb: u64,
}

impl CacheVolume {
    /// The volume for a snapshot of this many bytes; 0 where nobody knows. None: nothing is said about one, the snapshot
    /// is smaller than `residentThresholdInMB`, or the repository allows no cache.
    pub fn wanted(said: Option<&CachePvc>, snapshot_bytes: i64, limit_mb: u64) -> Option<Self> {
        let said = said.filter(|said| !said.storage_class.is_empty() && limit_mb > 0)?;
        let bytes = u64::try_from(snapshot_bytes).unwrap_or(0);
        let is_small = bytes != 0 && bytes < in_bytes(said.resident_threshold_mb);
        (!is_small).then(|| Self {
            storage_class: said.storage_class.clone(),
            limit_mb,
        })
    }

    /// A fifth more than the limit, in whole GiB: index blobs and the file system itself want room too.
    fn size(&self) -> Quantity {
        let bytes = in_bytes(self.limit_mb).saturating_mul(12) / 10;
        Quantity(format!("{}Gi", bytes.div_ceil(GIBIBYTE)))
    }

    /// The claim. `node`: the one that the restore PVC is made for, so that one pod can have both.
    pub(crate) fn claim(
        &self,
        namespace: &str,
        request: &RestoreRequest,
        node: Option<&str>,
    ) -> PersistentVolumeClaim {
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(claim_name(&request.name)),
                namespace: Some(namespace.into()),
                labels: Some(BTreeMap::from([(
                    labels::DATA_DOWNLOAD.to_owned(),
                    labels::label_value(&request.name),
                )])),
                annotations: node.map(|node| BTreeMap::from([(SELECTED_NODE.to_owned(), node.to_owned())])),
                owner_references: Some(vec![request.owner.clone()]),
                ..ObjectMeta::default()
            },
            spec: Some(PersistentVolumeClaimSpec {
                access_modes: Some(vec!["ReadWriteOnce".into()]),
                storage_class_name: Some(self.storage_class.clone()),
                volume_mode: Some("Filesystem".into()),
                resources: Some(VolumeResourceRequirements {
                    requests: Some(BTreeMap::from([("storage".into(), self.size())])),
                    ..VolumeResourceRequirements::default()
                }),
                ..PersistentVolumeClaimSpec::default()
            }),
            status: None,
        }
    }
}

/// The claim's name, by that of its DataDownload.
pub(crate) fn claim_name(download: &str) -> String {
    format!("{download}-cache")
}

/// The claim of the DataDownload with this name and UID, if there is one.
pub(crate) async fn find(
    cluster: &Cluster,
    download: &str,
    uid: &str,
) -> Result<Option<PersistentVolumeClaim>, ExposerError> {
    let found: Option<PersistentVolumeClaim> = api::get(&cluster.ours(), &claim_name(download)).await?;
    Ok(found.filter(|claim| api::is_owned_by(&claim.metadata, uid)))
}

/// Deletes the claim, and its volume with it: also where the class retains volumes, there is nothing in it to keep.
pub(crate) async fn delete(cluster: &Cluster, claim: &PersistentVolumeClaim) -> Result<(), ExposerError> {
    let volume: Option<PersistentVolume> = api::get(&cluster.wide(), rebind::volume_name(claim)).await?;
    if let Some(volume) = volume.filter(|volume| rebind::reclaim_policy(volume) != "Delete") {
        rebind::set_policy(cluster, &volume, "Delete").await?;
    }
    api::delete(&cluster.ours::<PersistentVolumeClaim>(), &claim.metadata).await
}

fn in_bytes(mebibytes: u64) -> u64 {
    mebibytes.saturating_mul(1 << 20)
}

#[cfg(test)]
mod tests;
