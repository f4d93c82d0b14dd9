//! Creates the objects in the cluster; what exists already is left as it is (as `velero install` does), but for the
//! annotations that `--namespace-annotations` asks for.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::super::failure::{Failure, Outcome, kubernetes};

/// How long the API server may take to serve a new CRD (Velero's value).
const CRD_DEADLINE: Duration = Duration::from_secs(60);
/// Pause before a kind that was just established is tried again: its handlers lag a little behind its condition.
const NOT_YET_SERVED_PAUSE: Duration = Duration::from_millis(250);

/// Creates one object and says, in Velero's words, what became of it.
pub async fn create(client: &Client, object: &Value, say: fn(&str)) -> Outcome {
    let object: DynamicObject = serde_json::from_value(object.clone())
        .map_err(|error| Failure::new(format!("building an object: {error}")))?;
    let (api, title) = api_of(client, &object);
    say(&format!("{title}: attempting to create resource"));
    let give_up = tokio::time::Instant::now() + CRD_DEADLINE;
    loop {
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => say(&format!("{title}: created")),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                say(&format!("{title}: already exists, proceeding"));
                annotate(&api, &object, &title, say).await?;
            }
            Err(kube::Error::Api(status))
                if status.code == 404 && is_ours(&object) && tokio::time::Instant::now() < give_up =>
            {
                tokio::time::sleep(NOT_YET_SERVED_PAUSE).await;
                continue;
            }
            Err(error) => return Err(kubernetes(format!("{title}: creating it"), &error)),
        }
        return Ok(());
    }
}

/// Sets the annotations of a namespace that was there before us.
///
/// Pods that were made earlier keep their nodes: OpenShift looks at its annotation when a pod is made.
async fn annotate(api: &Api<DynamicObject>, object: &DynamicObject, title: &str, say: fn(&str)) -> Outcome {
    let is_namespace = object
        .types
        .as_ref()
        .is_some_and(|types| types.kind == "Namespace");
    let Some(annotations) = object.metadata.annotations.as_ref().filter(|_| is_namespace) else {
        return Ok(());
    };
    let patch = json!({"metadata": {"annotations": annotations}});
    api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(|error| kubernetes(format!("{title}: setting its annotations"), &error))?;
    say(&format!("{title}: annotations set"));
    Ok(())
}

fn is_ours(object: &DynamicObject) -> bool {
    object
        .types
        .as_ref()
        .is_some_and(|types| types.api_version.starts_with("velero.io/"))
}

fn api_of(client: &Client, object: &DynamicObject) -> (Api<DynamicObject>, String) {
    let types = object.types.clone().unwrap_or_default();
    let (group, version) = types
        .api_version
        .split_once('/')
        .unwrap_or(("", &types.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    let title = format!("{}/{}", types.kind, object.name_any());
    match object.namespace() {
        Some(namespace) => (Api::namespaced_with(client.clone(), &namespace, &resource), title),
        None => (Api::all_with(client.clone(), &resource), title),
    }
}

/// Waits until the API server has accepted every CRD.
pub async fn established(client: &Client, crds: &[Value]) -> Outcome {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let all = async {
        for crd in crds {
            let name = crd["metadata"]["name"].as_str().unwrap_or_default();
            await_condition(api.clone(), name, conditions::is_crd_established())
                .await
                .map_err(|error| {
                    Failure::new(format!(
                        "CustomResourceDefinition/{name}: waiting for it: {error}"
                    ))
                })?;
        }
        Ok(())
    };
    tokio::time::timeout(CRD_DEADLINE, all).await.unwrap_or_else(|_| {
        let secs = CRD_DEADLINE.as_secs();
        Err(Failure::new(format!(
            "the API server does not serve the CustomResourceDefinitions after {secs} s"
        ))
        .next("kubectl get crd -l component=velero -o yaml    (their conditions say why)"))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use caravel_cases::api::{client, failure};
    use http::Method;

    use super::*;

    /// What is patched when everything exists already.
    async fn patched(object: Value) -> Vec<(String, Value)> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let client = client(move |asked| {
            if asked.method == Method::POST {
                return failure(409, "AlreadyExists");
            }
            assert_eq!(asked.method, Method::PATCH, "{asked:?}");
            kept.lock()
                .unwrap()
                .push((asked.path().to_owned(), asked.body.clone()));
            (
                200,
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "velero"}}),
            )
        });
        assert!(create(&client, &object, |_| {}).await.is_ok());
        let seen = seen.lock().unwrap();
        seen.clone()
    }

    #[tokio::test]
    async fn a_namespace_that_exists_gets_the_annotations_that_are_asked_for_and_nothing_else() {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "velero",
            "labels": {"component": "velero"}, "annotations": {"openshift.io/node-selector": ""}}});
        assert_eq!(
            patched(namespace).await,
            [(
                "/api/v1/namespaces/velero".to_owned(),
                json!({"metadata": {"annotations": {"openshift.io/node-selector": ""}}})
            )]
        );
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "velero",
            "namespace": "velero", "annotations": {"a": "b"}}});
        assert!(patched(account).await.is_empty());
        let plain = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "velero"}});
        assert!(patched(plain).await.is_empty());
    }
}
