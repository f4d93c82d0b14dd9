//! Which existing volume fits a claim.
//! Source: Kubernetes v1.34 `pkg/controller/volume/persistentvolume/volume_claim_util` and `index.go`
//! (`findMatchingVolume`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::cluster::Cluster;
use super::{claim, quantity, volume};

/// The volume that names the claim already, else the smallest available one that fits. `prebound_only`: while the
/// claim waits for its first consumer, only the first counts. `node`: the volume must be usable there.
pub(super) fn find(
    cluster: &Cluster,
    claim: &PersistentVolumeClaim,
    prebound_only: bool,
    node: Option<&str>,
) -> Option<String> {
    let requested = claim::requested(claim);
    let mut best: Option<(i64, &str)> = None;
    for candidate in cluster.volumes.all() {
        let name = candidate.metadata.name.as_deref().unwrap_or_default();
        if candidate.metadata.deletion_timestamp.is_some() || volume::mode(candidate) != claim::mode(claim) {
            continue;
        }
        let capacity = volume::capacity(candidate);
        if volume::claim_ref(candidate).is_some() {
            if volume::names(candidate, claim) && capacity >= requested {
                return Some(name.to_owned());
            }
            continue;
        }
        let fits = !prebound_only
            && volume::phase(candidate) == "Available"
            && capacity >= requested
            && volume::class(candidate) == claim::class(claim).unwrap_or_default()
            && modes_fit(candidate, claim)
            && selects(
                claim.spec.as_ref().and_then(|spec| spec.selector.as_ref()),
                candidate.metadata.labels.as_ref(),
            )
            && node.is_none_or(|node| volume::is_usable_on(candidate, node));
        if fits && best.is_none_or(|found| (capacity, name) < found) {
            best = Some((capacity, name));
        }
    }
    best.map(|(_, name)| name.to_owned())
}

/// Why a claim cannot have the volume that it names, in the words of the binder.
pub(super) fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    let requested = claim::requested(claim);
    if volume::capacity(volume) < requested {
        Some("requested PV is too small".to_owned())
    } else if volume::class(volume) != claim::class(claim).unwrap_or_default() {
        Some("storageClassName does not match".to_owned())
    } else if volume::mode(volume) != claim::mode(claim) {
        Some("incompatible volumeMode".to_owned())
    } else if !modes_fit(volume, claim) {
        Some("incompatible accessMode".to_owned())
    } else {
        None
    }
}

fn modes_fit(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let offered = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_ref());
    let asked = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_ref());
    asked
        .into_iter()
        .flatten()
        .all(|mode| offered.is_some_and(|offered| offered.contains(mode)))
}

/// Whether a label selector selects these labels; one that is absent selects everything.
pub(super) fn selects(selector: Option<&LabelSelector>, labels: Option<&BTreeMap<String, String>>) -> bool {
    let Some(selector) = selector else { return true };
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let equal = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, wanted)| value(key) == Some(wanted));
    let expressions = selector.match_expressions.iter().flatten().all(|expression| {
        let found = value(&expression.key);
        let listed = || {
            found.is_some_and(|found| {
                expression
                    .values
                    .as_ref()
                    .is_some_and(|values| values.contains(found))
            })
        };
        match expression.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => found.is_some(),
            "DoesNotExist" => found.is_none(),
            _ => false,
        }
    });
    equal && expressions
}

/// Bytes that a `resources` or `capacity` map says under `storage`.
pub(super) fn storage_of(
    map: Option<&BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>,
) -> i64 {
    map.and_then(|map| map.get("storage"))
        .and_then(quantity::bytes)
        .unwrap_or(0)
}
