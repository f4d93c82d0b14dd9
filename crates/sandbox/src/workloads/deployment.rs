//! Deployment: ReplicaSets, one for each template it has had. `pkg/controller/deployment` of v1.34.

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use serde_json::{Value, json};

use super::pods::{self, with_label};
use super::rollout::{Limits, Set, Sizes};
use crate::machinery::{
    Answer, Change, Context, Controller, Key, Kinds, Outcome, Told, controller_of, is_conflict, merge,
    settled,
};

const COMPONENT: &str = "deployment-controller";
const HASH_LABEL: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

/// The Deployment controller.
pub struct Deployments(pub Context);

struct Observed {
    deployment: Deployment,
    new: Option<ReplicaSet>,
    /// Oldest first.
    old: Vec<ReplicaSet>,
    /// Pods of old ReplicaSets that have not ended: where they are waited for.
    old_pods: bool,
}

#[async_trait]
impl Controller for Deployments {
    type Key = Key;
    const NAME: &'static str = COMPONENT;

    fn touched_by(&self, change: &Change<'_>) -> Vec<Key> {
        if change.is("apps", "Deployment") {
            return vec![change.key()];
        }
        if change.is("apps", "ReplicaSet") {
            return change.controlled_by("Deployment").into_iter().collect();
        }
        if change.is("", "Pod") && change.gone {
            // Recreate waits for the last pod: its ReplicaSet is named like the Deployment.
            let set = change.controlled_by("ReplicaSet");
            let deployment = set.and_then(|set| {
                let name = set.name.rsplit_once('-')?.0.to_owned();
                Some(Key { name, ..set })
            });
            return deployment.into_iter().collect();
        }
        Vec::new()
    }

    async fn reconcile(&self, key: &Key) -> Answer<Outcome> {
        let api = self.0.client.of::<Deployment>(&key.namespace);
        let Some(deployment) = api.get_opt(&key.name).await? else {
            return Ok(Outcome::Done);
        };
        let observed = self.observe(deployment).await?;
        if observed.deployment.metadata.deletion_timestamp.is_none() {
            self.roll(&observed).await?;
        }
        self.write_status(&observed).await?;
        Ok(Outcome::Done)
    }
}

impl Deployments {
    async fn observe(&self, deployment: Deployment) -> Answer<Observed> {
        let namespace = deployment.namespace().unwrap_or_default();
        let spec = deployment.spec.clone().unwrap_or_default();
        let sets = self.0.client.of::<ReplicaSet>(&namespace);
        let owner = pods::controller_reference(&deployment);
        let is_going = deployment.metadata.deletion_timestamp.is_some();
        let mut mine = pods::claim(&sets, &owner, is_going, &spec.selector, |_| true).await?;
        mine.sort_by_key(|set| (set.creation_timestamp(), set.name_any()));
        let wanted = plain(&spec.template);
        let is_new = |set: &ReplicaSet| {
            let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            template.is_some_and(|template| plain(template) == wanted)
        };
        let place = mine.iter().position(is_new);
        let new = place.map(|place| mine.remove(place));
        let old_pods =
            Limits::of(spec.strategy.as_ref(), 0).recreate && self.has_pods_of(&namespace, &mine).await?;
        Ok(Observed {
            old_pods,
            deployment,
            new,
            old: mine,
        })
    }

    /// Whether pods of these ReplicaSets are there that have not ended.
    async fn has_pods_of(&self, namespace: &str, sets: &[ReplicaSet]) -> Answer<bool> {
        if sets.is_empty() {
            return Ok(false);
        }
        let uids: Vec<_> = sets.iter().filter_map(ResourceExt::uid).collect();
        let api = self.0.client.of::<Pod>(namespace);
        let pods = api.list(&ListParams::default()).await?;
        let is_theirs = |pod: &Pod| {
            let is_ended = matches!(pods::phase(pod), "Succeeded" | "Failed");
            !is_ended && controller_of(&pod.metadata).is_some_and(|owner| uids.contains(&owner.uid))
        };
        Ok(pods.items.iter().any(is_theirs))
    }

