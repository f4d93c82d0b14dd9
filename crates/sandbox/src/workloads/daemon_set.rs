//! DaemonSet: one pod on each node that it fits. `pkg/controller/daemon` of v1.34.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::api::ListParams;
use parking_lot::Mutex;
use serde_json::json;

use super::pods::{self, from_template};
use super::rollout::share;
use crate::machinery::{Answer, Change, Context, Controller, Key, Kinds, Outcome};
use crate::node::{Taints, fits_affinity};

const COMPONENT: &str = "daemonset-controller";
const REVISION_LABEL: &str = "controller-revision-hash";
/// Every daemon pod tolerates these, with their effects.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// The DaemonSet controller.
pub struct DaemonSets {
    context: Context,
    known: Mutex<BTreeSet<Key>>,
}

impl DaemonSets {
    /// No set known yet.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            known: Mutex::default(),
        }
    }
}

#[async_trait]
impl Controller for DaemonSets {
    type Key = Key;
    const NAME: &'static str = COMPONENT;

    fn touched_by(&self, change: &Change<'_>) -> Vec<Key> {
        if change.is("apps", "DaemonSet") {
            let mut known = self.known.lock();
            if change.gone {
                known.remove(&change.key());
            } else {
                known.insert(change.key());
            }
            return vec![change.key()];
        }
        if change.is("", "Node") {
            return self.known.lock().iter().cloned().collect();
        }
        if change.is("", "Pod") {
            return change.controlled_by("DaemonSet").into_iter().collect();
        }
        Vec::new()
    }

    async fn reconcile(&self, key: &Key) -> Answer<Outcome> {
        let client = &self.context.client;
        let api = client.of::<DaemonSet>(&key.namespace);
        let Some(set) = api.get_opt(&key.name).await? else {
            return Ok(Outcome::Done);
        };
        let spec = set.spec.clone().unwrap_or_default();
        let owner = pods::controller_reference(&set);
        let is_going = set.metadata.deletion_timestamp.is_some();
        let pod_api = client.of::<Pod>(&key.namespace);
        let mine = pods::claim(&pod_api, &owner, is_going, &spec.selector, |_| true).await?;
        let mut nodes = client.wide::<Node>().list(&ListParams::default()).await?.items;
        nodes.sort_by_key(ResourceExt::name_any);
        let picture = Picture::new(&spec, &nodes, mine);
        if !is_going {
            self.act(&set, &spec, &picture).await?;
        }
        self.write_status(&set, &spec, &picture).await?;
        Ok(Outcome::Done)
    }
}

/// Nodes and pods of one set.
struct Picture {
    hash: String,
    /// Nodes that should have a pod.
    wanted: BTreeSet<String>,
    /// Pods by node; those of no node are not ours to place again.
    by_node: BTreeMap<String, Vec<Pod>>,
}

impl Picture {
    fn new(spec: &DaemonSetSpec, nodes: &[Node], mine: Vec<Pod>) -> Self {
        let pod = spec.template.spec.clone().unwrap_or_default();
        let wanted = nodes
            .iter()
            .filter(|node| should_run(&pod, node))
            .map(ResourceExt::name_any);
        let mut by_node: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
        for pod in mine {
            if let Some(node) = node_of(&pod) {
                by_node.entry(node).or_default().push(pod);
            }
        }
        Self {
            hash: pods::template_hash(&spec.template),
            wanted: wanted.collect(),
            by_node,
        }
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        pod.labels().get(REVISION_LABEL) == Some(&self.hash)
    }

    /// The pods that run where they should.
    fn placed(&self) -> impl Iterator<Item = &Pod> {
        let on_wanted = self
            .by_node
            .iter()
            .filter(|(node, _)| self.wanted.contains(*node));
        on_wanted.filter_map(|(_, pods)| pods.iter().find(|pod| pods::is_active(pod)))
    }

