//! `--backup-repository-configmap`: looked at before anything is created, as Velero does.
//!
//! Velero wants a JSON object; here a value that the server would refuse is refused too, with all others. A key that has no
//! effect is none of them.

use caravel_controllers::backup_repository::read_configuration;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use super::options::Options;
use crate::cli::failure::{Failure, Outcome, kubernetes};

/// The key of the only type of repository that there is.
const KOPIA: &str = "kopia";

/// Reads the ConfigMap that new backup repositories will be configured with.
pub async fn check(client: &Client, options: &Options) -> Outcome {
    let (namespace, name) = (&options.namespace, &options.backup_repository_configmap);
    if name.is_empty() {
        return Ok(());
    }
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await;
    let found = found.map_err(|error| kubernetes(format!("reading ConfigMap {namespace}/{name}"), &error))?;
    let Some(found) = found else {
        return Err(wrong(options, "it does not exist".into()).next(format!(
            "kubectl create configmap {name} -n {namespace} --from-file={KOPIA}=<JSON file>"
        )));
    };
    match refusals(&found) {
        refused if refused.is_empty() => Ok(()),
        refused => {
            Err(wrong(options, refused.join("; "))
                .next(format!("kubectl edit configmap {name} -n {namespace}")))
        }
    }
}

/// What the server would say about it.
fn refusals(found: &ConfigMap) -> Vec<String> {
    let Some(data) = found.data.as_ref().filter(|data| data.contains_key(KOPIA)) else {
        return vec![format!("data must have the key {KOPIA}, whose value is JSON")];
    };
    let refused = read_configuration(data, KOPIA).refused;
    refused.iter().map(ToString::to_string).collect()
}

fn wrong(options: &Options, why: String) -> Failure {
    let (namespace, name) = (&options.namespace, &options.backup_repository_configmap);
    Failure::new(format!(
        "--backup-repository-configmap: ConfigMap {namespace}/{name}: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(data: serde_json::Value) -> Vec<String> {
        refusals(&serde_json::from_value(json!({ "data": data })).unwrap())
    }

    #[test]
    fn a_configuration_that_the_server_would_refuse_is_refused_with_every_key() {
        assert!(said(json!({"kopia": r#"{"enableCompression": true, "later": 1}"#})).is_empty());
        let two = said(json!({"kopia": r#"{"cacheLimitMB": "much", "enableCompression": "on"}"#}));
        assert_eq!(two.len(), 2, "{two:?}");
        assert!(two[0].contains("kopia.cacheLimitMB"), "{two:?}");
        assert!(said(json!({"kopia": "{"}))[0].contains("it is not JSON"));
        assert!(said(json!({"restic": "{}"}))[0].contains("the key kopia"));
        assert_eq!(said(json!({})).len(), 1);
    }
}
