//! `--node-agent-configmap`: looked at before anything is created, as Velero does.
//!
//! Velero wants JSON of its type; here a value that the node agent would refuse is refused too, with all others.

use caravel_controllers::node_agent_configuration::{Configuration, read};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use super::options::Options;
use crate::cli::failure::{Failure, Outcome, kubernetes};

/// Reads the ConfigMap that the node agent will follow.
pub async fn check(client: &Client, options: &Options) -> Outcome {
    let (namespace, name) = (&options.namespace, &options.node_agent_configmap);
    if name.is_empty() {
        return Ok(());
    }
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await;
    let found = found.map_err(|error| kubernetes(format!("reading ConfigMap {namespace}/{name}"), &error))?;
    let Some(found) = found else {
        return Err(wrong(options, "it does not exist".into()).next(format!(
            "kubectl create configmap {name} -n {namespace} --from-file=<JSON file>"
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

fn wrong(options: &Options, why: String) -> Failure {
    let (namespace, name) = (&options.namespace, &options.node_agent_configmap);
    Failure::new(format!(
        "--node-agent-configmap: ConfigMap {namespace}/{name}: {why}"
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
    fn a_configuration_that_the_node_agent_would_refuse_is_refused_with_every_key() {
        assert!(said(json!({"node-agent": r#"{"loadConcurrency": {"globalConfig": 2}}"#})).is_empty());
        let two = said(json!({"a": r#"{"loadConcurrency": {"globalConfig": 0}, "podLabel": {}}"#}));
        assert_eq!(two.len(), 2, "{two:?}");
        assert!(said(json!({"a": "{", "b": "{}"}))[0].contains("exactly one key"));
        assert!(said(json!({"a": "{"}))[0].contains("key \"a\": it is not JSON"));
        assert_eq!(said(json!({})).len(), 1);
    }
}
