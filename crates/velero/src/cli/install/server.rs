//! The server's Deployment, and what its pod has in common with the node agent's.
//!
//! Mirrors `pkg/install/deployment.go`. Differences on purpose: strategy Recreate, so that an old and a new server
//! never run at once (also with `--server-replicas 2`: the Lease is ours alone, and a Velero knows none); a read-only root file system and no capabilities; no init containers, because the stores are
//! built in.

use serde_json::{Value, json};

use super::objects::{CREDENTIALS_KEY, CREDENTIALS_SECRET, metadata};
use super::options::Options;
use super::platform::unprivileged;
use super::plugins::pull_policy;

/// What tells Prometheus where the metrics are.
const SCRAPED: &[(&str, &str)] = &[
    ("prometheus.io/path", "/metrics"),
    ("prometheus.io/port", "8085"),
    ("prometheus.io/scrape", "true"),
];

/// Deployment `velero`.
pub fn deployment(options: &Options) -> Value {
    let mut env = vec![
        json!({"name": "VELERO_SCRATCH_DIR", "value": "/scratch"}),
        namespace_env(),
        // By which a container that is started again knows its own Lease.
        json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        json!({"name": "LD_LIBRARY_PATH", "value": "/plugins"}),
    ];
    let mut mounts = vec![
        json!({"name": "plugins", "mountPath": "/plugins"}),
        json!({"name": "scratch", "mountPath": "/scratch"}),
    ];
    let mut volumes = vec![
        json!({"name": "plugins", "emptyDir": {}}),
        json!({"name": "scratch", "emptyDir": {}}),
    ];
    credentials(options, &mut env, &mut mounts, &mut volumes);
    let (pods, platform) = (&options.pods, &options.platform);
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": metadata("velero", &options.namespace),
        "spec": {
            "selector": {"matchLabels": {"deploy": "velero"}},
            "strategy": {"type": "Recreate"},
            "template": {
                "metadata": {
                    "annotations": platform.annotations(SCRAPED),
                    "labels": platform.labels(&[("deploy", "velero")]),
                },
                "spec": {
                    "affinity": not_windows(),
                    "os": {"name": "linux"},
                    "restartPolicy": "Always",
                    "serviceAccountName": platform.service_account(),
                    "containers": [{
                        "name": "velero",
                        "image": options.image,
                        "imagePullPolicy": pull_policy(&options.image),
                        "command": ["/velero"],
                        "args": args(options),
                        "env": env,
                        "ports": [{"name": "metrics", "containerPort": 8085}],
                        "resources": resources(
                            [&pods.velero_pod_cpu_request, &pods.velero_pod_mem_request],
                            [&pods.velero_pod_cpu_limit, &pods.velero_pod_mem_limit],
                        ),
                        "securityContext": unprivileged(),
                        "volumeMounts": mounts,
                    }],
                    "volumes": volumes,
                },
            },
        },
    });
    give_priority(&mut deployment, &platform.server_priority_class);
    replicate(&mut deployment, options.server_replicas.get());
    deployment
}

/// Sets the priority class of a workload's pods, where one is named.
pub fn give_priority(workload: &mut Value, class: &str) {
    if !class.is_empty() {
        workload["spec"]["template"]["spec"]["priorityClassName"] = class.into();
    }
}

/// More than one server, on several nodes where there are several. One is what a Deployment has that says nothing: so a
/// number that somebody sets later stays when the manifest is applied again.
fn replicate(deployment: &mut Value, replicas: u32) {
    if replicas == 1 {
        return;
    }
    deployment["spec"]["replicas"] = json!(replicas);
    let apart = json!({
        "weight": 100,
        "podAffinityTerm": {
            "labelSelector": {"matchLabels": {"deploy": "velero"}},
            "topologyKey": "kubernetes.io/hostname",
        },
    });
    deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"] =
        json!({"preferredDuringSchedulingIgnoredDuringExecution": [apart]});
}

fn args(options: &Options) -> Vec<String> {
    let mut args = vec!["server".to_owned()];
    args.extend(features(options));
    args.push("--uploader-type=kopia".to_owned());
    if options.default_snapshot_move_data {
        args.push("--default-snapshot-move-data=true".to_owned());
    }
    if let Some(objects) = options.csi_snapshot_objects {
        args.push(format!("--csi-snapshot-objects={}", objects.as_str()));
    }
    let frequency = options.default_repo_maintain_frequency;
    if !frequency.is_zero() {
        args.push(format!("--default-repo-maintain-frequency={frequency}"));
    }
    args.extend(backup_repository_configmap(options));
    let configmap = &options.repo_maintenance_job_configmap;
    if !configmap.is_empty() {
        args.push(format!("--repo-maintenance-job-configmap={configmap}"));
    }
    args
}

/// `--backup-repository-configmap=…` of server and node agent, left out when there is none.
pub fn backup_repository_configmap(options: &Options) -> Option<String> {
    let configmap = &options.backup_repository_configmap;
    (!configmap.is_empty()).then(|| format!("--backup-repository-configmap={configmap}"))
}

/// `--features=…`, left out when there are none.
pub fn features(options: &Options) -> Option<String> {
    (!options.features.is_empty()).then(|| format!("--features={}", options.features.join(",")))
}

/// Volume, mount and environment of the provider's credentials, where there are any.
pub fn credentials(
    options: &Options,
    env: &mut Vec<Value>,
    mounts: &mut Vec<Value>,
    volumes: &mut Vec<Value>,
) {
    if options.credentials.is_none() {
        return;
    }
    volumes.push(json!({"name": CREDENTIALS_SECRET, "secret": {"secretName": CREDENTIALS_SECRET, "defaultMode": 0o444}}));
    mounts.push(json!({"name": CREDENTIALS_SECRET, "mountPath": "/credentials"}));
    for variable in [
        "GOOGLE_APPLICATION_CREDENTIALS",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AZURE_CREDENTIALS_FILE",
        "ALIBABA_CLOUD_CREDENTIALS_FILE",
    ] {
        env.push(json!({"name": variable, "value": format!("/credentials/{CREDENTIALS_KEY}")}));
    }
}

/// The pod's own namespace as `VELERO_NAMESPACE`.
pub fn namespace_env() -> Value {
    json!({"name": "VELERO_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}})
}

/// Linux nodes only.
pub fn not_windows() -> Value {
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "NotIn", "values": ["windows"]}]},
    ]}}})
}

/// Requests and limits as `[cpu, memory]`; "0" is left out.
pub fn resources(requests: [&str; 2], limits: [&str; 2]) -> Value {
    let side = |values: [&str; 2]| -> Value {
        let named = ["cpu", "memory"]
            .into_iter()
            .zip(values)
            .filter(|(_, value)| *value != "0");
        named
            .map(|(name, value)| (name.to_owned(), Value::from(canonical(value))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let mut resources = serde_json::Map::new();
    for (name, values) in [("requests", side(requests)), ("limits", side(limits))] {
        if values.as_object().is_some_and(|values| !values.is_empty()) {
            resources.insert(name.to_owned(), values);
        }
    }
    resources.into()
}

/// `1000m` as the API server stores it: `1`.
fn canonical(quantity: &str) -> String {
    match quantity
        .strip_suffix('m')
        .and_then(|millis| millis.parse::<u64>().ok())
    {
        Some(millis) if millis % 1000 == 0 => (millis / 1000).to_string(),
        _ => quantity.to_owned(),
    }
}