    async fn roll(&self, observed: &Observed) -> Answer<()> {
        let spec = observed.deployment.spec.clone().unwrap_or_default();
        let limits = Limits::of(spec.strategy.as_ref(), spec.replicas.unwrap_or(1));
        let old: Vec<Set> = observed.old.iter().map(set).collect();
        let mut sizes = limits.next(observed.new.as_ref().map(set), &old, observed.old_pods);
        if spec.paused == Some(true) {
            // A paused rollout neither begins nor goes on.
            let Some(new) = &observed.new else { return Ok(()) };
            sizes = Sizes {
                new: set(new).wanted,
                old: old.iter().map(|set| set.wanted).collect(),
            };
        }
        for (old, size) in observed.old.iter().zip(&sizes.old) {
            self.scale(observed, old, *size, limits).await?;
        }
        match &observed.new {
            Some(new) => {
                self.scale(observed, new, sizes.new, limits).await?;
                self.number(observed, new).await?;
            }
            None if limits.recreate && sizes.new == 0 && limits.replicas > 0 => {}
            None => self.create(observed, sizes.new, limits).await?,
        }
        self.forget_history(observed, spec.revision_history_limit.unwrap_or(10))
            .await
    }

    async fn scale(&self, observed: &Observed, of: &ReplicaSet, size: i32, limits: Limits) -> Answer<()> {
        let before = set(of).wanted;
        if before == size {
            return Ok(());
        }
        let api = self
            .0
            .client
            .of::<ReplicaSet>(&of.namespace().unwrap_or_default());
        let patch = json!({
            "metadata": {"uid": of.uid(), "annotations": sizes_noted(limits)},
            "spec": {"replicas": size},
        });
        settled(merge(&api, &of.name_any(), &patch).await)?;
        let way = if size > before { "up" } else { "down" };
        let told = format!(
            "Scaled {way} replica set {} from {before} to {size}",
            of.name_any()
        );
        self.tell(observed, told).await;
        Ok(())
    }

    async fn tell(&self, observed: &Observed, told: String) {
        let told = Told::normal(COMPONENT, "ScalingReplicaSet", told);
        self.0.recorder.tell(&observed.deployment, told).await;
    }

    async fn create(&self, observed: &Observed, size: i32, limits: Limits) -> Answer<()> {
        let deployment = &observed.deployment;
        let spec = deployment.spec.clone().unwrap_or_default();
        let hash = pods::template_hash(&spec.template);
        let name = format!("{}-{hash}", deployment.name_any());
        let mut template = spec.template;
        let meta = template.metadata.get_or_insert_default();
        let labels = with_label(meta.labels.as_ref(), HASH_LABEL, &hash);
        meta.labels = Some(labels.clone());
        let selector = LabelSelector {
            match_labels: Some(with_label(spec.selector.match_labels.as_ref(), HASH_LABEL, &hash)),
            ..spec.selector
        };
        let revision = observed.old.iter().map(revision).max().unwrap_or(0) + 1;
        let mut annotations = deployment.annotations().clone();
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        annotations.insert(REVISION.to_owned(), revision.to_string());
        annotations.insert(DESIRED.to_owned(), limits.replicas.to_string());
        annotations.insert(
            MAXIMUM.to_owned(),
            (limits.replicas + limits.max_surge).to_string(),
        );
        let new = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(labels),
                annotations: Some(annotations),
                owner_references: Some(vec![pods::controller_reference(deployment)]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(size),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        };
        let api = self
            .0
            .client
            .of::<ReplicaSet>(&deployment.namespace().unwrap_or_default());
        match api.create(&PostParams::default(), &new).await {
            Err(error) if is_conflict(&error) => return Ok(()),
            other => other?,
        };
        self.tell(observed, format!("Scaled up replica set {name} from 0 to {size}"))
            .await;
        self.note_revision(observed, revision).await
    }

    /// A ReplicaSet that becomes the newest again, or was adopted, gets the next number.
    async fn number(&self, observed: &Observed, new: &ReplicaSet) -> Answer<()> {
        let newest_old = observed.old.iter().map(revision).max().unwrap_or(0);
        let number = revision(new).max(newest_old + 1);
        if number != revision(new) {
            let api = self
                .0
                .client
                .of::<ReplicaSet>(&new.namespace().unwrap_or_default());
            let patch = json!({"metadata": {"annotations": {REVISION: number.to_string()}}});
            settled(merge(&api, &new.name_any(), &patch).await)?;
        }
        self.note_revision(observed, number).await
    }

    async fn note_revision(&self, observed: &Observed, number: i64) -> Answer<()> {
        let deployment = &observed.deployment;
        if deployment.annotations().get(REVISION) == Some(&number.to_string()) {
            return Ok(());
        }
        let api = self
            .0
            .client
            .of::<Deployment>(&deployment.namespace().unwrap_or_default());
        let patch = json!({"metadata": {"annotations": {REVISION: number.to_string()}}});
        settled(merge(&api, &deployment.name_any(), &patch).await)
    }

