//! The node agent's DaemonSet.
//!
//! Mirrors `pkg/install/daemonset.go`. It reads no volume itself (data mover pods do), and so it needs neither root nor a
//! host path. Velero's host paths are there on request, for those who go back to it: file system backup reads them.

use serde_json::{Value, json};

use super::objects::metadata;
use super::options::Options;
use super::platform::Platform;
use super::plugins::pull_policy;
use super::server::{
    backup_repository_configmap, credentials, features, give_priority, namespace_env, not_windows, resources,
};

/// DaemonSet `node-agent`.
pub fn daemon_set(options: &Options) -> Value {
    let mut env = vec![
        json!({"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}),
        namespace_env(),
        json!({"name": "VELERO_SCRATCH_DIR", "value": "/scratch"}),
    ];
    let platform = &options.platform;
    let (mut volumes, mut mounts) = host_paths(platform);
    volumes.push(json!({"name": "scratch", "emptyDir": {}}));
    mounts.push(json!({"name": "scratch", "mountPath": "/scratch"}));
    credentials(options, &mut env, &mut mounts, &mut volumes);
    let pods = &options.pods;
    let mut args = vec!["node-agent".to_owned(), "server".to_owned()];
    args.extend(features(options));
    if !options.node_agent_configmap.is_empty() {
        args.push(format!("--node-agent-configmap={}", options.node_agent_configmap));
    }
    args.extend(backup_repository_configmap(options));
    let mut daemon_set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": metadata("node-agent", &options.namespace),
        "spec": {
            "selector": {"matchLabels": {"name": "node-agent"}},
            "updateStrategy": {},
            "template": {
                "metadata": {"labels": platform.labels(&[("name", "node-agent"), ("role", "node-agent")])},
                "spec": {
                    "affinity": not_windows(),
                    "serviceAccountName": platform.service_account(),
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
                        "securityContext": platform.node_agent_security(),
                        "volumeMounts": mounts,
                    }],
                    "volumes": volumes,
                },
            },
        },
    });
    let template = &mut daemon_set["spec"]["template"];
    if let Some(annotations) = platform.annotations(&[]) {
        template["metadata"]["annotations"] = annotations;
    }
    if platform.node_agent_is_root() {
        template["spec"]["securityContext"] = json!({"runAsUser": 0});
    }
    give_priority(&mut daemon_set, &platform.node_agent_priority_class);
    daemon_set
}

/// Volumes and mounts of the kubelet's folders, where they are asked for. The inner paths are Velero's, whatever the
/// outer ones are.
fn host_paths(platform: &Platform) -> (Vec<Value>, Vec<Value>) {
    let Some(root) = &platform.kubelet_root else {
        return (Vec::new(), Vec::new());
    };
    let volume =
        |name: &str, folder: &str| json!({"name": name, "hostPath": {"path": format!("{root}/{folder}")}});
    let mount = |name: &str, inner: &str| json!({"name": name, "mountPath": inner, "mountPropagation": "HostToContainer"});
    (
        vec![volume("host-pods", "pods"), volume("host-plugins", "plugins")],
        vec![
            mount("host-pods", "/host_pods"),
            mount("host-plugins", "/var/lib/kubelet/plugins"),
        ],
    )
}
