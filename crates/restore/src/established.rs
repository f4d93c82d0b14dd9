//! A CustomResourceDefinition can be used only when it is Established and its names are accepted; the restore of its
//! objects waits for that (upstream `IsCRDReady` in `pkg/util/kube/utils.go`).

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::discovery::Discovered;
use crate::group_resource::GroupResource;

/// Between two looks at discovery, which cannot be watched: at first, and at most.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Of a CustomResourceDefinition of any version.
pub fn is_ready(definition: &Value) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    let is_true = |wanted: &str| {
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|condition| condition["type"] == wanted && condition["status"] == "True")
    };
    is_true("Established") && is_true("NamesAccepted")
}

/// Waits until discovery lists the resources of these definitions, at most `timeout`; gives those that it then does not list.
/// An API server lists a definition some time after it has established it: whoever asks in between takes its objects for
/// those of a resource that the cluster does not have. Definitions that are not there, not ready or serve no version are left
/// out: nothing will come of them.
pub async fn listed(
    client: &Client,
    definitions: Vec<GroupResource>,
    timeout: Duration,
) -> Result<Vec<GroupResource>, kube::Error> {
    let deadline = Instant::now() + timeout;
    let (mut wait, longest) = LOOK_AGAIN;
    let mut missing = Vec::new();
    for resource in unlisted(client, definitions).await? {
        if is_served(client, &resource).await? {
            missing.push(resource);
        }
    }
    while !missing.is_empty() && Instant::now() < deadline {
        sleep(wait).await;
        wait = (wait * 2).min(longest);
        missing = unlisted(client, missing).await?;
    }
    Ok(missing)
}

async fn unlisted(client: &Client, wanted: Vec<GroupResource>) -> Result<Vec<GroupResource>, kube::Error> {
    if wanted.is_empty() {
        return Ok(wanted);
    }
    let listed = Discovered::of(client).await?;
    let mut wanted = wanted;
    wanted.retain(|resource| listed.get(resource).is_none());
    Ok(wanted)
}

/// Whether the definition of this resource is ready and serves a version. Its name is that of the resource.
async fn is_served(client: &Client, resource: &GroupResource) -> Result<bool, kube::Error> {
    let definition = definitions(client).get_opt(&resource.to_string()).await?;
    Ok(definition.is_some_and(|definition| {
        let versions = definition
            .data
            .pointer("/spec/versions")
            .and_then(Value::as_array);
        is_ready(&definition.data)
            && versions
                .into_iter()
                .flatten()
                .any(|version| version["served"] == true)
    }))
}

fn definitions(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    Api::all_with(client.clone(), &ApiResource::from_gvk(&kind))
}

/// Waits, at most `timeout` (the server's `--resource-timeout`). Errors say what is missing.
pub async fn wait(client: &Client, name: &str, timeout: Duration) -> Result<(), String> {
    let api = definitions(client);
    let ready =
        |definition: Option<&DynamicObject>| definition.is_some_and(|definition| is_ready(&definition.data));
    match tokio::time::timeout(timeout, await_condition(api, name, ready)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!(
            "waiting for CustomResourceDefinition {name} to be Established: {error}"
        )),
        Err(_) => Err(format!(
            "CustomResourceDefinition {name} is not Established with its names accepted after {timeout:?} (--resource-timeout); see its conditions with `kubectl describe crd {name}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use caravel_cases::api;
    use serde_json::json;

    use super::*;

    /// An API server that lists `things.example.com` from the `from`th time on that it is asked for groups, and has its
    /// definition.
    fn server(from: usize) -> (Client, Arc<AtomicUsize>) {
        let asked_for_groups = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked_for_groups);
        let client = api::client(move |asked| match asked.path() {
            path @ ("/api" | "/apis") => {
                let group = json!({"metadata": {"name": "example.com"}, "versions": [{"version": "v1", "resources": [
                    {"resource": "things", "responseKind": {"group": "example.com", "version": "v1", "kind": "Thing"},
                     "scope": "Namespaced", "verbs": ["create"]}]}]});
                let is_listed = path == "/apis" && count.fetch_add(1, Ordering::Relaxed) + 1 >= from;
                api::discovery(
                    if is_listed {
                        std::slice::from_ref(&group)
                    } else {
                        &[]
                    },
                    path,
                )
            }
            path if path.ends_with("/customresourcedefinitions/things.example.com") => (
                200,
                json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                    "metadata": {"name": "things.example.com"}, "spec": {"versions": [{"name": "v1", "served": true}]},
                    "status": {"conditions": [{"type": "Established", "status": "True"},
                        {"type": "NamesAccepted", "status": "True"}]}}),
            ),
            _ => api::failure(404, "NotFound"),
        });
        (client, asked_for_groups)
    }

    fn things() -> Vec<GroupResource> {
        vec![GroupResource::parse("things.example.com")]
    }

    const MINUTES: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn a_definition_that_the_server_lists_late_is_waited_for() {
        let (client, asked) = server(4);
        assert_eq!(listed(&client, things(), MINUTES).await.unwrap(), []);
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_never_listed_is_named_when_the_time_is_over() {
        let (client, _) = server(usize::MAX);
        assert_eq!(listed(&client, things(), MINUTES).await.unwrap(), things());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_not_in_the_cluster_is_not_waited_for() {
        let (client, asked) = server(usize::MAX);
        let others = vec![GroupResource::parse("others.example.com")];
        assert_eq!(listed(&client, others, MINUTES).await.unwrap(), []);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
