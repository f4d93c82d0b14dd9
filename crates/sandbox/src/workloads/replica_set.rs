//! ReplicaSet: so many pods of one template. `pkg/controller/replicaset` of v1.34.

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use super::pods::{self, from_template};
use crate::machinery::{Answer, Change, Context, Controller, Key, Kinds, Outcome, fits};

const COMPONENT: &str = "replicaset-controller";

/// The ReplicaSet controller.
pub struct ReplicaSets(pub Context);

#[async_trait]
impl Controller for ReplicaSets {
    type Key = Key;
    const NAME: &'static str = COMPONENT;

    fn touched_by(&self, change: &Change<'_>) -> Vec<Key> {
        if change.is("apps", "ReplicaSet") {
            return vec![change.key()];
        }
        if change.is("", "Pod") {
            return change.controlled_by("ReplicaSet").into_iter().collect();
        }
        Vec::new()
    }

    async fn reconcile(&self, key: &Key) -> Answer<Outcome> {
        let api = self.0.client.of::<ReplicaSet>(&key.namespace);
        let Some(set) = api.get_opt(&key.name).await? else {
            return Ok(Outcome::Done);
        };
        let spec = set.spec.clone().unwrap_or_default();
        let owner = pods::controller_reference(&set);
        let is_going = set.metadata.deletion_timestamp.is_some();
        let pod_api = self.0.client.of::<Pod>(&key.namespace);
        let mut mine = pods::claim(&pod_api, &owner, is_going, &spec.selector, pods::is_active).await?;
        mine.retain(pods::is_active);
        if !is_going {
            self.scale(&set, mine.clone()).await?;
        }
        let now = self.0.clock.now();
        let min_ready = spec.min_ready_seconds.unwrap_or(0);
        let template = spec.template.unwrap_or_default();
        let labels = template.metadata.and_then(|meta| meta.labels).unwrap_or_default();
        let whole = k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
            match_labels: Some(labels),
            ..Default::default()
        };
        let count = |is_it: &dyn Fn(&Pod) -> bool| mine.iter().filter(|pod| is_it(pod)).count();
        let available = count(&|pod| pods::is_available(pod, min_ready, now));
        let ready = count(&|pod| pods::ready_since(pod).is_some());
        let status = json!({
            "replicas": mine.len(),
            "fullyLabeledReplicas": count(&|pod| fits(&whole, pod.metadata.labels.as_ref())),
            "readyReplicas": ready, "availableReplicas": available,
            "observedGeneration": set.metadata.generation.unwrap_or(0),
        });
        pods::write_status(&api, &set, status).await?;
        Ok(if available < ready {
            Outcome::Again(std::time::Duration::from_secs(
                u64::try_from(min_ready).unwrap_or(1),
            ))
        } else {
            Outcome::Done
        })
    }
}

impl ReplicaSets {
    async fn scale(&self, set: &ReplicaSet, mut mine: Vec<Pod>) -> Answer<()> {
        let spec = set.spec.clone().unwrap_or_default();
        let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
        let template = spec.template.unwrap_or_default();
        for _ in mine.len()..wanted {
            let owner = pods::controller_reference(set);
            let pod = from_template(&template, owner, &format!("{}-", set.name_any()), &[]);
            pods::create(&self.0, set, COMPONENT, &pod).await?;
        }
        pods::deletion_order(&mut mine);
        let surplus = mine.len().saturating_sub(wanted);
        for pod in &mine[..surplus] {
            pods::delete(&self.0, set, COMPONENT, pod).await?;
        }
        Ok(())
    }
}