    /// Pods that must go: on wrong nodes, ended, twice on one node, or of an old template as the strategy allows.
    fn surplus(&self, spec: &DaemonSetSpec) -> Vec<&Pod> {
        let mut surplus = Vec::new();
        for (node, all) in &self.by_node {
            let mut kept = 0;
            for pod in all.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
                let is_kept = self.wanted.contains(node) && pods::is_active(pod) && kept == 0;
                kept += usize::from(is_kept);
                if !is_kept {
                    surplus.push(pod);
                }
            }
        }
        let strategy = spec.update_strategy.clone().unwrap_or_default();
        if strategy.type_.as_deref() == Some("OnDelete") {
            return surplus;
        }
        let limit = strategy
            .rolling_update
            .and_then(|it| it.max_unavailable)
            .unwrap_or(IntOrString::Int(1));
        let wanted = i32::try_from(self.wanted.len()).unwrap_or(i32::MAX);
        let ready = self
            .placed()
            .filter(|pod| pods::ready_since(pod).is_some())
            .count();
        let missing = self.wanted.len().saturating_sub(ready);
        let limit = usize::try_from(share(&limit, wanted, true).max(1)).unwrap_or(1);
        let mut may_go = limit.saturating_sub(missing);
        for pod in self.placed().filter(|pod| !self.is_updated(pod)) {
            let is_broken = pods::ready_since(pod).is_none();
            if is_broken || may_go > 0 {
                may_go -= usize::from(!is_broken);
                surplus.push(pod);
            }
        }
        surplus
    }
}

impl DaemonSets {
    async fn act(&self, set: &DaemonSet, spec: &DaemonSetSpec, picture: &Picture) -> Answer<()> {
        for pod in picture.surplus(spec) {
            pods::delete(&self.context, set, COMPONENT, pod).await?;
        }
        let empty = picture
            .wanted
            .iter()
            .filter(|node| !picture.by_node.contains_key(*node));
        for node in empty {
            let labels = [
                (REVISION_LABEL, picture.hash.clone()),
                (
                    "pod-template-generation",
                    set.metadata.generation.unwrap_or(1).to_string(),
                ),
            ];
            let owner = pods::controller_reference(set);
            let mut pod = from_template(&spec.template, owner, &format!("{}-", set.name_any()), &labels);
            place(pod.spec.get_or_insert_default(), node);
            pods::create(&self.context, set, COMPONENT, &pod).await?;
        }
        Ok(())
    }

    async fn write_status(&self, set: &DaemonSet, spec: &DaemonSetSpec, picture: &Picture) -> Answer<()> {
        let now = self.context.clock.now();
        let min_ready = spec.min_ready_seconds.unwrap_or(0);
        let count = |is_it: &dyn Fn(&Pod) -> bool| picture.placed().filter(|pod| is_it(pod)).count();
        let wanted = picture.wanted.len();
        let available = count(&|pod| pods::is_available(pod, min_ready, now));
        let misplaced = picture
            .by_node
            .keys()
            .filter(|node| !picture.wanted.contains(*node))
            .count();
        let status = json!({
            "observedGeneration": set.metadata.generation.unwrap_or(0),
            "desiredNumberScheduled": wanted, "currentNumberScheduled": count(&|_| true),
            "numberMisscheduled": misplaced, "numberReady": count(&|pod| pods::ready_since(pod).is_some()),
            "updatedNumberScheduled": count(&|pod| picture.is_updated(pod)),
            "numberAvailable": available, "numberUnavailable": wanted - available.min(wanted),
        });
        let api = self
            .context
            .client
            .of::<DaemonSet>(&set.namespace().unwrap_or_default());
        pods::write_status(&api, set, status).await
    }
}

fn should_run(pod: &PodSpec, node: &Node) -> bool {
    let mut tolerations = pod.tolerations.clone().unwrap_or_default();
    tolerations.extend(own_tolerations());
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    fits_affinity(pod, node)
        && Taints(taints)
            .untolerated(&tolerations, &["NoSchedule", "NoExecute"])
            .is_none()
}

fn own_tolerations() -> impl Iterator<Item = Toleration> {
    TOLERATED.iter().map(|(key, effect)| Toleration {
        key: Some((*key).to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some((*effect).to_owned()),
        ..Toleration::default()
    })
}

/// The scheduler places it, on this node only.
fn place(pod: &mut PodSpec, node: &str) {
    let field = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let affinity = pod
        .affinity
        .get_or_insert_default()
        .node_affinity
        .get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm {
            match_fields: Some(vec![field]),
            ..NodeSelectorTerm::default()
        }],
    });
    pod.tolerations.get_or_insert_default().extend(own_tolerations());
}

/// The node it runs on, or is made for.
fn node_of(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_ref().filter(|node| !node.is_empty()) {
        return Some(node.clone());
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let fields = required
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_fields.iter().flatten());
    let named = fields.filter(|field| field.key == "metadata.name");
    named
        .filter_map(|field| field.values.as_ref()?.first().cloned())
        .next()
}
