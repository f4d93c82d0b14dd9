//! Nodes that are not heard of any more: Unknown, tainted, their pods not ready.
//! `pkg/controller/nodelifecycle` of v1.34.
//!
//! ```text
//! kubelet ──every 10 s──► Lease   no renewal for 50 s ──► conditions Unknown ──► taint unreachable ──► eviction.rs
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::ListParams;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use crate::machinery::{
    Answer, Change, Context, Controller, Kinds, Outcome, Told, is_not_found, merge, merge_status, settled,
};
use crate::node::{LEASES, replace_condition};

const COMPONENT: &str = "node-controller";
/// `--node-monitor-grace-period`, its default since v1.32.
const GRACE: Duration = Duration::from_secs(50);
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The conditions that a kubelet reports.
const REPORTED: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The node lifecycle controller.
pub struct NodeLifecycle {
    context: Context,
    /// By node. Measured here, not by the lease's own time: a machine that was asleep has not missed its renewals.
    heard: Mutex<BTreeMap<String, Heard>>,
}

/// The last sign of life of a node.
struct Heard {
    renewed: Option<jiff::Timestamp>,
    at: Instant,
}

impl NodeLifecycle {
    /// No node known yet.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            heard: Mutex::default(),
        }
    }

    /// How long the node has not renewed its lease.
    fn silence(&self, node: &str, lease: Option<Lease>) -> Duration {
        let renewed = lease.and_then(|lease| Some(lease.spec?.renew_time?.0));
        self.hear(node, renewed);
        let heard = self.heard.lock();
        heard.get(node).map_or(Duration::ZERO, |heard| heard.at.elapsed())
    }

    /// Notes a sign of life. True: the node was not known, or silent for long.
    fn hear(&self, node: &str, renewed: Option<jiff::Timestamp>) -> bool {
        let at = Instant::now();
        let mut all = self.heard.lock();
        let Some(heard) = all.get_mut(node) else {
            all.insert(node.to_owned(), Heard { renewed, at });
            return true;
        };
        let was_silent = heard.at.elapsed() >= GRACE;
        if heard.renewed != renewed {
            *heard = Heard { renewed, at };
        }
        was_silent
    }

    async fn mark_unknown(&self, node: &Node, conditions: Vec<NodeCondition>) -> Answer<()> {
        let name = node.name_any();
        tracing::info!(node = %name, "node is not heard of any more");
        let api = self.context.client.wide::<Node>();
        merge_status(&api, &name, &json!({"status": {"conditions": conditions}})).await?;
        let told = format!("Node {name} status is now: NodeNotReady");
        self.context
            .recorder
            .tell(node, Told::normal(COMPONENT, "NodeNotReady", told))
            .await;
        Ok(())
    }

    /// `MarkPodsNotReady`: those of the node that say they are ready.
    async fn mark_pods(&self, node: &str) -> Answer<()> {
        let there = ListParams::default().fields(&format!("spec.nodeName={node}"));
        for pod in self.context.client.wide::<Pod>().list(&there).await? {
            if super::pods::ready_since(&pod).is_none() {
                continue;
            }
            let unready =
                json!({"type": "Ready", "status": "False", "lastTransitionTime": self.context.now()});
            let Some(conditions) = replace_condition(&pod, unready) else {
                continue;
            };
            let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": conditions}});
            let api = self
                .context
                .client
                .of::<Pod>(&pod.namespace().unwrap_or_default());
            settled(merge_status(&api, &pod.name_any(), &patch).await)?;
            let told = Told::warning(COMPONENT, "NodeNotReady", "Node is not ready");
            self.context.recorder.tell(&pod, told).await;
        }
        Ok(())
    }

    async fn taint(&self, node: &Node, taints: Vec<Taint>) -> Answer<()> {
        let patch = json!({
            "metadata": {"resourceVersion": node.resource_version()}, "spec": {"taints": taints},
        });
        match merge(&self.context.client.wide::<Node>(), &node.name_any(), &patch).await {
            Err(error) if is_not_found(&error) => Ok(()),
            // A conflict, too, is to be looked at again.
            answer => answer,
        }
    }
}

#[async_trait]
impl Controller for NodeLifecycle {
    type Key = String;
    const NAME: &'static str = COMPONENT;

    fn touched_by(&self, change: &Change<'_>) -> Vec<String> {
        let key = change.key();
        if change.is("coordination.k8s.io", "Lease") && key.namespace == LEASES {
            let lease = change.parse::<Lease>();
            let renewed = lease.and_then(|lease| Some(lease.spec?.renew_time?.0));
            // The reconcile that its silence would bring is waiting already.
            let is_news = self.hear(&key.name, renewed);
            return if is_news { vec![key.name] } else { Vec::new() };
        }
        if !change.is("", "Node") {
            return Vec::new();
        }
        let mut heard = self.heard.lock();
        if change.gone {
            heard.remove(&key.name);
        }
        // Whether any node is left decides about all of them.
        let others = heard.keys().filter(|name| **name != key.name).cloned();
        std::iter::once(key.name.clone()).chain(others).collect()
    }

    async fn reconcile(&self, name: &String) -> Answer<Outcome> {
        let client = &self.context.client;
        let nodes = client.wide::<Node>().list(&ListParams::default()).await?.items;
        let Some(node) = nodes.iter().find(|node| node.name_any() == *name) else {
            return Ok(Outcome::Done);
        };
        let lease = client.of::<Lease>(LEASES).get_opt(name).await?;
        let silence = self.silence(name, lease);
        if silence >= GRACE {
            if let Some(conditions) = unknown(node, &self.context.now()) {
                self.mark_unknown(node, conditions).await?;
                // The change that this was brings it here again.
                return Ok(Outcome::Done);
            }
            self.mark_pods(name).await?;
        }
        let is_any_ready = nodes.iter().any(|node| readiness(node) == "True");
        if let Some(taints) = wanted_taints(node, is_any_ready, &self.context.now()) {
            self.taint(node, taints).await?;
        }
        Ok(match GRACE.checked_sub(silence).filter(|left| !left.is_zero()) {
            Some(left) => Outcome::Again(left),
            None => Outcome::Done,
        })
    }
}

