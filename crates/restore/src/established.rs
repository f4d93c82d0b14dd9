//! A CustomResourceDefinition can be used only when it is Established and its names are accepted; the restore of its
//! objects waits for that (upstream `IsCRDReady` in `pkg/util/kube/utils.go`).

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::Value;

/// Of a CustomResourceDefinition of any version.
pub fn is_ready(definition: &Value) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    let is_true = |wanted: &str| {
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|condition| condition["type"] == wanted && condition["status"] == "True")
    };
    is_true("Established") && is_true("NamesAccepted")
}

/// Waits, at most `timeout` (the server's `--resource-timeout`). Errors say what is missing.
pub async fn wait(client: &Client, name: &str, timeout: Duration) -> Result<(), String> {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
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
