//! Namespace `shop`: what the stories back up, lose and restore.

use kube::Client;
use serde_json::{Value, json};

use super::shop;
use crate::cli::failure::Outcome;
use crate::cli::install;

/// The application's namespace.
pub const NAMESPACE: &str = "shop";
/// Its Deployment, and the PVC that it mounts.
pub const DEPLOYMENT: &str = "till";
pub const CLAIM: &str = "data";
/// What selects its pods.
pub const PODS: &str = "app=till";

/// Creates it and waits until its database is open.
pub async fn start(client: &Client) -> Outcome {
    for object in objects() {
        install::create_object(client, &object, |_| {}).await?;
    }
    is_ready(client).await
}

/// Waits until its pod runs.
pub async fn is_ready(client: &Client) -> Outcome {
    install::deployment_is_ready(client, NAMESPACE, DEPLOYMENT, PODS).await
}

fn objects() -> Vec<Value> {
    let metadata = |name: &str| json!({"name": name, "namespace": NAMESPACE});
    let labels = json!({"app": DEPLOYMENT});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {"team": "till"}}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("settings"), "data": {"color": "blue"}}),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata(CLAIM),
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "512Mi"}}},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata(DEPLOYMENT),
            "spec": {"selector": labels, "ports": [{"port": 80}]},
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(DEPLOYMENT),
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "terminationGracePeriodSeconds": 2,
                        "containers": [{
                            "name": "database", "image": shop::IMAGE,
                            "volumeMounts": [{"name": "data", "mountPath": shop::DATA}],
                        }],
                        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}],
                    },
                },
            },
        }),
    ]
}
