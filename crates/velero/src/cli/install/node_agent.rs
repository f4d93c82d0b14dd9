//! The node agent's DaemonSet.
//!
//! Mirrors `pkg/install/daemonset.go`. It runs as root (it reads volumes of every user) but not privileged, on a
//! read-only root file system. The host paths are Velero's; file system backup needs them.

use serde_json::{Value, json};

use super::objects::{SERVICE_ACCOUNT, metadata};
use super::options::Options;
use super::plugins::pull_policy;
use super::server::{credentials, features, namespace_env, not_windows, resources};

/// DaemonSet `node-agent`.
pub fn daemon_set(options: &Options) -> Value {
    let mut env = vec![
        json!({"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}),
        namespace_env(),
        json!({"name": "VELERO_SCRATCH_DIR", "value": "/scratch"}),
    ];
    let mut mounts = vec![
        json!({"name": "host-pods", "mountPath": "/host_pods", "mountPropagation": "HostToContainer"}),
        json!({"name": "host-plugins", "mountPath": "/var/lib/kubelet/plugins", "mountPropagation": "HostToContainer"}),
        json!({"name": "scratch", "mountPath": "/scratch"}),
    ];
    let mut volumes = vec![
        json!({"name": "host-pods", "hostPath": {"path": "/var/lib/kubelet/pods"}}),
        json!({"name": "host-plugins", "hostPath": {"path": "/var/lib/kubelet/plugins"}}),
        json!({"name": "scratch", "emptyDir": {}}),
    ];
    credentials(options, &mut env, &mut mounts, &mut volumes);
    let pods = &options.pods;
    let mut args = vec!["node-agent".to_owned(), "server".to_owned()];
    args.extend(features(options));
    if !options.node_agent_configmap.is_empty() {
        args.push(format!("--node-agent-configmap={}", options.node_agent_configmap));
    }
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": metadata("node-agent", &options.namespace),
        "spec": {
            "selector": {"matchLabels": {"name": "node-agent"}},
            "updateStrategy": {},
            "template": {
                "metadata": {"labels": {"component": "velero", "name": "node-agent", "role": "node-agent"}},
                "spec": {
                    "affinity": not_windows(),
                    "securityContext": {"runAsUser": 0},
                    "serviceAccountName": SERVICE_ACCOUNT,
                    "containers": [{
                        "name": "node-agent",
                        "image": options.image,
                        "imagePullPolicy": pull_policy(&options.image),
                        "command": ["/velero"],
                        "args": args,
                        "env": env,
                        "ports": [{"name": "metrics", "containerPort": 8085}],
                        "resources": resources(
                            [&pods.node_agent_pod_cpu_request, &pods.node_agent_pod_mem_request],
                            [&pods.node_agent_pod_cpu_limit, &pods.node_agent_pod_mem_limit],
                        ),
                        "securityContext": {"privileged": false, "readOnlyRootFilesystem": true},
                        "volumeMounts": mounts,
                    }],
                    "volumes": volumes,
                },
            },
        },
    })
}
