//! Which nodes a pod fits, and in which words one does not.
//!
//! The filters of `kube-scheduler` v1.34 that matter here, in its order and with its reasons: NodeUnschedulable, NodeName,
//! TaintToleration, NodeAffinity, VolumeBinding. Resource requests are not counted: a node of the sandbox has room.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PodSpec, Taint,
    Toleration, TopologySelectorTerm,
};

/// What a pod's claim asks of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum ClaimOnNode {
    /// The volume it is bound to.
    Bound(Box<PersistentVolume>),
    /// Bound to a volume that is not there.
    VolumeMissing,
    /// To be provisioned for the pod's node, within the class's `allowedTopologies`.
    Delayed(Vec<TopologySelectorTerm>),
}

/// Why the pod cannot run on this node; `None`: it can.
pub fn misfit(pod: &PodSpec, claims: &[ClaimOnNode], node: &Node) -> Option<String> {
    let spec = node.spec.clone().unwrap_or_default();
    let tolerations = pod.tolerations.as_deref().unwrap_or_default();
    let unschedulable = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if spec.unschedulable == Some(true) && !tolerates(tolerations, &unschedulable) {
        return Some("node(s) were unschedulable".to_owned());
    }
    if pod
        .node_name
        .as_ref()
        .is_some_and(|name| Some(name) != node.metadata.name.as_ref())
    {
        return Some("node(s) didn't match the requested node name".to_owned());
    }
    let taints = Taints(spec.taints.unwrap_or_default());
    if let Some(taint) = taints.untolerated(tolerations, &["NoSchedule", "NoExecute"]) {
        let value = taint.value.as_deref().unwrap_or_default();
        return Some(format!(
            "node(s) had untolerated taint {{{}: {value}}}",
            taint.key
        ));
    }
    if !fits_affinity(pod, node) {
        return Some("node(s) didn't match Pod's node affinity/selector".to_owned());
    }
    claims.iter().find_map(|claim| claim_misfit(claim, node))
}

fn claim_misfit(claim: &ClaimOnNode, node: &Node) -> Option<String> {
    match claim {
        ClaimOnNode::Bound(volume) => {
            let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
            let required = affinity.and_then(|affinity| affinity.required.as_ref());
            let fits = required.is_none_or(|selector| selector_fits(selector, node));
            (!fits).then(|| "node(s) didn't match PersistentVolume's node affinity".to_owned())
        }
        ClaimOnNode::VolumeMissing => {
            Some("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)".to_owned())
        }
        ClaimOnNode::Delayed(allowed) => {
            let fits = allowed.is_empty() || allowed.iter().any(|term| topology_fits(term, node));
            (!fits).then(|| "node(s) didn't find available persistent volumes to bind".to_owned())
        }
    }
}

/// A node's taints.
pub struct Taints(pub Vec<Taint>);

impl Taints {
    /// The first taint of these effects that the pod does not tolerate.
    pub fn untolerated(&self, tolerations: &[Toleration], effects: &[&str]) -> Option<&Taint> {
        self.0
            .iter()
            .find(|taint| effects.contains(&taint.effect.as_str()) && !tolerates(tolerations, taint))
    }
}

/// When a pod has to leave its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    Never,
    Now,
    /// This time after the taint came.
    After(std::time::Duration, jiff::Timestamp),
}

impl Taints {
    /// What the taints with effect NoExecute do to a pod (`taint_eviction.go`): one that it does not tolerate drives it out at
    /// once, the shortest `tolerationSeconds` of the others later.
    pub fn eviction(&self, tolerations: &[Toleration], now: jiff::Timestamp) -> Eviction {
        let mut first: Option<(std::time::Duration, jiff::Timestamp)> = None;
        for taint in self.0.iter().filter(|taint| taint.effect == "NoExecute") {
            let used = tolerations
                .iter()
                .filter(|it| tolerates(std::slice::from_ref(it), taint));
            let seconds: Vec<Option<i64>> = used.map(|it| it.toleration_seconds).collect();
            let Some(shortest) = seconds.iter().flatten().min() else {
                if seconds.is_empty() {
                    return Eviction::Now;
                }
                continue;
            };
            let wait = std::time::Duration::from_secs(u64::try_from(*shortest).unwrap_or(0));
            let since = taint.time_added.as_ref().map_or(now, |time| time.0);
            if first.is_none_or(|(least, _)| wait < least) {
                first = Some((wait, since));
            }
        }
        first.map_or(Eviction::Never, |(wait, since)| Eviction::After(wait, since))
    }
}

fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let same = |said: &Option<String>, own: &str| said.as_deref().unwrap_or_default() == own;
        let no_key = toleration.key.as_deref().unwrap_or_default().is_empty();
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let is_exists = toleration.operator.as_deref() == Some("Exists");
        let value = taint.value.as_deref().unwrap_or_default();
        (effect.is_empty() || effect == taint.effect)
            && ((no_key && is_exists) || same(&toleration.key, &taint.key))
            && (is_exists || same(&toleration.value, value))
    })
}

/// `nodeSelector` and the required node affinity.
pub fn fits_affinity(pod: &PodSpec, node: &Node) -> bool {
    let none = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&none);
    let has = |(key, value): (&String, &String)| labels.get(key) == Some(value);
    if !pod.node_selector.iter().flatten().all(has) {
        return false;
    }
    let affinity = pod
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    affinity
        .and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        })
        .is_none_or(|selector| selector_fits(selector, node))
}

/// One term is enough.
pub fn selector_fits(selector: &NodeSelector, node: &Node) -> bool {
    selector
        .node_selector_terms
        .iter()
        .any(|term| term_fits(term, node))
}

/// All requirements must hold; a term without any fits nothing.
fn term_fits(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let labels = node.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    let field = |key: &str| node.metadata.name.as_deref().filter(|_| key == "metadata.name");
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|it| requirement_holds(it, label(&it.key)))
        && fields.iter().all(|it| requirement_holds(it, field(&it.key)))
}

fn requirement_holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_in = value.is_some_and(|value| values.iter().any(|one| one == value));
    let numbers = || -> Option<(i64, i64)> { Some((value?.parse().ok()?, values.first()?.parse().ok()?)) };
    match requirement.operator.as_str() {
        "In" => is_in,
        "NotIn" => !is_in,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

fn topology_fits(term: &TopologySelectorTerm, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    term.match_label_expressions.iter().flatten().all(|requirement| {
        labels
            .and_then(|labels| labels.get(&requirement.key))
            .is_some_and(|value| requirement.values.contains(value))
    })
}

/// The scheduler's sentence about a pod that fits no node.
pub fn no_node(reasons: &[String]) -> String {
    let count = reasons.len();
    if count == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counted.entry(reason).or_default() += 1;
    }
    let mut said: Vec<String> = counted
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    said.sort();
    format!(
        "0/{count} nodes are available: {}. no new claims to deallocate, preemption: 0/{count} nodes are available: \
         {count} Preemption is not helpful for scheduling.",
        said.join(", ")
    )
}

/// The sentence about a pod that no node is looked at for: `pod has unbound immediate PersistentVolumeClaims`.
pub fn not_looked_at(nodes: usize, why: &str) -> String {
    format!("0/{nodes} nodes are available: {why}. not found")
}

#[cfg(test)]
mod tests;
