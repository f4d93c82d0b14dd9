//! What a server needs to be the only one that acts (docs/decisions/0007): its Lease, and to see other servers' pods.
//!
//! Velero's server may do everything, and so these rights are among those that it has; the Role is for those who give it
//! less. Kubernetes cannot name the object that is to be created, so `create` stands alone.

use caravel_controllers::lease;
use serde_json::{Value, json};

use super::objects::metadata;

/// Name of the Role and the RoleBinding.
pub const NAME: &str = "velero-leader-election";

/// Role and RoleBinding, for the server's ServiceAccount.
pub fn objects(namespace: &str, service_account: &str) -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": metadata(NAME, namespace),
            "rules": [
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [lease::NAME], "verbs": ["get", "update"]},
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": metadata(NAME, namespace),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": service_account, "namespace": namespace}],
        }),
    ]
}
