//! A ConfigMap that a flag of `install` names: looked at before anything is created.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use super::options::Options;
use crate::cli::failure::{Failure, Outcome, kubernetes};

/// What a flag named.
pub struct Named<'a> {
    /// With its dashes.
    pub flag: &'static str,
    /// Empty: nothing was named.
    pub name: &'a str,
    /// How `kubectl create configmap` is told of the JSON file.
    pub from_file: &'static str,
    /// What the server or node agent would say about it; empty: nothing.
    pub refusals: fn(&ConfigMap) -> Vec<String>,
}

/// Errors: it does not exist, cannot be read, or says what would be refused; each with what to do next.
pub async fn check(client: &Client, options: &Options, named: &Named<'_>) -> Outcome {
    let (namespace, name) = (&options.namespace, named.name);
    if name.is_empty() {
        return Ok(());
    }
    let wrong = |why: &str| {
        let flag = named.flag;
        Failure::new(format!("{flag}: ConfigMap {namespace}/{name}: {why}"))
    };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await;
    let found = found.map_err(|error| kubernetes(format!("reading ConfigMap {namespace}/{name}"), &error))?;
    let Some(found) = found else {
        return Err(wrong("it does not exist").next(format!(
            "kubectl create configmap {name} -n {namespace} --from-file={}",
            named.from_file
        )));
    };
    match (named.refusals)(&found) {
        refused if refused.is_empty() => Ok(()),
        refused => {
            Err(wrong(&refused.join("; ")).next(format!("kubectl edit configmap {name} -n {namespace}")))
        }
    }
}
