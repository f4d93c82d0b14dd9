//! `--node-agent-configmap`: looked at before anything is created, as Velero does.
//!
//! Velero wants JSON of its type; here a value that the node agent would refuse is refused too, with all others.

use caravel_controllers::node_agent_configuration::{Configuration, read};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;

use super::named_configmap::{self, Named};
use super::options::Options;
use crate::cli::failure::Outcome;

/// Reads the ConfigMap that the node agent will follow.
pub async fn check(client: &Client, options: &Options) -> Outcome {
    let named = Named {
        flag: "--node-agent-configmap",
        name: &options.node_agent_configmap,
        from_file: "<JSON file>",
        refusals,
    };
    named_configmap::check(client, options, &named).await
}

/// What the node agent would say about it.
fn refusals(found: &ConfigMap) -> Vec<String> {
    let mut values = found.data.iter().flatten();
    let (Some((key, text)), None) = (values.next(), values.next()) else {
        return vec!["data must have exactly one key, whose value is JSON".into()];
    };
    match read(text, &Configuration::default()) {
        Ok(reading) => reading.refused.iter().map(ToString::to_string).collect(),
        Err(error) => vec![format!("key {key:?}: {error}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(data: serde_json::Value) -> Vec<String> {
        refusals(&serde_json::from_value(json!({ "data": data })).unwrap())
    }

    #[test]
    fn a_configuration_that_the_node_agent_would_refuse_is_refused_with_every_key() {
        assert!(said(json!({"node-agent": r#"{"loadConcurrency": {"globalConfig": 2}}"#})).is_empty());
        let two = said(json!({"a": r#"{"loadConcurrency": {"globalConfig": 0}, "podLabel": {}}"#}));
        assert_eq!(two.len(), 2, "{two:?}");
        assert!(said(json!({"a": "{", "b": "{}"}))[0].contains("exactly one key"));
        assert!(said(json!({"a": "{"}))[0].contains("key \"a\": it is not JSON"));
        assert_eq!(said(json!({})).len(), 1);
    }
}
