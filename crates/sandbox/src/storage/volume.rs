//! PersistentVolumes: available, bound, released, and deleted in the storage where the policy says so.
//!
//! ```text
//! Available ─ claimRef with a UID ─► Bound ─ the claim is gone ─► Released ─ Delete: storage, then the object
//!                                                                         └ Retain: stays
//! ```
//! Source: Kubernetes v1.34 `pv_controller.go` (`syncVolume`), and external-provisioner v5
//! `sig-storage-lib-external-provisioner` (`shouldDelete`, `syncVolume`).

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};

use super::claim::{self, BOUND_BY_CONTROLLER};
use super::cluster::{Cluster, names as names_of};
use super::{matching, protection};

pub(super) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const HOST: &str = "kubernetes.io/hostname";

/// What is next for a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum VolumeStep {
    Rest,
    /// Finalizers on or off.
    Protect(&'static str),
    Unprotect(&'static str),
    SetPhase(&'static str),
    /// Its claim went to another volume: take `claimRef` away, or only its UID if a user wrote it.
    Unbind {
        keep_name: bool,
    },
    /// Delete it in the storage, then the object.
    DeleteStorage,
}

/// Decides what is next.
pub(super) fn decide(cluster: &Cluster, volume: &PersistentVolume, driver: &str) -> VolumeStep {
    let meta = &volume.metadata;
    let deleted = meta.deletion_timestamp.is_some();
    if deleted && protection::has(meta, protection::VOLUME) && phase(volume) != "Bound" {
        return VolumeStep::Unprotect(protection::VOLUME);
    }
    if !deleted && !protection::has(meta, protection::VOLUME) {
        return VolumeStep::Protect(protection::VOLUME);
    }
    let is_ours = provisioned_by(volume) == Some(driver);
    let goes_with_claim = is_ours && policy(volume) == "Delete";
    if is_ours && !deleted && goes_with_claim != protection::has(meta, protection::PROVISIONED) {
        return if goes_with_claim {
            VolumeStep::Protect(protection::PROVISIONED)
        } else {
            VolumeStep::Unprotect(protection::PROVISIONED)
        };
    }
    if deleted && !goes_with_claim && protection::has(meta, protection::PROVISIONED) {
        return VolumeStep::Unprotect(protection::PROVISIONED);
    }
    match lifecycle(cluster, volume) {
        VolumeStep::Rest if goes_with_claim && is_given_up(volume) => VolumeStep::DeleteStorage,
        step => step,
    }
}

/// Released, or being deleted without ever having been a claim's.
fn is_given_up(volume: &PersistentVolume) -> bool {
    let awaits_deletion = volume.metadata.deletion_timestamp.is_some();
    let held = protection::has(&volume.metadata, protection::PROVISIONED);
    match phase(volume) {
        "Released" => held || !awaits_deletion,
        "Bound" => false,
        _ => held && awaits_deletion,
    }
}

fn lifecycle(cluster: &Cluster, volume: &PersistentVolume) -> VolumeStep {
    let set = |phase_now: &'static str| {
        if phase(volume) == phase_now {
            VolumeStep::Rest
        } else {
            VolumeStep::SetPhase(phase_now)
        }
    };
    let Some(reference) = claim_ref(volume) else {
        return set("Available");
    };
    let Some(uid) = reference.uid.as_deref().filter(|uid| !uid.is_empty()) else {
        return set("Available");
    };
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    let claim = cluster
        .claims
        .get(namespace, reference.name.as_deref().unwrap_or_default());
    let Some(claim) = claim.filter(|claim| claim.metadata.uid.as_deref() == Some(uid)) else {
        return if phase(volume) == "Failed" {
            VolumeStep::Rest
        } else {
            set("Released")
        };
    };
    match claim::volume_name(claim) {
        // The claim's own turn binds it.
        None => VolumeStep::Rest,
        Some(name) if Some(name) == volume.metadata.name.as_deref() => set("Bound"),
        Some(_) if provisioned_by(volume).is_some() && policy(volume) == "Delete" => set("Released"),
        Some(_) => VolumeStep::Unbind {
            keep_name: annotation(volume, BOUND_BY_CONTROLLER).is_none(),
        },
    }
}

/// Whether `claimRef` is this claim, or may become it: same name, and no other UID.
pub(super) fn names(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let (namespace, name) = names_of(&claim.metadata);
    claim_ref(volume).is_some_and(|reference| {
        reference.name.as_deref() == Some(&name)
            && reference.namespace.as_deref() == Some(&namespace)
            && reference
                .uid
                .as_ref()
                .is_none_or(|uid| uid.is_empty() || claim.metadata.uid.as_ref() == Some(uid))
    })
}

/// Whether `claimRef` is exactly this claim.
pub(super) fn belongs_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    names(volume, claim) && claim_ref(volume).is_some_and(|reference| reference.uid == claim.metadata.uid)
}

pub(super) fn claim_ref(volume: &PersistentVolume) -> Option<ObjectReference> {
    volume.spec.as_ref()?.claim_ref.clone()
}

pub(super) fn phase(volume: &PersistentVolume) -> &str {
    volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

pub(super) fn policy(volume: &PersistentVolume) -> &str {
    let policy = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy.unwrap_or("Retain")
}

pub(super) fn capacity(volume: &PersistentVolume) -> i64 {
    matching::storage_of(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()))
}

pub(super) fn class(volume: &PersistentVolume) -> &str {
    volume
        .spec
        .as_ref()
        .and_then(|spec| spec.storage_class_name.as_deref())
        .unwrap_or_default()
}

pub(super) fn mode(volume: &PersistentVolume) -> &str {
    volume
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_mode.as_deref())
        .unwrap_or("Filesystem")
}

/// Its CSI driver.
pub(super) fn driver(volume: &PersistentVolume) -> Option<&str> {
    Some(volume.spec.as_ref()?.csi.as_ref()?.driver.as_str())
}

/// The driver's name of it.
pub(super) fn handle(volume: &PersistentVolume) -> Option<&str> {
    Some(volume.spec.as_ref()?.csi.as_ref()?.volume_handle.as_str())
}

fn provisioned_by(volume: &PersistentVolume) -> Option<&str> {
    annotation(volume, PROVISIONED_BY)
}

pub(super) fn annotation<'a>(volume: &'a PersistentVolume, key: &str) -> Option<&'a str> {
    volume.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether the volume's node affinity admits a node; only the node's name is looked at, as local volumes have it.
pub(super) fn is_usable_on(volume: &PersistentVolume, node: &str) -> bool {
    let required = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    let Some(required) = required else { return true };
    required.node_selector_terms.iter().any(|term| {
        term.match_expressions
            .iter()
            .flatten()
            .filter(|one| one.key == HOST)
            .all(|one| {
                let listed = one
                    .values
                    .as_ref()
                    .is_some_and(|values| values.iter().any(|value| value == node));
                (one.operator == "In") == listed
            })
    })
}
