//! `install --wait`: follows the Deployment and the DaemonSet by watch until they are ready, and says why when they
//! are not.
//!
//! Velero polls once a second and gives up without a reason; deadlines are its own (3 minutes for the Deployment;
//! the DaemonSet's 1 minute is too short to pull an image, so both have 3).

use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::api::{Api, ListParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::super::failure::{Failure, Outcome, chain};

const DEADLINE: Duration = Duration::from_secs(180);

/// Waits for the server.
pub async fn server(client: &Client, namespace: &str) -> Outcome {
    deployment(client, namespace, "velero", "deploy=velero").await
}

/// Waits for a Deployment whose pods have these labels.
pub async fn deployment(client: &Client, namespace: &str, name: &str, pods: &str) -> Outcome {
    ready::<Deployment>(client, namespace, name, pods, deployment_is_ready).await
}

/// Waits for the node agents.
pub async fn node_agent(client: &Client, namespace: &str) -> Outcome {
    ready::<DaemonSet>(
        client,
        namespace,
        "node-agent",
        "name=node-agent",
        daemon_set_is_ready,
    )
    .await
}

fn deployment_is_ready(deployment: &Deployment) -> bool {
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) >= wanted
            && status.available_replicas.unwrap_or(0) >= wanted
    })
}

fn daemon_set_is_ready(set: &DaemonSet) -> bool {
    set.status.as_ref().is_some_and(|status| {
        status.observed_generation >= set.metadata.generation
            && status.updated_number_scheduled.unwrap_or(0) >= status.desired_number_scheduled
            && status.number_available.unwrap_or(0) >= status.desired_number_scheduled
    })
}

async fn ready<K>(
    client: &Client,
    namespace: &str,
    name: &str,
    pods: &str,
    is_ready: fn(&K) -> bool,
) -> Outcome
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let objects = watcher::watch_object(api, name).default_backoff();
    pin_mut!(objects);
    let mut trouble = String::new();
    let until_ready = async {
        while let Some(next) = objects.next().await {
            match next {
                Ok(Some(object)) if is_ready(&object) => return,
                Ok(_) => trouble.clear(),
                Err(error) => trouble = chain(&error),
            }
        }
    };
    if tokio::time::timeout(DEADLINE, until_ready).await.is_ok() {
        return Ok(());
    }
    let mut reasons = reasons(client, namespace, pods).await;
    if !trouble.is_empty() {
        reasons.push(trouble);
    }
    let kind = K::kind(&());
    let why = if reasons.is_empty() {
        "no reason is known".to_owned()
    } else {
        reasons.join("; ")
    };
    Err(Failure::new(format!(
        "{kind} {namespace}/{name} is not ready after {} s: {why}",
        DEADLINE.as_secs()
    ))
    .next(format!("kubectl -n {namespace} describe pods -l {pods}")))
}

/// Why the pods are not running, one phrase a pod.
async fn reasons(client: &Client, namespace: &str, selector: &str) -> Vec<String> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    match api.list(&ListParams::default().labels(selector)).await {
        Ok(pods) if pods.items.is_empty() => vec!["no pod was created".to_owned()],
        Ok(pods) => pods.iter().filter_map(pod_reason).collect(),
        Err(error) => vec![chain(&error)],
    }
}

fn pod_reason(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut waiting = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container_reason(container.state.as_ref()?));
    let condition = status
        .conditions
        .iter()
        .flatten()
        .filter(|it| it.status == "False")
        .find_map(|it| it.message.clone());
    let reason = waiting.next_back().or(condition)?;
    Some(format!("pod {}: {reason}", pod.name_any()))
}

fn container_reason(state: &ContainerState) -> Option<String> {
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        return Some(
            waiting
                .message
                .as_ref()
                .map_or_else(|| reason.to_owned(), |message| format!("{reason}: {message}")),
        );
    }
    let ended = state.terminated.as_ref()?;
    let reason = ended.message.as_deref().or(ended.reason.as_deref()).unwrap_or("");
    Some(format!(
        "its container ended with code {}: {reason}",
        ended.exit_code
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(status: serde_json::Value) -> Deployment {
        serde_json::from_value(json!({"metadata": {"generation": 2}, "spec": {"replicas": 1, "selector": {}, "template": {}}, "status": status})).unwrap()
    }

    #[test]
    fn a_deployment_is_ready_when_the_newest_pod_is_available() {
        assert!(deployment_is_ready(&deployment(
            json!({"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 1})
        )));
        assert!(!deployment_is_ready(&deployment(
            json!({"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1})
        )));
        assert!(!deployment_is_ready(&deployment(
            json!({"observedGeneration": 2, "updatedReplicas": 0, "availableReplicas": 1})
        )));
    }

    #[test]
    fn a_pod_that_cannot_pull_or_be_placed_says_so() {
        let pulling: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [
            {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}},
        ]}})).unwrap();
        assert_eq!(
            pod_reason(&pulling).unwrap(),
            "pod p: ImagePullBackOff: no such image"
        );
        let unplaced: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"conditions": [
                {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"},
            ]}}))
            .unwrap();
        assert_eq!(pod_reason(&unplaced).unwrap(), "pod p: 0/1 nodes are available");
    }
}
