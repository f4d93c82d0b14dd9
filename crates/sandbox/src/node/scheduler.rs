//! The scheduler: gives every pod a node, or says why there is none.
//!
//! Mirrors `kube-scheduler` v1.34. For a volume of a class with WaitForFirstConsumer it writes the chosen node on the
//! claim (`volume.kubernetes.io/selected-node`) and binds the pod when the volume is there.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, PodSpec};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::fit::{self, ClaimOnNode};
use super::pending::{Pending, claim_names};
use super::status::replace_condition;
use crate::machinery::{
    Answer, Change, Context, Controller, Key, Kinds, Outcome, Ownerless, Told, fits, is_conflict,
    is_not_found, merge, merge_status, settled,
};

/// The node that a volume is to be made for.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The claim and its volume know each other.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const COMPONENT: &str = "default-scheduler";
/// Pods that are on a node and have not ended.
const PLACED: &str = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";

/// The default scheduler.
pub struct Scheduler {
    context: Context,
    /// Pods without a node: looked at again when something about nodes or volumes changes.
    pending: Mutex<Pending>,
}

/// One claim of the pod.
enum Claim {
    Missing(String),
    Deleting(String),
    /// Of a class that binds at once, and not bound yet; or of no class that is known.
    UnboundImmediate,
    OnNode(Box<PersistentVolumeClaim>, ClaimOnNode),
}

struct Observed {
    claims: Vec<Claim>,
    place: Place,
    /// Pods on nodes that have not ended; read only where they decide.
    placed: Vec<Pod>,
}

/// Where the pod can run, going by nodes and claims.
#[derive(Debug, PartialEq)]
enum Place {
    /// Nowhere, for this reason.
    Nowhere(String),
    On(String),
    /// On any of these: the other pods decide.
    OneOf(Vec<String>),
}

#[derive(Debug, PartialEq)]
enum Decision {
    Bind(String),
    /// These claims get their volumes for this node first.
    Prepare {
        node: String,
        claims: Vec<String>,
    },
    /// Volumes are being made.
    Wait,
    Unschedulable(String),
}

impl Scheduler {
    /// A scheduler.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            pending: Mutex::default(),
        }
    }

    async fn observe(&self, pod: &Pod, spec: &PodSpec) -> Answer<Observed> {
        let client = &self.context.client;
        let mut nodes = client.wide::<Node>().list(&ListParams::default()).await?.items;
        nodes.sort_by_key(ResourceExt::name_any);
        let mut claims = Vec::new();
        for name in claim_names(pod) {
            claims.push(self.claim(&pod.namespace().unwrap_or_default(), name).await?);
        }
        let place = place(spec, &nodes, &claims);
        let placed = match &place {
            Place::OneOf(_) => self.placed().await?,
            Place::Nowhere(_) | Place::On(_) => Vec::new(),
        };
        Ok(Observed {
            claims,
            place,
            placed,
        })
    }

    async fn placed(&self) -> Answer<Vec<Pod>> {
        let api = self.context.client.wide::<Ownerless<Pod>>();
        let placed = api.list(&ListParams::default().fields(PLACED)).await?;
        Ok(placed.items.into_iter().map(|Ownerless(pod)| pod).collect())
    }

    async fn claim(&self, namespace: &str, name: String) -> Answer<Claim> {
        let client = &self.context.client;
        let Some(claim) = client
            .of::<PersistentVolumeClaim>(namespace)
            .get_opt(&name)
            .await?
        else {
            return Ok(Claim::Missing(name));
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Ok(Claim::Deleting(name));
        }
        let spec = claim.spec.clone().unwrap_or_default();
        if let Some(volume) = spec.volume_name.as_ref().filter(|_| is_bound(&claim)) {
            let volume = client.wide::<PersistentVolume>().get_opt(volume).await?;
            let on_node = volume.map_or(ClaimOnNode::VolumeMissing, |it| ClaimOnNode::Bound(Box::new(it)));
            return Ok(Claim::OnNode(Box::new(claim), on_node));
        }
        let class = match &spec.storage_class_name {
            Some(class) if !class.is_empty() && spec.volume_name.is_none() => {
                client.wide::<StorageClass>().get_opt(class).await?
            }
            _ => None,
        };
        Ok(match class {
            Some(class) if class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer") => {
                let allowed = class.allowed_topologies.unwrap_or_default();
                Claim::OnNode(Box::new(claim), ClaimOnNode::Delayed(allowed))
            }
            _ => Claim::UnboundImmediate,
        })
    }

    async fn act(&self, pod: &Pod, decision: Decision) -> Answer<()> {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        match decision {
            Decision::Bind(node) => self.bind(pod, &namespace, &name, &node).await,
            Decision::Prepare { node, claims } => {
                let api = self.context.client.of::<PersistentVolumeClaim>(&namespace);
                let selected = json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
                for claim in claims {
                    settled(merge(&api, &claim, &selected).await)?;
                }
                Ok(())
            }
            Decision::Wait => Ok(()),
            Decision::Unschedulable(message) => self.say_unschedulable(pod, &namespace, &name, message).await,
        }
    }

    async fn bind(&self, pod: &Pod, namespace: &str, name: &str, node: &str) -> Answer<()> {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": pod.uid()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let api = self.context.client.of::<Pod>(namespace);
        let bound: Answer<Value> = api
            .create_subresource("binding", name, &PostParams::default(), &binding)
            .await;
        match bound {
            Err(error) if is_not_found(&error) || is_conflict(&error) => return Ok(()),
            other => other?,
        };
        let told = format!("Successfully assigned {namespace}/{name} to {node}");
        self.context
            .recorder
            .tell(pod, Told::normal(COMPONENT, "Scheduled", told))
            .await;
        Ok(())
    }

    /// Condition and event; said again only when the words change.
    async fn say_unschedulable(&self, pod: &Pod, namespace: &str, name: &str, message: String) -> Answer<()> {
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastProbeTime": null, "lastTransitionTime": self.context.now(),
            "observedGeneration": pod.metadata.generation,
        });
        let Some(conditions) = replace_condition(pod, condition) else {
            return Ok(());
        };
        let api = self.context.client.of::<Pod>(namespace);
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": conditions}});
        settled(merge_status(&api, name, &patch).await)?;
        self.context
            .recorder
            .tell(pod, Told::warning(COMPONENT, "FailedScheduling", message))
            .await;
        Ok(())
    }
}

