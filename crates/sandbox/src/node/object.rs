//! The Node object.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

/// The label that names a node.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// What a kubelet says about its node: ready, Linux, with room.
pub fn node_object(name: &str, number: usize, driver: &str, now: &Time) -> Node {
    let healthy = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now})
    };
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "1Ti"});
    let node = json!({
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", HOSTNAME: name,
                "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux",
            },
            "annotations": {
                "csi.volume.kubernetes.io/nodeid": format!("{{\"{driver}\":\"{name}\"}}"),
                "node.alpha.kubernetes.io/ttl": "0",
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
        },
        "spec": {},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": host_ip(number)},
                {"type": "Hostname", "address": name},
            ],
            "capacity": room, "allocatable": room,
            "conditions": [
                healthy("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                healthy("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                healthy("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                healthy("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "architecture": "amd64", "bootID": "sandbox", "containerRuntimeVersion": "sandbox://1",
                "kernelVersion": "sandbox", "kubeProxyVersion": "", "kubeletVersion": "v1.34.4", "machineID": name,
                "operatingSystem": "linux", "osImage": "Caravel sandbox", "systemUUID": name,
            },
        },
    });
    serde_json::from_value(node).unwrap_or_default()
}

/// The node's address; nothing listens there.
pub fn host_ip(number: usize) -> String {
    format!("172.18.{}.{}", number / 250, number % 250 + 2)
}
