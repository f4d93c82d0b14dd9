//! Finalizers that keep claims and volumes while somebody needs them.
//! Source: Kubernetes v1.34 `pkg/controller/volume/{pvcprotection,pvprotection}`.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ObjectMeta;

use super::cluster::{Cluster, names};

/// On every claim; goes when the claim is deleted and no placed pod uses it.
pub(super) const CLAIM: &str = "kubernetes.io/pvc-protection";
/// On every volume; goes when the volume is deleted and not bound.
pub(super) const VOLUME: &str = "kubernetes.io/pv-protection";
/// On volumes that the provisioner is to delete in the storage before the object goes.
pub(super) const PROVISIONED: &str = "external-provisioner.volume.kubernetes.io/finalizer";

/// Names of the claims that a pod uses: by reference, or made for it.
pub(super) fn claims_of(pod: &Pod) -> impl Iterator<Item = String> {
    let owner = pod.metadata.name.clone().unwrap_or_default();
    pod.spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten())
        .filter_map(move |volume| {
            let named = volume
                .persistent_volume_claim
                .as_ref()
                .map(|claim| claim.claim_name.clone());
            named.or_else(|| {
                volume
                    .ephemeral
                    .as_ref()
                    .map(|_| format!("{owner}-{}", volume.name))
            })
        })
}

/// Whether a pod that has been placed on a node names the claim. One that has ended counts while it exists.
pub(super) fn is_used(cluster: &Cluster, claim: &PersistentVolumeClaim) -> bool {
    let (namespace, name) = names(&claim.metadata);
    cluster.pods.of(&namespace).any(|pod| {
        let placed = pod
            .spec
            .as_ref()
            .is_some_and(|spec| spec.node_name.as_deref().is_some_and(|node| !node.is_empty()));
        placed && claims_of(pod).any(|claim| claim == name)
    })
}

pub(super) fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers
        .as_ref()
        .is_some_and(|all| all.iter().any(|one| one == finalizer))
}

/// The list with one more.
pub(super) fn with(meta: &ObjectMeta, finalizer: &str) -> Vec<String> {
    let mut all = without(meta, &[finalizer]);
    all.push(finalizer.to_owned());
    all
}

/// The list without these.
pub(super) fn without(meta: &ObjectMeta, finalizers: &[&str]) -> Vec<String> {
    let all = meta.finalizers.iter().flatten();
    all.filter(|one| !finalizers.contains(&one.as_str()))
        .cloned()
        .collect()
}
