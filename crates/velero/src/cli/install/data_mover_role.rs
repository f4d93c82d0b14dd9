//! What a data mover pod may do: report on its own DataUpload or DataDownload, and nothing else.
//!
//! Velero's data mover pods run with the server's ServiceAccount and so with every right in the cluster. Ours read
//! volumes of users, so they have a ServiceAccount of their own; password and credentials are mounted files.

use caravel_api::labels::DATA_MOVER_SERVICE_ACCOUNT;
use serde_json::{Value, json};

use super::objects::metadata;

/// ServiceAccount, Role and RoleBinding.
pub fn objects(namespace: &str) -> Vec<Value> {
    let name = DATA_MOVER_SERVICE_ACCOUNT;
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(name, namespace)}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": metadata(name, namespace),
            "rules": [
                // A watch of one object is a list with a field selector first.
                {"apiGroups": ["velero.io"], "resources": ["datauploads", "datadownloads"], "verbs": ["get", "list", "watch", "patch"]},
                {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": metadata(name, namespace),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }),
    ]
}
