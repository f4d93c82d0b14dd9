//! A pod's ServiceAccount in its containers: a volume with token, authority and namespace.
//! Source: Kubernetes v1.34, `plugin/pkg/admission/serviceaccount/admission.go`.
//!
//! A pod whose account `default` is not made yet is let in without the volume, where Kubernetes refuses it until a moment
//! later; a server without nodes has no accounts and does not ask for them.

use serde_json::{Value, json};

use super::{State, metadata};
use crate::error::ApiError;
use crate::store::{Key, Resource};

const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME: &str = "kube-api-access-";
/// An hour, and what a kubelet needs to renew the token in time.
const TOKEN_SECONDS: i64 = 3607;

/// Mounts the account of a new pod; `has_nodes`: an account that is not there is refused.
pub(crate) fn mount(state: &mut State, pod: &mut Value, has_nodes: bool) -> Result<(), ApiError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let namespace = text(&pod["metadata"]["namespace"]);
    let account = text(&pod["spec"]["serviceAccountName"]);
    let resource: Resource = (String::new(), "serviceaccounts".to_owned());
    let Some(found) = state
        .store
        .get(&resource, &Key::new(Some(&namespace), &account))
        .cloned()
    else {
        if account == "default" || !has_nodes {
            return Ok(());
        }
        let why = format!(
            "error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found"
        );
        return Err(ApiError::forbidden(
            "",
            "pods",
            &text(&pod["metadata"]["name"]),
            &why,
        ));
    };
    let spec = &mut pod["spec"];
    let wished = [
        &spec["automountServiceAccountToken"],
        &found["automountServiceAccountToken"],
    ];
    if wished.iter().find_map(|wish| wish.as_bool()) == Some(false) {
        return Ok(());
    }
    let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    let ours = volumes
        .iter()
        .map(|volume| text(&volume["name"]))
        .find(|name| name.starts_with(VOLUME));
    let is_new = ours.is_none();
    let name = ours.unwrap_or_else(|| metadata::generated_name(VOLUME, &mut state.rng));
    let mut is_used = false;
    for list in ["initContainers", "containers"] {
        // Not by index, which would leave a null where there is no such list.
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            is_used |= mount_in(container, &name);
        }
    }
    if is_used && is_new {
        let mut volumes = volumes;
        volumes.push(volume(&name));
        spec["volumes"] = volumes.into();
    }
    Ok(())
}

/// False: something else is mounted there.
fn mount_in(container: &mut Value, volume: &str) -> bool {
    let mut mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
    if mounts.iter().any(|mount| mount["mountPath"] == FOLDER) {
        return false;
    }
    mounts.push(json!({"name": volume, "readOnly": true, "mountPath": FOLDER}));
    container["volumeMounts"] = mounts.into();
    true
}

fn volume(name: &str) -> Value {
    let namespace =
        json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]}})
}
