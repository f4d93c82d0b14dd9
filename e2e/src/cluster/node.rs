//! The node: containerd, kubelet (both inside the cluster's mount namespace) and kube-proxy.
//!
//! Source of the settings and their reasons: reference/test-cluster.md, "What starts it". The machine has cgroup v1 and root
//! without CAP_SYS_RESOURCE, hence `restrict_oom_score_adj`, `failCgroupV1: false` and `oomScoreAdj: 0`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::certificates::NODE;
use super::control_plane::{kubectl_until, program};
use super::health;
use super::layout::Layout;
use super::network::{self, Ports};
use super::processes::Recipe;
use crate::image;
use crate::run;

/// Image of the sandbox containers.
pub const PAUSE_IMAGE: &str = "docker.io/local/pause:1";

/// Starts containerd with its own configuration, state and socket.
pub fn containerd(layout: &Layout) -> Result<()> {
    let config = containerd_config(layout);
    let file = layout.write("config/containerd.toml", &config)?;
    let network = json!({
        "cniVersion": "0.4.0",
        "name": "caravel",
        "plugins": [{
            "type": "bridge", "bridge": network::BRIDGE, "isGateway": true, "ipMasq": false, "hairpinMode": true,
            "ipam": {"type": "host-local", "subnet": network::PODS, "dataDir": layout.text("cni/networks"),
                     "routes": [{"dst": "0.0.0.0/0"}]},
        }],
    });
    layout.write(
        "cni/net.d/10-caravel.conflist",
        serde_json::to_string_pretty(&network)?,
    )?;
    layout.folder("containerd/state")?;
    Recipe::new("containerd", "/usr/bin/containerd")
        .in_namespace()
        .arguments(["--config".to_owned(), file.to_string_lossy().into_owned()])
        .identity(config)
        .ensure(layout)?;
    health::wait_for(layout, "containerd", "containerd", || {
        ctr(layout)
            .arg("version")
            .output()
            .is_ok_and(|o| o.status.success())
    })
}

/// Where containerd listens.
pub fn containerd_socket(layout: &Layout) -> String {
    layout.text("containerd/containerd.sock")
}

/// `ctr` on the cluster's containerd, in Kubernetes' namespace of images.
pub fn ctr(layout: &Layout) -> Command {
    let mut command = Command::new("ctr");
    command.args(["--address", &containerd_socket(layout), "--namespace", "k8s.io"]);
    command
}

/// Imports an image archive; what it names replaces an image of that name.
pub fn import_image(layout: &Layout, archive: &Path) -> Result<()> {
    run::checked(ctr(layout).args(["images", "import"]).arg(archive))
        .with_context(|| format!("cannot import {}", archive.display()))?;
    Ok(())
}

/// The images that every cluster has: pause and an application with busybox. containerd itself is asked whether they are
/// there: a kubelet that runs out of disk deletes them, and no registry has them.
pub fn import_base_images(layout: &Layout) -> Result<()> {
    let there = run::checked(ctr(layout).args(["images", "list", "--quiet"]))?;
    let folder = layout.folder("images")?;
    for (name, archive, entrypoint) in [
        // A process that only holds the pod's namespaces open; sandboxes are ended with KILL.
        (
            PAUSE_IMAGE,
            "pause.tar",
            &["/bin/busybox", "sleep", "2147483647"][..],
        ),
        (image::BUSYBOX_IMAGE, "busybox.tar", &["/bin/sh"][..]),
    ] {
        if there.lines().any(|image| image == name) {
            continue;
        }
        let archive = folder.join(archive);
        image::busybox(name, entrypoint)?.write(&archive)?;
        import_image(layout, &archive)?;
    }
    Ok(())
}

/// Starts kubelet and kube-proxy and waits until the node is Ready.
pub fn kubelet_and_proxy(layout: &Layout, kube: &Path, ports: &Ports) -> Result<()> {
    let config = serde_json::to_string_pretty(&kubelet_config(layout, ports))?;
    let file = layout.write("config/kubelet.json", &config)?;
    Recipe::new("kubelet", program(layout, kube, "kubelet")?)
        .in_namespace()
        .arguments([
            format!("--config={}", file.display()),
            format!("--kubeconfig={}", layout.text("kubeconfig/kubelet")),
            format!("--hostname-override={NODE}"),
            format!("--node-ip={}", network::ADDRESS),
            "--root-dir=/var/lib/kubelet".to_owned(),
        ])
        .identity(config)
        .ensure(layout)?;
    Recipe::new("kube-proxy", program(layout, kube, "kube-proxy")?)
        .arguments([
            format!("--kubeconfig={}", layout.text("kubeconfig/proxy")),
            format!("--hostname-override={NODE}"),
            format!("--cluster-cidr={}", network::PODS),
            "--proxy-mode=iptables".to_owned(),
            "--conntrack-max-per-core=0".to_owned(),
            "--oom-score-adj=0".to_owned(),
            format!("--healthz-bind-address={}", Ports::loopback(ports.proxy_health)),
            format!("--metrics-bind-address={}", Ports::loopback(ports.proxy_metrics)),
        ])
        .ensure(layout)?;
    Ok(())
}

/// Waits until the node is Ready and pods may be created (the default service account is there).
pub fn wait_until_ready(layout: &Layout) -> Result<()> {
    let patience = Duration::from_secs(90);
    let node = format!("node/{NODE}");
    kubectl_until(layout, patience, &["get", &node])?;
    kubectl_until(
        layout,
        patience,
        &["wait", "--for=condition=Ready", &node, "--timeout=60s"],
    )
    .with_context(|| format!("the node is not Ready; see {}", layout.text("log/kubelet.log")))?;
    kubectl_until(
        layout,
        patience,
        &["get", "serviceaccount", "default", "-n", "default"],
    )?;
    Ok(())
}

fn containerd_config(layout: &Layout) -> String {
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
"#,
        root = layout.text("containerd/root"),
        state = layout.text("containerd/state"),
        socket = containerd_socket(layout),
        cni = layout.text("cni/net.d"),
    )
}

fn kubelet_config(layout: &Layout, ports: &Ports) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network::ADDRESS.to_string(),
        "port": ports.kubelet,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": ports.kubelet_health,
        "authentication": {
            "x509": {"clientCAFile": layout.text("pki/ca.crt")},
            "webhook": {"enabled": true},
            "anonymous": {"enabled": false},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.text("pki/kubelet.crt"),
        "tlsPrivateKeyFile": layout.text("pki/kubelet.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "failCgroupV1": false,
        "oomScoreAdj": 0,
        "containerRuntimeEndpoint": format!("unix://{}", containerd_socket(layout)),
        "podLogsDir": layout.text("log/pods"),
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "syncFrequency": "10s",
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "eventRecordQPS": 100,
        "maxPods": 200,
    })
}
