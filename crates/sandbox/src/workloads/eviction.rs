//! Pods that have to leave their node: driven out by a taint with effect NoExecute, or on a node that is out of service.
//! `pkg/controller/tainteviction` and `pkg/controller/podgc` of v1.34.

use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};
use parking_lot::Mutex;
use serde_json::json;

use super::pods;
use crate::machinery::{
    Answer, Change, Context, Controller, Key, Kinds, Outcome, Told, merge_status, settled,
};
use crate::node::{Eviction, OUT_OF_SERVICE, Taints, replace_condition};

const COMPONENT: &str = "taint-eviction-controller";

/// The taint eviction controller, and of the pod garbage collector the part about nodes out of service.
pub struct Evictions {
    context: Context,
    placed: Mutex<Known>,
}

/// Pods that have a node.
#[derive(Debug, Default)]
struct Known(BTreeMap<Key, Placed>);

/// What is decided on of a pod that has a node. Tolerations are a part of `spec`, which `generation` counts.
#[derive(Debug, PartialEq, Eq)]
struct Placed {
    uid: Option<String>,
    node: String,
    generation: Option<i64>,
    is_going: bool,
}

/// What happens to a pod.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Stay,
    Look(std::time::Duration),
    Evict,
    /// Nobody will ever say that its containers have ended.
    Forget,
}

impl Evictions {
    /// No pod known yet.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            placed: Mutex::default(),
        }
    }

    async fn evict(&self, pod: &Pod) -> Answer<()> {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let api = self.context.client.of::<Pod>(&namespace);
        let told = format!("Marking for deletion Pod {namespace}/{name}");
        let told = Told::normal(COMPONENT, "TaintManagerEviction", told);
        self.context.recorder.tell(pod, told).await;
        let why = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": self.context.now(),
        });
        if let Some(conditions) = replace_condition(pod, why) {
            let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": conditions}});
            settled(merge_status(&api, &name, &patch).await)?;
        }
        settled(api.delete(&name, &exactly(pod, DeleteParams::default())).await)
    }

    async fn forget(&self, pod: &Pod) -> Answer<()> {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let api = self.context.client.of::<Pod>(&namespace);
        if !matches!(pods::phase(pod), "Succeeded" | "Failed") {
            let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"phase": "Failed"}});
            settled(merge_status(&api, &name, &patch).await)?;
        }
        let at_once = DeleteParams::default().grace_period(0);
        settled(api.delete(&name, &exactly(pod, at_once)).await)
    }
}

impl Known {
    /// Takes note of a change; the pods to be looked at because of it.
    fn woken_by(&mut self, change: &Change<'_>) -> Vec<Key> {
        let key = change.key();
        if change.is("", "Node") {
            let there = self.0.iter().filter(|(_, pod)| pod.node == key.name);
            return there.map(|(key, _)| key.clone()).collect();
        }
        if !change.is("", "Pod") {
            return Vec::new();
        }
        let Some(node) = change.node().filter(|_| !change.gone) else {
            self.0.remove(&key);
            return Vec::new();
        };
        let now = Placed::of(change, node);
        if self.0.get(&key) == Some(&now) {
            return Vec::new();
        }
        self.0.insert(key.clone(), now);
        vec![key]
    }
}

impl Placed {
    fn of(change: &Change<'_>, node: String) -> Self {
        let meta = change.meta();
        Self {
            uid: meta.uid.clone(),
            node,
            generation: meta.generation,
            is_going: meta.deletion_timestamp.is_some(),
        }
    }
}

fn exactly(pod: &Pod, parameters: DeleteParams) -> DeleteParams {
    parameters.preconditions(Preconditions {
        uid: pod.uid(),
        resource_version: None,
    })
}

#[async_trait]
impl Controller for Evictions {
    type Key = Key;
    const NAME: &'static str = COMPONENT;

    fn touched_by(&self, change: &Change<'_>) -> Vec<Key> {
        self.placed.lock().woken_by(change)
    }