/// Status of the condition Ready; Unknown when there is none.
fn readiness(node: &Node) -> &str {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|all| all.iter().find(|it| it.type_ == "Ready"));
    ready.map_or("Unknown", |it| &it.status)
}

/// The node's conditions when its kubelet is silent; `None`: they say so already.
fn unknown(node: &Node, now: &Time) -> Option<Vec<NodeCondition>> {
    let status = node.status.clone().unwrap_or_default();
    let mut all = status.conditions.unwrap_or_default();
    let mut is_changed = false;
    for name in REPORTED {
        match all.iter_mut().find(|it| it.type_ == *name) {
            Some(it) if it.status == "Unknown" => {}
            Some(it) => {
                it.status = "Unknown".to_owned();
                it.reason = Some("NodeStatusUnknown".to_owned());
                it.message = Some("Kubelet stopped posting node status.".to_owned());
                it.last_transition_time = Some(now.clone());
                is_changed = true;
            }
            None => {
                all.push(NodeCondition {
                    type_: (*name).to_owned(),
                    status: "Unknown".to_owned(),
                    reason: Some("NodeStatusNeverUpdated".to_owned()),
                    message: Some("Kubelet never posted node status.".to_owned()),
                    last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                    last_transition_time: Some(now.clone()),
                });
                is_changed = true;
            }
        }
    }
    is_changed.then_some(all)
}

/// The node's taints as its readiness asks for; `None`: it has them. Where no node is ready the fault is taken to be
/// elsewhere, and nobody is evicted (`stateFullDisruption`).
fn wanted_taints(node: &Node, is_any_ready: bool, now: &Time) -> Option<Vec<Taint>> {
    let before = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let key = match readiness(node) {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    let effects: &[&str] = match (key, is_any_ready) {
        (None, _) => &[],
        (Some(_), false) => &["NoSchedule"],
        (Some(_), true) => &["NoSchedule", "NoExecute"],
    };
    let is_ours = |taint: &Taint| taint.key == NOT_READY || taint.key == UNREACHABLE;
    let is_wanted =
        |taint: &Taint| Some(taint.key.as_str()) == key && effects.contains(&taint.effect.as_str());
    let mut after: Vec<Taint> = before
        .iter()
        .filter(|taint| !is_ours(taint) || is_wanted(taint))
        .cloned()
        .collect();
    for effect in effects {
        if !after
            .iter()
            .any(|taint| is_ours(taint) && taint.effect == *effect)
        {
            after.push(Taint {
                key: key.unwrap_or_default().to_owned(),
                effect: (*effect).to_owned(),
                time_added: Some(now.clone()),
                ..Taint::default()
            });
        }
    }
    (after != before).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str, taints: &[(&str, &str)]) -> Node {
        let taints: Vec<_> = taints
            .iter()
            .map(|(key, effect)| json!({"key": key, "effect": effect}))
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": "one"}, "spec": {"taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn wanted(node: &Node, is_any_ready: bool) -> Option<Vec<String>> {
        let now = Time(jiff::Timestamp::UNIX_EPOCH);
        let told = |taint: Taint| format!("{}:{}", taint.key, taint.effect);
        Some(
            wanted_taints(node, is_any_ready, &now)?
                .into_iter()
                .map(told)
                .collect(),
        )
    }

    #[test]
    fn taints_follow_readiness_and_those_of_others_stay() {
        let (silent, broken) = (node("Unknown", &[("a", "NoSchedule")]), node("False", &[]));
        let unreachable = [
            "a:NoSchedule",
            "node.kubernetes.io/unreachable:NoSchedule",
            "node.kubernetes.io/unreachable:NoExecute",
        ];
        assert_eq!(wanted(&silent, true).unwrap(), unreachable);
        assert_eq!(wanted(&silent, false).unwrap(), unreachable[..2]);
        let not_ready = [
            "node.kubernetes.io/not-ready:NoSchedule",
            "node.kubernetes.io/not-ready:NoExecute",
        ];
        assert_eq!(wanted(&broken, true).unwrap(), not_ready);
        let back = node("True", &[(UNREACHABLE, "NoExecute"), ("a", "NoSchedule")]);
        assert_eq!(wanted(&back, true).unwrap(), ["a:NoSchedule"]);
        assert_eq!(wanted(&node("True", &[("a", "NoSchedule")]), true), None);
    }

    #[test]
    fn a_silent_node_is_unknown_in_all_that_its_kubelet_would_say() {
        let now = Time(jiff::Timestamp::UNIX_EPOCH);
        let mut silent = node("True", &[]);
        let said = unknown(&silent, &now).unwrap();
        let reasons: Vec<_> = said
            .iter()
            .map(|it| (it.type_.as_str(), it.reason.as_deref().unwrap()))
            .collect();
        assert_eq!(reasons[0], ("Ready", "NodeStatusUnknown"));
        assert_eq!(reasons[1], ("MemoryPressure", "NodeStatusNeverUpdated"));
        silent.status.as_mut().unwrap().conditions = Some(said);
        assert_eq!(unknown(&silent, &now), None);
    }
}
