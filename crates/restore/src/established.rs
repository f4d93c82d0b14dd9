//! A CustomResourceDefinition can be used only when it is Established; the restore of its objects waits for that.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client};

/// Waits, at most `timeout` (the server's `--resource-timeout`). Errors say what is missing.
pub async fn wait(client: &Client, name: &str, timeout: Duration) -> Result<(), String> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let established = await_condition(api, name, conditions::is_crd_established());
    match tokio::time::timeout(timeout, established).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!(
            "waiting for CustomResourceDefinition {name} to be Established: {error}"
        )),
        Err(_) => Err(format!(
            "CustomResourceDefinition {name} is not Established after {timeout:?} (--resource-timeout); see its conditions with `kubectl describe crd {name}`"
        )),
    }
}
