//! StatefulSet: numbered pods with volumes of their own, one after the other. `pkg/controller/statefulset` of v1.34.

use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume};
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::json;

use super::pods::{self, from_template};
use crate::machinery::{Answer, Change, Context, Controller, Key, Kinds, Outcome, Told, is_conflict};

const COMPONENT: &str = "statefulset-controller";
const REVISION_LABEL: &str = "controller-revision-hash";

/// The StatefulSet controller.
pub struct StatefulSets(pub Context);

#[derive(Debug, PartialEq)]
enum Step {
    Create(i32),
    Delete(String),
}

/// A pod as the order of a set sees it.
#[derive(Debug, Clone)]
struct Member {
    name: String,
    ordinal: i32,
    is_ready: bool,
    is_over: bool,
    is_going: bool,
    is_updated: bool,
}

struct Order {
    /// First and past the last ordinal.
    ordinals: std::ops::Range<i32>,
    in_order: bool,
    /// Pods from this ordinal on are replaced when the template changes; `None`: none are.
    update_from: Option<i32>,
}

#[async_trait]
impl Controller for StatefulSets {
    type Key = Key;
    const NAME: &'static str = COMPONENT;

    fn touched_by(&self, change: &Change<'_>) -> Vec<Key> {
        if change.is("apps", "StatefulSet") {
            return vec![change.key()];
        }
        if change.is("", "Pod") {
            return change.controlled_by("StatefulSet").into_iter().collect();
        }
        Vec::new()
    }

    async fn reconcile(&self, key: &Key) -> Answer<Outcome> {
        let api = self.0.client.of::<StatefulSet>(&key.namespace);
        let Some(set) = api.get_opt(&key.name).await? else {
            return Ok(Outcome::Done);
        };
        let spec = set.spec.clone().unwrap_or_default();
        let owner = pods::controller_reference(&set);
        let is_going = set.metadata.deletion_timestamp.is_some();
        let pod_api = self.0.client.of::<Pod>(&key.namespace);
        let is_named_so = |pod: &Pod| ordinal(&key.name, &pod.name_any()).is_some();
        let mut mine = pods::claim(&pod_api, &owner, is_going, &spec.selector, is_named_so).await?;
        mine.retain(is_named_so);
        let revision = format!("{}-{}", key.name, pods::template_hash(&spec.template));
        let members = members(&key.name, &mine, &revision);
        if !is_going {
            for step in order(&spec).next(&members) {
                self.act(&set, &spec, &revision, &mine, step).await?;
            }
        }
        self.write_status(&set, &spec, &mine, &members, revision).await?;
        Ok(Outcome::Done)
    }
}

