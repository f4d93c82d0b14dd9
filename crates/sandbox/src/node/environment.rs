//! A container's environment: its variables with their references resolved, its command with `$(NAME)` expanded.
//!
//! As `pkg/kubelet/kubelet_pods.go` (`makeEnvironmentVariables`) and `third_party/forked/golang/expansion` of v1.34.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container as ContainerSpec, EnvVarSource, Pod, Secret};
use kube::{Client, ResourceExt};

use crate::machinery::Kinds;

/// Addresses that a pod may ask for.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    pub host_ip: String,
    pub pod_ip: String,
}

/// Why the container cannot be made: `secret "missing" not found`.
pub type ConfigError = String;

/// The variables, in the words of `env` and `envFrom`.
pub async fn variables(
    client: &Client,
    pod: &Pod,
    container: &ContainerSpec,
    addresses: &Addresses,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let namespace = pod.namespace().unwrap_or_default();
    let mut all = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        let mut values = BTreeMap::new();
        if let Some(from) = &source.config_map_ref {
            values = config_map(client, &namespace, &from.name, from.optional == Some(true)).await?;
        }
        if let Some(from) = &source.secret_ref {
            values = secret(client, &namespace, &from.name, from.optional == Some(true)).await?;
        }
        all.extend(values.into_iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(&value).into_owned();
            (format!("{prefix}{name}"), value)
        }));
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(expand(value, &all)),
            (None, Some(source)) => referenced(client, pod, container, addresses, source).await?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            all.insert(variable.name.clone(), value);
        }
    }
    Ok(all)
}

async fn referenced(
    client: &Client,
    pod: &Pod,
    container: &ContainerSpec,
    addresses: &Addresses,
    source: &EnvVarSource,
) -> Result<Option<String>, ConfigError> {
    let namespace = pod.namespace().unwrap_or_default();
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    if let Some(field) = &source.field_ref {
        return self::field(pod, addresses, &field.field_path).map(Some);
    }
    if let Some(from) = &source.resource_field_ref {
        return Ok(Some(resource(container, &from.resource)));
    }
    if let Some(from) = &source.secret_key_ref {
        let optional = from.optional == Some(true);
        let mut values = secret(client, &namespace, &from.name, optional).await?;
        let missing = || {
            format!(
                "couldn't find key {} in Secret {namespace}/{}",
                from.key, from.name
            )
        };
        return one(values.remove(&from.key).map(text), optional, missing);
    }
    if let Some(from) = &source.config_map_key_ref {
        let optional = from.optional == Some(true);
        let mut values = config_map(client, &namespace, &from.name, optional).await?;
        let missing = || {
            format!(
                "couldn't find key {} in ConfigMap {namespace}/{}",
                from.key, from.name
            )
        };
        return one(values.remove(&from.key).map(text), optional, missing);
    }
    Ok(None)
}

fn one(
    value: Option<String>,
    optional: bool,
    missing: impl FnOnce() -> String,
) -> Result<Option<String>, ConfigError> {
    match value {
        None if !optional => Err(missing()),
        value => Ok(value),
    }
}

