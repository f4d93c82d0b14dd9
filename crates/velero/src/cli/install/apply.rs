//! Creates the objects in the cluster; what exists already is left as it is (as `velero install` does).

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::Value;

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