impl StatefulSets {
    async fn act(
        &self,
        set: &StatefulSet,
        spec: &StatefulSetSpec,
        revision: &str,
        mine: &[Pod],
        step: Step,
    ) -> Answer<()> {
        match step {
            Step::Delete(name) => match mine.iter().find(|pod| pod.name_any() == name) {
                Some(pod) => pods::delete(&self.0, set, COMPONENT, pod).await,
                None => Ok(()),
            },
            Step::Create(ordinal) => {
                let name = format!("{}-{ordinal}", set.name_any());
                let claims = self.make_claims(set, spec, ordinal).await?;
                let labels = [
                    ("statefulset.kubernetes.io/pod-name", name.clone()),
                    ("apps.kubernetes.io/pod-index", ordinal.to_string()),
                    (REVISION_LABEL, revision.to_owned()),
                ];
                let owner = pods::controller_reference(set);
                let mut pod = from_template(&spec.template, owner, &name, &labels);
                let pod_spec = pod.spec.get_or_insert_default();
                pod_spec.hostname = Some(name);
                pod_spec.subdomain.clone_from(&spec.service_name);
                let volumes = pod_spec.volumes.get_or_insert_default();
                volumes.retain(|volume| !claims.contains_key(&volume.name));
                volumes.extend(claims.into_iter().map(|(name, claim_name)| Volume {
                    name,
                    persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                        claim_name,
                        read_only: None,
                    }),
                    ..Volume::default()
                }));
                match pods::create(&self.0, set, COMPONENT, &pod).await {
                    Err(error) if is_conflict(&error) => Ok(()),
                    other => other,
                }
            }
        }
    }

    /// The claims of one pod, made where missing: name of the volume → name of the claim.
    async fn make_claims(
        &self,
        set: &StatefulSet,
        spec: &StatefulSetSpec,
        ordinal: i32,
    ) -> Answer<BTreeMap<String, String>> {
        let api = self
            .0
            .client
            .of::<PersistentVolumeClaim>(&set.namespace().unwrap_or_default());
        let mut claims = BTreeMap::new();
        for template in spec.volume_claim_templates.iter().flatten() {
            let volume = template.name_any();
            let name = format!("{volume}-{}-{ordinal}", set.name_any());
            claims.insert(volume, name.clone());
            if api.get_opt(&name).await?.is_some() {
                continue;
            }
            let mut claim = template.clone();
            claim.metadata.name = Some(name.clone());
            claim.metadata.namespace = set.namespace();
            claim
                .metadata
                .labels
                .get_or_insert_default()
                .extend(spec.selector.match_labels.clone().unwrap_or_default());
            claim.status = None;
            match api.create(&PostParams::default(), &claim).await {
                Err(error) if is_conflict(&error) => {}
                other => {
                    other?;
                    let told = format!(
                        "create Claim {name} Pod {0}-{ordinal} in StatefulSet {0} success",
                        set.name_any()
                    );
                    self.0
                        .recorder
                        .tell(set, Told::normal(COMPONENT, "SuccessfulCreate", told))
                        .await;
                }
            }
        }
        Ok(claims)
    }

    async fn write_status(
        &self,
        set: &StatefulSet,
        spec: &StatefulSetSpec,
        mine: &[Pod],
        members: &[Member],
        revision: String,
    ) -> Answer<()> {
        let wanted = spec.replicas.unwrap_or(1);
        let now = self.0.clock.now();
        let min_ready = spec.min_ready_seconds.unwrap_or(0);
        let there: Vec<&Member> = members.iter().filter(|it| !it.is_over).collect();
        let updated = there.iter().filter(|it| it.is_updated && !it.is_going).count();
        let ready = there.iter().filter(|it| it.is_ready && !it.is_going).count();
        let available = mine
            .iter()
            .filter(|pod| pods::is_available(pod, min_ready, now))
            .count();
        let before = set
            .status
            .as_ref()
            .and_then(|status| status.current_revision.clone());
        let is_whole = i32::try_from(updated).unwrap_or(0) == wanted && ready == updated;
        let current = match before {
            Some(before) if !is_whole => before,
            _ => revision.clone(),
        };
        let is_current = current == revision;
        let status = json!({
            "observedGeneration": set.metadata.generation.unwrap_or(0), "replicas": there.len(), "readyReplicas": ready,
            "availableReplicas": available, "updatedReplicas": updated,
            "currentReplicas": if is_current { updated } else { there.len() - updated.min(there.len()) },
            "currentRevision": current, "updateRevision": revision, "collisionCount": 0,
        });
        let api = self
            .0
            .client
            .of::<StatefulSet>(&set.namespace().unwrap_or_default());
        pods::write_status(&api, set, status).await
    }
}

/// `2` of `db-2`.
fn ordinal(set: &str, pod: &str) -> Option<i32> {
    pod.strip_prefix(set)?.strip_prefix('-')?.parse().ok()
}

fn members(set: &str, mine: &[Pod], revision: &str) -> Vec<Member> {
    let member = |pod: &Pod| {
        Some(Member {
            name: pod.name_any(),
            ordinal: ordinal(set, &pod.name_any())?,
            is_ready: pods::ready_since(pod).is_some(),
            is_over: matches!(pods::phase(pod), "Succeeded" | "Failed"),
            is_going: pod.metadata.deletion_timestamp.is_some(),
            is_updated: pod.labels().get(REVISION_LABEL).map(String::as_str) == Some(revision),
        })
    };
    let mut members: Vec<Member> = mine.iter().filter_map(member).collect();
    members.sort_by_key(|it| it.ordinal);
    members
}

