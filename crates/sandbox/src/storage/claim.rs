//! PersistentVolumeClaims: bound to a volume that fits, given to the provisioner, or lost.
//!
//! ```text
//! Pending ─ a volume fits or names it ───────────────► Bound ─ the volume is gone or another's ─► Lost
//!    └─ class, and with WaitForFirstConsumer a node ─► provision ─► Bound
//! ```
//! Source: Kubernetes v1.34 `pkg/controller/volume/persistentvolume/pv_controller.go` (`syncUnboundClaim`,
//! `syncBoundClaim`). Acting is in [`super::bind`] and [`super::provision`].

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;

use super::cluster::{Cluster, names};
use super::events::Note;
use super::{matching, protection, snapshot, volume};

pub(super) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub(super) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
pub(super) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
pub(super) const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
pub(super) const BETA_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// What is next for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClaimStep {
    /// It is as it should be, or waits for something that a watch will show.
    Rest,
    /// Put the protection finalizer on, or take these off.
    Protect,
    Unprotect(&'static str),
    /// A claim without a class gets the default one.
    SetClass(String),
    /// To this volume.
    Bind(String),
    /// Pending, and why.
    Wait(Note),
    /// Note the provisioner on it; another one than ours goes on from there.
    HandTo(String),
    /// Ours makes the volume.
    Provision,
    Lose(Note),
    /// Ours grows the volume to these bytes.
    Expand(i64),
}

/// Decides what is next.
pub(super) fn decide(cluster: &Cluster, claim: &PersistentVolumeClaim, driver: &str) -> ClaimStep {
    let meta = &claim.metadata;
    if protection::has(meta, snapshot::CLAIM_AS_SOURCE) && !snapshot::is_being_cut_from(cluster, claim) {
        return ClaimStep::Unprotect(snapshot::CLAIM_AS_SOURCE);
    }
    if meta.deletion_timestamp.is_some() {
        return if protection::has(meta, protection::CLAIM) && !protection::is_used(cluster, claim) {
            ClaimStep::Unprotect(protection::CLAIM)
        } else {
            ClaimStep::Rest
        };
    }
    if !protection::has(meta, protection::CLAIM) {
        return ClaimStep::Protect;
    }
    if is_bound(claim) {
        bound(cluster, claim, driver)
    } else {
        unbound(cluster, claim, driver)
    }
}

fn unbound(cluster: &Cluster, claim: &PersistentVolumeClaim, driver: &str) -> ClaimStep {
    let Some(wanted) = volume_name(claim) else {
        return unassigned(cluster, claim, driver);
    };
    let Some(found) = cluster.volumes.get("", wanted) else {
        return waiting(claim);
    };
    if volume::claim_ref(found).is_none() {
        return match matching::mismatch(found, claim) {
            None => ClaimStep::Bind(wanted.to_owned()),
            Some(why) => ClaimStep::Wait(Note::warning(
                "VolumeMismatch",
                format!("Cannot bind to requested volume \"{wanted}\": {why}"),
            )),
        };
    }
    if volume::names(found, claim) {
        return ClaimStep::Bind(wanted.to_owned());
    }
    ClaimStep::Wait(Note::warning(
        "FailedBinding",
        format!("volume \"{wanted}\" already bound to a different claim."),
    ))
}

/// A claim that names no volume.
fn unassigned(cluster: &Cluster, claim: &PersistentVolumeClaim, driver: &str) -> ClaimStep {
    let Some(class_name) = class(claim) else {
        if let Some(default) = default_class(cluster) {
            return ClaimStep::SetClass(default);
        }
        return match matching::find(cluster, claim, false, None) {
            Some(volume) => ClaimStep::Bind(volume),
            None => no_volume(),
        };
    };
    let found_class = cluster.classes.get("", class_name);
    let node = selected_node(claim);
    let waits_for_consumer = found_class.is_some_and(|class| binds_late(class)) && node.is_none();
    if let Some(volume) = matching::find(cluster, claim, waits_for_consumer, node) {
        return ClaimStep::Bind(volume);
    }
    if waits_for_consumer {
        return ClaimStep::Wait(wait_for_consumer(cluster, claim));
    }
    if class_name.is_empty() {
        return no_volume();
    }
    let Some(found_class) = found_class else {
        return ClaimStep::Wait(Note::warning(
            "ProvisioningFailed",
            format!("storageclass.storage.k8s.io \"{class_name}\" not found"),
        ));
    };
    let provisioner = found_class.provisioner.as_str();
    if provisioner == "kubernetes.io/no-provisioner" {
        return ClaimStep::Wait(Note::warning(
            "ProvisioningFailed",
            format!("no volume plugin matched name: {provisioner}"),
        ));
    }
    if annotation(claim, PROVISIONER) != Some(provisioner) {
        return ClaimStep::HandTo(provisioner.to_owned());
    }
    if provisioner == driver {
        ClaimStep::Provision
    } else {
        ClaimStep::Wait(external(provisioner))
    }
}

