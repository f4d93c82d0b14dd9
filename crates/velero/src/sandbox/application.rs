//! Namespace `shop`: what the stories back up, lose and restore.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::World;
use super::{folder, shop};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::{install, output};

/// The application's namespace.
pub const NAMESPACE: &str = "shop";
/// Its Deployment, and the PVC that it mounts.
pub const DEPLOYMENT: &str = "till";
pub const CLAIM: &str = "data";
/// What selects its pods.
pub const PODS: &str = "app=till";
/// How long the database may take to fill its volume, or to read all of it.
const OPEN_WITHIN: Duration = Duration::from_secs(60);

/// Creates it and waits until its database is open.
pub async fn start(world: &World) -> Outcome {
    for object in objects() {
        install::create_object(&world.client(), &object, |_| {}).await?;
    }
    is_open(world).await
}

/// Waits until its pod runs and its database is open.
pub async fn is_open(world: &World) -> Outcome {
    install::deployment_is_ready(&world.client(), NAMESPACE, DEPLOYMENT, PODS).await?;
    let opened = tokio::time::timeout(OPEN_WITHIN, world.shop.opened(NAMESPACE)).await;
    opened.map_err(|_| {
        Failure::new(format!(
            "Deployment {NAMESPACE}/{DEPLOYMENT} runs, but its database is not open after {} s",
            OPEN_WITHIN.as_secs()
        ))
    })
}

/// Writes it as a file for `kubectl apply -f`.
pub fn write_manifest(path: &Path) -> Outcome {
    let parts = objects().iter().map(output::yaml).collect::<Outcome<Vec<_>>>()?;
    folder::write_private(path, parts.join("---\n").as_bytes())
        .map_err(|error| Failure::new(format!("writing {}: {error}", path.display())))
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
