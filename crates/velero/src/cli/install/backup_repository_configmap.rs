//! `--backup-repository-configmap`: looked at before anything is created, as Velero does.
//!
//! Velero wants a JSON object; here a value that the server would refuse is refused too, with all others. A key that has no
//! effect is none of them.

use caravel_controllers::backup_repository::read_configuration;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;

use super::named_configmap::{self, Named};
use super::options::Options;
use crate::cli::failure::Outcome;

/// The key of the only type of repository that there is.
const KOPIA: &str = "kopia";

/// Reads the ConfigMap that new backup repositories will be configured with.
pub async fn check(client: &Client, options: &Options) -> Outcome {
    let named = Named {
        flag: "--backup-repository-configmap",
        name: &options.backup_repository_configmap,
        from_file: "kopia=<JSON file>",
        refusals,
    };
    named_configmap::check(client, options, &named).await
}

/// What the server would say about it.
fn refusals(found: &ConfigMap) -> Vec<String> {
    let Some(data) = found.data.as_ref().filter(|data| data.contains_key(KOPIA)) else {
        return vec![format!("data must have the key {KOPIA}, whose value is JSON")];
    };
    let refused = read_configuration(data, KOPIA).refused;
    refused.iter().map(ToString::to_string).collect()
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