/// A Secret's values; of an optional one that is missing, none.
pub async fn secret(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<BTreeMap<String, Vec<u8>>, ConfigError> {
    match client.of::<Secret>(namespace).get_opt(name).await {
        Ok(Some(secret)) => {
            let data = secret.data.unwrap_or_default();
            Ok(data.into_iter().map(|(key, value)| (key, value.0)).collect())
        }
        Ok(None) if optional => Ok(BTreeMap::new()),
        Ok(None) => Err(format!("secret \"{name}\" not found")),
        Err(error) => Err(error.to_string()),
    }
}

/// A ConfigMap's values, `data` and `binaryData`.
pub async fn config_map(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<BTreeMap<String, Vec<u8>>, ConfigError> {
    match client.of::<ConfigMap>(namespace).get_opt(name).await {
        Ok(Some(map)) => {
            let text = map.data.unwrap_or_default();
            let binary = map.binary_data.unwrap_or_default();
            let text = text.into_iter().map(|(key, value)| (key, value.into_bytes()));
            Ok(text
                .chain(binary.into_iter().map(|(key, value)| (key, value.0)))
                .collect())
        }
        Ok(None) if optional => Ok(BTreeMap::new()),
        Ok(None) => Err(format!("configmap \"{name}\" not found")),
        Err(error) => Err(error.to_string()),
    }
}

/// A field of the pod, as `fieldRef` names it.
pub fn field(pod: &Pod, addresses: &Addresses, path: &str) -> Result<String, ConfigError> {
    let spec = pod.spec.clone().unwrap_or_default();
    let lines = |all: &BTreeMap<String, String>| {
        let line = |(key, value): (&String, &String)| format!("{key}={value:?}");
        all.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let keyed = |what: &str, all: &BTreeMap<String, String>| {
        let key = path.strip_prefix(what)?.strip_prefix("['")?.strip_suffix("']")?;
        Some(all.get(key).cloned().unwrap_or_default())
    };
    let value = match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "metadata.labels" => lines(pod.labels()),
        "metadata.annotations" => lines(pod.annotations()),
        "spec.nodeName" => spec.node_name.unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.unwrap_or_else(|| "default".to_owned()),
        "status.hostIP" | "status.hostIPs" => addresses.host_ip.clone(),
        "status.podIP" | "status.podIPs" => addresses.pod_ip.clone(),
        other => keyed("metadata.labels", pod.labels())
            .or_else(|| keyed("metadata.annotations", pod.annotations()))
            .ok_or_else(|| format!("unsupported fieldPath: {other}"))?,
    };
    Ok(value)
}

/// `limits.memory` as it is written; of what is not limited, 0.
fn resource(container: &ContainerSpec, path: &str) -> String {
    let resources = container.resources.clone().unwrap_or_default();
    let found = match path.split_once('.') {
        Some(("limits", name)) => resources.limits.and_then(|all| all.get(name).cloned()),
        Some(("requests", name)) => resources.requests.and_then(|all| all.get(name).cloned()),
        _ => None,
    };
    found.map_or_else(|| "0".to_owned(), |quantity| quantity.0)
}

/// Replaces `$(NAME)`; what has no value stays as it is, `$$` is one `$`.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at..];
        let closed = rest
            .strip_prefix("$(")
            .and_then(|inner| Some((inner, inner.find(')')?)));
        if let Some((inner, end)) = closed {
            match variables.get(&inner[..end]) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&rest[..end + 3]),
            }
            rest = &inner[end + 1..];
        } else {
            expanded.push('$');
            rest = rest.strip_prefix("$$").unwrap_or(&rest[1..]);
        }
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_variable_is_expanded_where_it_is_known_and_left_alone_where_not() {
        let known = BTreeMap::from([("NAME".to_owned(), "shop".to_owned())]);
        for (text, expanded) in [
            ("--name=$(NAME)/x", "--name=shop/x"),
            ("$(OTHER)", "$(OTHER)"),
            ("$$(NAME) costs $5", "$(NAME) costs $5"),
            ("$(NAME", "$(NAME"),
            ("é$", "é$"),
        ] {
            assert_eq!(expand(text, &known), expanded);
        }
    }

    #[test]
    fn a_pod_can_ask_for_its_own_fields() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"nodeName": "one", "containers": []},
        }))
        .unwrap();
        let addresses = Addresses::default();
        let ask = |path| field(&pod, &addresses, path);
        assert_eq!(ask("spec.nodeName"), Ok("one".to_owned()));
        assert_eq!(ask("metadata.labels['app']"), Ok("web".to_owned()));
        assert_eq!(ask("metadata.labels"), Ok("app=\"web\"".to_owned()));
        assert_eq!(
            ask("spec.host"),
            Err("unsupported fieldPath: spec.host".to_owned())
        );
    }
}