fn order(spec: &StatefulSetSpec) -> Order {
    let start = spec.ordinals.as_ref().and_then(|it| it.start).unwrap_or(0);
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    let partition = strategy.rolling_update.and_then(|it| it.partition).unwrap_or(0);
    Order {
        ordinals: start..start + spec.replicas.unwrap_or(1),
        in_order: spec.pod_management_policy.as_deref() != Some("Parallel"),
        update_from: (strategy.type_.as_deref() != Some("OnDelete")).then_some(partition),
    }
}

impl Order {
    /// What comes next; with pods in order at most one step.
    fn next(&self, members: &[Member]) -> Vec<Step> {
        let mut steps = Vec::new();
        for ordinal in self.ordinals.clone() {
            match members.iter().find(|it| it.ordinal == ordinal) {
                None => steps.push(Step::Create(ordinal)),
                Some(member) if member.is_going => {}
                Some(member) if member.is_over => steps.push(Step::Delete(member.name.clone())),
                Some(member) if member.is_ready => continue,
                Some(_) => {}
            }
            if self.in_order {
                // The next one waits until this one is ready.
                return steps;
            }
        }
        let surplus = members
            .iter()
            .rev()
            .filter(|it| !self.ordinals.contains(&it.ordinal));
        for member in surplus {
            if !member.is_going {
                steps.push(Step::Delete(member.name.clone()));
            }
            if self.in_order {
                return steps;
            }
        }
        if let (true, Some(from)) = (steps.is_empty(), self.update_from) {
            steps.extend(update(members, from));
        }
        steps
    }
}

/// The highest pod of an old template goes, when all above it are ready.
fn update(members: &[Member], from: i32) -> Option<Step> {
    for member in members.iter().rev().filter(|it| it.ordinal >= from) {
        if !member.is_updated && !member.is_going {
            return Some(Step::Delete(member.name.clone()));
        }
        if !member.is_ready || member.is_going {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(ordinal: i32) -> Member {
        Member {
            name: format!("db-{ordinal}"),
            ordinal,
            is_ready: true,
            is_over: false,
            is_going: false,
            is_updated: true,
        }
    }

    fn three() -> Order {
        Order {
            ordinals: 0..3,
            in_order: true,
            update_from: Some(0),
        }
    }

    #[test]
    fn pods_are_made_one_after_the_other() {
        assert_eq!(three().next(&[]), [Step::Create(0)]);
        let starting = Member {
            is_ready: false,
            ..member(0)
        };
        assert_eq!(three().next(&[starting]), []);
        assert_eq!(three().next(&[member(0)]), [Step::Create(1)]);
    }

    #[test]
    fn parallel_pods_are_made_at_once() {
        let parallel = Order {
            in_order: false,
            ..three()
        };
        assert_eq!(parallel.next(&[member(1)]), [Step::Create(0), Step::Create(2)]);
    }

    #[test]
    fn the_last_pod_goes_first() {
        let all: Vec<_> = (0..5).map(member).collect();
        assert_eq!(three().next(&all), [Step::Delete("db-4".to_owned())]);
    }

    #[test]
    fn an_update_replaces_from_the_end_and_waits_for_each() {
        let mut all: Vec<_> = (0..3)
            .map(|it| Member {
                is_updated: false,
                ..member(it)
            })
            .collect();
        assert_eq!(three().next(&all), [Step::Delete("db-2".to_owned())]);
        all[2] = Member {
            is_ready: false,
            ..member(2)
        };
        assert_eq!(three().next(&all), []);
        all[2] = member(2);
        assert_eq!(three().next(&all), [Step::Delete("db-1".to_owned())]);
    }

    #[test]
    fn a_pod_that_has_ended_is_made_again() {
        let ended = Member {
            is_over: true,
            is_ready: false,
            ..member(0)
        };
        assert_eq!(three().next(&[ended]), [Step::Delete("db-0".to_owned())]);
    }
}