    async fn reconcile(&self, key: &Key) -> Answer<Outcome> {
        let client = &self.context.client;
        let Some(pod) = client.of::<Pod>(&key.namespace).get_opt(&key.name).await? else {
            return Ok(Outcome::Done);
        };
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let Some(node) = client.wide::<Node>().get_opt(node.unwrap_or_default()).await? else {
            return Ok(Outcome::Done);
        };
        match decide(&pod, node, self.context.clock.now()) {
            Step::Stay => {}
            Step::Look(wait) => return Ok(Outcome::Again(wait)),
            Step::Evict => self.evict(&pod).await?,
            Step::Forget => self.forget(&pod).await?,
        }
        Ok(Outcome::Done)
    }
}

fn decide(pod: &Pod, node: Node, now: jiff::Timestamp) -> Step {
    let conditions = node
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    let is_ready = conditions
        .iter()
        .any(|it| it.type_ == "Ready" && it.status == "True");
    let taints = Taints(node.spec.and_then(|spec| spec.taints).unwrap_or_default());
    if pod.metadata.deletion_timestamp.is_some() {
        let is_out_of_service = !is_ready && taints.0.iter().any(|taint| taint.key == OUT_OF_SERVICE);
        return if is_out_of_service {
            Step::Forget
        } else {
            Step::Stay
        };
    }
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref());
    match taints.eviction(tolerations.unwrap_or_default(), now) {
        Eviction::Never => Step::Stay,
        Eviction::Now => Step::Evict,
        Eviction::After(wait, since) => {
            let passed = std::time::Duration::try_from(now.duration_since(since)).unwrap_or_default();
            match wait.checked_sub(passed).filter(|left| !left.is_zero()) {
                Some(left) => Step::Look(left),
                None => Step::Evict,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::machinery::Seen;

    const THEN: &str = "2026-01-01T00:00:00Z";

    fn step(seconds: i64, tolerations: serde_json::Value, taints: &[&str]) -> Step {
        let taints: Vec<_> = taints
            .iter()
            .map(|key| json!({"key": key, "effect": "NoExecute", "timeAdded": THEN}))
            .collect();
        let pod =
            json!({"metadata": {"name": "web"}, "spec": {"containers": [], "tolerations": tolerations}});
        let node = json!({"metadata": {"name": "one"}, "spec": {"taints": taints}});
        let now = THEN.parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_secs(seconds);
        decide(
            &serde_json::from_value(pod).unwrap(),
            serde_json::from_value(node).unwrap(),
            now,
        )
    }

    #[test]
    fn a_pod_leaves_when_its_shortest_toleration_is_over_and_at_once_without_one() {
        let tolerations = json!([
            {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 100},
            {"key": "c", "operator": "Exists", "effect": "NoExecute"},
        ]);
        let step = |seconds, taints: &[&str]| step(seconds, tolerations.clone(), taints);
        assert_eq!(step(0, &[]), Step::Stay);
        assert_eq!(step(9000, &["c"]), Step::Stay);
        assert_eq!(step(60, &["a"]), Step::Look(Duration::from_secs(240)));
        assert_eq!(step(60, &["a", "b", "c"]), Step::Look(Duration::from_secs(40)));
        assert_eq!(step(300, &["a", "c"]), Step::Evict);
        assert_eq!(step(0, &["a", "unknown"]), Step::Evict);
    }

    #[test]
    fn a_pod_is_looked_at_when_it_is_placed_tolerates_other_things_or_is_deleted_and_with_its_node() {
        let mut known = Known::default();
        let pod = json!({
            "metadata": {"namespace": "shop", "name": "web", "uid": "u", "generation": 1},
            "spec": {"nodeName": "one"},
        });
        let mut is_woken = |kind: &str, object: &serde_json::Value| {
            !known.woken_by(&Seen::new("", kind, object).change()).is_empty()
        };
        assert!(is_woken("Pod", &pod));
        let mut running = pod.clone();
        running["status"] = json!({"phase": "Running"});
        assert!(!is_woken("Pod", &running));
        running["metadata"]["generation"] = 2.into();
        assert!(is_woken("Pod", &running));
        running["metadata"]["deletionTimestamp"] = THEN.into();
        assert!(is_woken("Pod", &running));
        assert!(is_woken("Node", &json!({"metadata": {"name": "one"}})));
        assert!(!is_woken("Node", &json!({"metadata": {"name": "two"}})));
        running["metadata"]["uid"] = "another".into();
        assert!(is_woken("Pod", &running));
    }
}