/// Where nodes and claims let the pod run. A node that was chosen for its volumes stays the one.
fn place(spec: &PodSpec, nodes: &[Node], claims: &[Claim]) -> Place {
    let mut on_node = Vec::new();
    for claim in claims {
        let why = match claim {
            Claim::Missing(name) => format!("persistentvolumeclaim \"{name}\" not found"),
            Claim::Deleting(name) => format!("persistentvolumeclaim \"{name}\" is being deleted"),
            Claim::UnboundImmediate => "pod has unbound immediate PersistentVolumeClaims".to_owned(),
            Claim::OnNode(_, ask) => {
                on_node.push(ask.clone());
                continue;
            }
        };
        return Place::Nowhere(fit::not_looked_at(nodes.len(), &why));
    }
    let mut reasons = Vec::new();
    let mut fitting = Vec::new();
    for node in nodes {
        match fit::misfit(spec, &on_node, node) {
            Some(reason) => reasons.push(reason),
            None => fitting.push(node.name_any()),
        }
    }
    let selected = delayed(claims)
        .find_map(|claim| claim.annotations().get(SELECTED_NODE))
        .filter(|node| fitting.contains(node));
    match (selected, fitting.as_slice()) {
        (Some(node), _) => Place::On(node.clone()),
        (None, []) => Place::Nowhere(fit::no_node(&reasons)),
        (None, [node]) => Place::On(node.clone()),
        (None, _) => Place::OneOf(fitting),
    }
}

/// Claims whose volumes are made for the pod's node.
fn delayed(claims: &[Claim]) -> impl Iterator<Item = &PersistentVolumeClaim> {
    claims.iter().filter_map(|claim| match claim {
        Claim::OnNode(claim, ClaimOnNode::Delayed(_)) => Some(claim.as_ref()),
        _ => None,
    })
}

fn decide(pod: &Pod, spec: &PodSpec, observed: Observed) -> Decision {
    let best = match observed.place {
        Place::Nowhere(why) => return Decision::Unschedulable(why),
        Place::On(node) => Some(node),
        Place::OneOf(fitting) => best(pod, spec, &observed.placed, fitting),
    };
    let Some(node) = best else {
        return Decision::Unschedulable(fit::no_node(&[]));
    };
    let mut delayed = delayed(&observed.claims).peekable();
    if delayed.peek().is_none() {
        return Decision::Bind(node);
    }
    let claims: Vec<String> = delayed
        .filter(|claim| claim.annotations().get(SELECTED_NODE) != Some(&node))
        .map(|claim| claim.name_any())
        .collect();
    if claims.is_empty() {
        Decision::Wait
    } else {
        Decision::Prepare { node, claims }
    }
}

/// The node with the fewest pods of those that the pod wants to be spread from, then with the fewest pods, then by name.
fn best(pod: &Pod, spec: &PodSpec, placed: &[Pod], fitting: Vec<String>) -> Option<String> {
    let alike = |other: &Pod| {
        let mut spread = spec.topology_spread_constraints.iter().flatten();
        other.metadata.namespace == pod.metadata.namespace
            && spread.any(|constraint| {
                let selector = constraint.label_selector.as_ref();
                selector.is_some_and(|selector| fits(selector, other.metadata.labels.as_ref()))
            })
    };
    let load = |node: &String| {
        let here = || placed.iter().filter(|other| node_of(other) == Some(node));
        (here().filter(|other| alike(other)).count(), here().count())
    };
    fitting.into_iter().min_by_key(|node| (load(node), node.clone()))
}

#[async_trait]
impl Controller for Scheduler {
    type Key = Key;
    const NAME: &'static str = "scheduler";

    fn touched_by(&self, change: &Change<'_>) -> Vec<Key> {
        self.pending.lock().woken_by(change)
    }

    async fn reconcile(&self, key: &Key) -> Answer<Outcome> {
        let api = self.context.client.of::<Pod>(&key.namespace);
        let Some(pod) = api.get_opt(&key.name).await? else {
            return Ok(Outcome::Done);
        };
        let spec = pod.spec.clone().unwrap_or_default();
        let is_ours = spec
            .scheduler_name
            .as_deref()
            .is_none_or(|name| name == "default-scheduler");
        let is_held = spec
            .scheduling_gates
            .as_ref()
            .is_some_and(|gates| !gates.is_empty());
        let is_placed = node_of(&pod).is_some() || is_over(&pod);
        if !is_ours || is_held || is_placed || pod.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::Done);
        }
        let observed = self.observe(&pod, &spec).await?;
        self.act(&pod, decide(&pod, &spec, observed)).await?;
        Ok(Outcome::Done)
    }
}

fn node_of(pod: &Pod) -> Option<&String> {
    let node = pod.spec.as_ref()?.node_name.as_ref()?;
    (!node.is_empty()).then_some(node)
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    claim.annotations().contains_key(BIND_COMPLETED) || phase == Some("Bound")
}

#[cfg(test)]
mod tests;
