//! Pods that wait for a node, and which changes may end the wait of which of them.
//!
//! As the queueing hints of `kube-scheduler` v1.34 (`EventsToRegister` of its plugins): a change of a claim or a volume
//! wakes the pods that use the claim, one of a node wakes all.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{PersistentVolume, Pod, Volume};
use kube::ResourceExt;

use crate::machinery::{Change, Key};

/// Pods without a node, each with the names of its claims.
#[derive(Debug, Default)]
pub struct Pending(BTreeMap<Key, BTreeSet<String>>);

impl Pending {
    /// Takes note of a change; the pods to be looked at because of it.
    pub fn woken_by(&mut self, change: &Change<'_>) -> Vec<Key> {
        if change.is("", "Pod") {
            return self.note(change).into_iter().collect();
        }
        if self.0.is_empty() {
            return Vec::new();
        }
        if change.is("", "Node") {
            return self.0.keys().cloned().collect();
        }
        if change.is("", "PersistentVolumeClaim") {
            return self.with_claim(&change.key());
        }
        if change.is("", "PersistentVolume") {
            // One that belongs to no claim yet may be the one that a claim names.
            return claim_of(change).map_or_else(|| self.with_claims(), |claim| self.with_claim(&claim));
        }
        if change.is("storage.k8s.io", "StorageClass") {
            return self.with_claims();
        }
        Vec::new()
    }

    /// The pod itself, if it still waits.
    fn note(&mut self, change: &Change<'_>) -> Option<Key> {
        let key = change.key();
        if change.gone || change.node().is_some() {
            self.0.remove(&key);
            return None;
        }
        let pod = change.parse::<Pod>().unwrap_or_default();
        self.0
            .insert(key.clone(), claim_names(&pod).into_iter().collect());
        Some(key)
    }

    /// Pods that use this claim.
    fn with_claim(&self, claim: &Key) -> Vec<Key> {
        let uses = |(pod, claims): &(&Key, &BTreeSet<String>)| {
            pod.namespace == claim.namespace && claims.contains(&claim.name)
        };
        self.0.iter().filter(uses).map(|(pod, _)| pod.clone()).collect()
    }

    /// Pods that use any claim.
    fn with_claims(&self) -> Vec<Key> {
        let some = self.0.iter().filter(|(_, claims)| !claims.is_empty());
        some.map(|(pod, _)| pod.clone()).collect()
    }
}

/// The claim that a changed volume belongs to.
fn claim_of(change: &Change<'_>) -> Option<Key> {
    let claim = change.parse::<PersistentVolume>()?.spec?.claim_ref?;
    Some(Key {
        namespace: claim.namespace?,
        name: claim.name?,
    })
}

/// The claims of a pod's volumes, in their order: those it names, and those that are made for it.
pub fn claim_names(pod: &Pod) -> Vec<String> {
    let of_volume = |volume: &Volume| {
        let claim = volume
            .persistent_volume_claim
            .as_ref()
            .map(|claim| claim.claim_name.clone());
        let own = volume
            .ephemeral
            .as_ref()
            .map(|_| format!("{}-{}", pod.name_any(), volume.name));
        claim.or(own)
    };
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(of_volume).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::machinery::Seen;

    /// Of these pending pods, those that the change wakes.
    fn woken(pending: &mut Pending, seen: &Seen) -> Vec<String> {
        let keys = pending.woken_by(&seen.change()).into_iter();
        keys.map(|key| format!("{}/{}", key.namespace, key.name))
            .collect()
    }

    fn pod(namespace: &str, name: &str, volumes: &Value) -> Value {
        json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"containers": [], "volumes": volumes},
        })
    }

    fn three_pods() -> Pending {
        let mut pending = Pending::default();
        let data = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
        let scratch = json!([{"name": "scratch", "ephemeral": {}}]);
        for pod in [
            pod("shop", "db", &data),
            pod("desk", "db", &data),
            pod("shop", "web", &scratch),
        ] {
            assert_eq!(woken(&mut pending, &Seen::new("", "Pod", &pod)).len(), 1);
        }
        let plain = pod("shop", "plain", &json!([]));
        woken(&mut pending, &Seen::new("", "Pod", &plain));
        pending
    }

    #[test]
    fn a_claim_wakes_the_pods_of_its_namespace_that_use_it() {
        let mut pending = three_pods();
        let claim = |namespace: &str, name: &str| {
            let object = json!({"metadata": {"namespace": namespace, "name": name}});
            Seen::new("", "PersistentVolumeClaim", &object)
        };
        let mut wakes = |seen: &Seen| woken(&mut pending, seen);
        assert_eq!(wakes(&claim("shop", "data")), ["shop/db"]);
        assert_eq!(wakes(&claim("desk", "data").gone()), ["desk/db"]);
        assert_eq!(wakes(&claim("shop", "web-scratch")), ["shop/web"]);
        assert!(wakes(&claim("shop", "other")).is_empty());
    }

    #[test]
    fn a_volume_wakes_the_pods_of_its_claim_and_one_without_claim_all_that_have_claims() {
        let mut pending = three_pods();
        let bound = json!({
            "metadata": {"name": "pv"},
            "spec": {"claimRef": {"namespace": "shop", "name": "data"}},
        });
        let mut wakes = |object: &Value| woken(&mut pending, &Seen::new("", "PersistentVolume", object));
        assert_eq!(wakes(&bound), ["shop/db"]);
        let free = json!({"metadata": {"name": "pv"}, "spec": {}});
        assert_eq!(wakes(&free), ["desk/db", "shop/db", "shop/web"]);
    }

    #[test]
    fn a_node_wakes_every_pod_that_still_waits() {
        let mut pending = three_pods();
        let mut placed = pod("shop", "db", &json!([]));
        placed["spec"]["nodeName"] = "one".into();
        assert!(woken(&mut pending, &Seen::new("", "Pod", &placed)).is_empty());
        let web = pod("shop", "web", &json!([]));
        assert!(woken(&mut pending, &Seen::new("", "Pod", &web).gone()).is_empty());
        let node = json!({"metadata": {"name": "one"}});
        let left = woken(&mut pending, &Seen::new("", "Node", &node));
        assert_eq!(left, ["desk/db", "shop/plain"]);
    }
}