fn bound(cluster: &Cluster, claim: &PersistentVolumeClaim, driver: &str) -> ClaimStep {
    let lost = |reason, message: &str| ClaimStep::Lose(Note::warning(reason, message));
    let Some(name) = volume_name(claim) else {
        return lost(
            "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        );
    };
    let Some(found) = cluster.volumes.get("", name) else {
        return lost(
            "ClaimLost",
            "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
        );
    };
    if volume::claim_ref(found).is_some() && !volume::names(found, claim) {
        return lost(
            "ClaimMisbound",
            "Two claims are bound to the same volume, this one is bound incorrectly",
        );
    }
    let is_complete = volume::belongs_to(found, claim) && volume::phase(found) == "Bound";
    if !is_complete || phase(claim) != "Bound" {
        return ClaimStep::Bind(name.to_owned());
    }
    let grows = requested(claim) > status_capacity(claim)
        && volume::driver(found) == Some(driver)
        && class(claim)
            .and_then(|class| cluster.classes.get("", class))
            .is_some_and(|class| class.allow_volume_expansion == Some(true));
    if grows {
        ClaimStep::Expand(requested(claim))
    } else {
        ClaimStep::Rest
    }
}

fn no_volume() -> ClaimStep {
    ClaimStep::Wait(Note::normal(
        "FailedBinding",
        "no persistent volumes available for this claim and no storage class is set",
    ))
}

/// Pending without anything to say.
fn waiting(claim: &PersistentVolumeClaim) -> ClaimStep {
    if phase(claim) == "Pending" {
        ClaimStep::Rest
    } else {
        ClaimStep::Wait(Note::normal("", ""))
    }
}

fn wait_for_consumer(cluster: &Cluster, claim: &PersistentVolumeClaim) -> Note {
    let (namespace, name) = names(&claim.metadata);
    let pod = cluster
        .pods
        .of(&namespace)
        .find(|pod| protection::claims_of(pod).any(|claim| claim == name));
    match pod {
        None => Note::normal(
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding",
        ),
        Some(pod) => Note::normal(
            "WaitForPodScheduled",
            format!(
                "waiting for pod {} to be scheduled",
                pod.metadata.name.as_deref().unwrap_or_default()
            ),
        ),
    }
}

/// What the binder says while a provisioner is at work.
pub(super) fn external(provisioner: &str) -> Note {
    Note::normal(
        "ExternalProvisioning",
        format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        ),
    )
}

/// The default class; of several the newest, then the first by name.
fn default_class(cluster: &Cluster) -> Option<String> {
    let is_default = |class: &StorageClass| {
        let annotations = class.metadata.annotations.as_ref();
        annotations.is_some_and(|all| all.get(DEFAULT_CLASS).is_some_and(|value| value == "true"))
    };
    let mut defaults: Vec<_> = cluster
        .classes
        .all()
        .filter(|class| is_default(class))
        .map(|class| {
            (
                std::cmp::Reverse(class.metadata.creation_timestamp.as_ref().map(|time| time.0)),
                class.metadata.name.clone(),
            )
        })
        .collect();
    defaults.sort();
    defaults.into_iter().next().and_then(|(_, name)| name)
}

/// Where a claim's first content comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub kind: String,
    pub name: String,
    /// Another namespace; only `dataSourceRef` can name one.
    pub namespace: Option<String>,
}

/// `dataSourceRef`, else `dataSource`; the API server keeps the two equal.
pub(super) fn source(claim: &PersistentVolumeClaim) -> Option<Source> {
    let spec = claim.spec.as_ref()?;
    let of_ref = spec.data_source_ref.as_ref().map(|source| Source {
        kind: source.kind.clone(),
        name: source.name.clone(),
        namespace: source.namespace.clone(),
    });
    of_ref.or_else(|| {
        spec.data_source.as_ref().map(|source| Source {
            kind: source.kind.clone(),
            name: source.name.clone(),
            namespace: None,
        })
    })
}

/// Whether the binder has finished with it once.
pub(super) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    annotation(claim, BIND_COMPLETED).is_some()
}

pub(super) fn annotation<'a>(claim: &'a PersistentVolumeClaim, key: &str) -> Option<&'a str> {
    claim.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(super) fn selected_node(claim: &PersistentVolumeClaim) -> Option<&str> {
    annotation(claim, SELECTED_NODE).filter(|node| !node.is_empty())
}

pub(super) fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim
        .spec
        .as_ref()?
        .volume_name
        .as_deref()
        .filter(|name| !name.is_empty())
}

/// `None`: not said; empty: none wanted.
pub(super) fn class(claim: &PersistentVolumeClaim) -> Option<&str> {
    annotation(claim, BETA_CLASS).or_else(|| claim.spec.as_ref()?.storage_class_name.as_deref())
}

pub(super) fn mode(claim: &PersistentVolumeClaim) -> &str {
    claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_mode.as_deref())
        .unwrap_or("Filesystem")
}

/// Bytes asked for.
pub(super) fn requested(claim: &PersistentVolumeClaim) -> i64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    matching::storage_of(resources.and_then(|resources| resources.requests.as_ref()))
}

/// Bytes that it has.
pub(super) fn status_capacity(claim: &PersistentVolumeClaim) -> i64 {
    matching::storage_of(claim.status.as_ref().and_then(|status| status.capacity.as_ref()))
}

pub(super) fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Whether volumes of this class wait for a pod.
pub(super) fn binds_late(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}