    async fn forget_history(&self, observed: &Observed, limit: i32) -> Answer<()> {
        let is_empty = |it: &&ReplicaSet| {
            let set = set(it);
            set.wanted == 0 && set.existing == 0 && it.metadata.deletion_timestamp.is_none()
        };
        let empty: Vec<_> = observed.old.iter().filter(is_empty).collect();
        let surplus = empty.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for old in &empty[..surplus] {
            let api = self
                .0
                .client
                .of::<ReplicaSet>(&old.namespace().unwrap_or_default());
            settled(api.delete(&old.name_any(), &DeleteParams::background()).await)?;
        }
        Ok(())
    }

    async fn write_status(&self, observed: &Observed) -> Answer<()> {
        let deployment = &observed.deployment;
        let spec = deployment.spec.clone().unwrap_or_default();
        let limits = Limits::of(spec.strategy.as_ref(), spec.replicas.unwrap_or(1));
        let all = || observed.old.iter().chain(&observed.new);
        let sum = |count: fn(&ReplicaSet) -> i32| all().map(count).sum::<i32>();
        let (replicas, available) = (sum(|it| set(it).existing), sum(|it| set(it).available));
        let updated = observed.new.as_ref().map_or(0, |new| set(new).existing);
        let is_complete = updated == limits.replicas && replicas == updated && available == updated;
        let is_enough = available >= limits.replicas - limits.max_unavailable;
        let status = json!({
            "observedGeneration": deployment.metadata.generation.unwrap_or(0),
            "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available,
            "readyReplicas": sum(|it| it.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)),
            "unavailableReplicas": match limits.replicas - available { missing if missing > 0 => json!(missing), _ => Value::Null },
            "conditions": self.conditions(observed, is_enough, is_complete),
        });
        let api = self
            .0
            .client
            .of::<Deployment>(&deployment.namespace().unwrap_or_default());
        pods::write_status(&api, deployment, status).await
    }

    fn conditions(
        &self,
        observed: &Observed,
        is_enough: bool,
        is_complete: bool,
    ) -> Vec<DeploymentCondition> {
        let status = observed.deployment.status.clone().unwrap_or_default();
        let mut all = status.conditions.unwrap_or_default();
        let name = observed
            .new
            .as_ref()
            .map(ResourceExt::name_any)
            .unwrap_or_default();
        let (enough, enough_reason, enough_message) = if is_enough {
            (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            )
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        let progressing = match (&observed.new, is_complete) {
            (Some(_), true) => (
                "NewReplicaSetAvailable",
                format!("ReplicaSet \"{name}\" has successfully progressed."),
            ),
            (Some(_), false) => (
                "ReplicaSetUpdated",
                format!("ReplicaSet \"{name}\" is progressing."),
            ),
            (None, _) => ("ReplicaSetUpdated", "Deployment is progressing.".to_owned()),
        };
        for (kind, status, reason, message) in [
            ("Available", enough, enough_reason, enough_message.to_owned()),
            ("Progressing", "True", progressing.0, progressing.1),
        ] {
            self.put(&mut all, kind, status, reason, message);
        }
        all
    }

    fn put(
        &self,
        all: &mut Vec<DeploymentCondition>,
        kind: &str,
        status: &str,
        reason: &str,
        message: String,
    ) {
        let old = all.iter_mut().find(|it| it.type_ == kind);
        let since = old
            .as_ref()
            .filter(|old| old.status == status)
            .and_then(|old| old.last_transition_time.clone());
        if let Some(old) = &old
            && old.status == status
            && old.reason.as_deref() == Some(reason)
            && old.message.as_deref() == Some(&message)
        {
            return;
        }
        let now = self.0.now();
        let condition = DeploymentCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(since.unwrap_or_else(|| now.clone())),
            last_update_time: Some(now),
        };
        match old {
            Some(old) => *old = condition,
            None => all.push(condition),
        }
    }
}

fn set(of: &ReplicaSet) -> Set {
    let status = of.status.clone().unwrap_or_default();
    Set {
        wanted: of.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
        existing: status.replicas,
        available: status.available_replicas.unwrap_or(0),
    }
}

fn revision(of: &ReplicaSet) -> i64 {
    of.annotations()
        .get(REVISION)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn sizes_noted(limits: Limits) -> Value {
    json!({DESIRED: limits.replicas.to_string(), MAXIMUM: (limits.replicas + limits.max_surge).to_string()})
}

/// A template without the label that names it.
fn plain(template: &PodTemplateSpec) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(HASH_LABEL);
    }
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(meta) = value["metadata"].as_object_mut() {
        meta.remove("creationTimestamp");
    }
    value
}
