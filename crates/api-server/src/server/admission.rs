//! What must hold around an object before it is created: its namespace is there and not ending.
//! Source: `k8s.io/apiserver` v0.34, `pkg/admission/plugin/namespace/lifecycle`.

use serde_json::json;

use super::State;
use super::call::Call;
use crate::error::ApiError;
use crate::store::Key;

/// Where namespaces are kept.
pub(crate) fn namespaces() -> crate::store::Resource {
    (String::new(), "namespaces".to_owned())
}

/// Refuses new content in a namespace that is not there or is ending.
pub(crate) fn namespace_accepts(state: &State, call: &Call, name: &str) -> Result<(), ApiError> {
    let Some(namespace) = call.namespace.as_deref() else {
        return Ok(());
    };
    let found = state
        .store
        .get(&namespaces(), &Key::new(None, namespace))
        .ok_or_else(|| ApiError::not_found("", "namespaces", namespace))?;
    if found["metadata"]["deletionTimestamp"].is_null() && found["status"]["phase"] != "Terminating" {
        return Ok(());
    }
    let mut error = ApiError::forbidden(
        &call.kind.group,
        &call.kind.plural,
        name,
        &format!("unable to create new content in namespace {namespace} because it is being terminated"),
    );
    error.details["causes"] = json!([{
        "reason": "NamespaceTerminating",
        "message": format!("namespace {namespace} is being terminated"),
        "field": "metadata.namespace",
    }]);
    Err(error)
}

/// Namespaces that are never deleted.
pub(crate) fn refuse_deleting(call: &Call, name: &str) -> Result<(), ApiError> {
    let immortal = ["default", "kube-system", "kube-public"];
    if call.resource == namespaces() && immortal.contains(&name) {
        return Err(ApiError::forbidden(
            "",
            "namespaces",
            name,
            "this namespace may not be deleted",
        ));
    }
    Ok(())
}
