//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler: plain processes on the host.
//!
//! Source of the flags: reference/test-cluster.md, "What starts it".

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::health;
use super::layout::Layout;
use super::network::{self, Ports};
use super::processes::Recipe;
use crate::run;

/// One program of the `kube` binary, which picks its part by the name that it is called by.
pub fn program(layout: &Layout, kube: &Path, name: &str) -> Result<PathBuf> {
    let link = layout.folder("bin")?.join(name);
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(kube, &link).with_context(|| format!("cannot link {}", link.display()))?;
    Ok(link)
}

/// Starts etcd.
pub fn etcd(layout: &Layout, kube: &Path, ports: &Ports) -> Result<()> {
    let client = format!("http://127.0.0.1:{}", ports.etcd);
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
    Recipe::new("etcd", program(layout, kube, "etcd")?)
        .arguments([
            "--name=caravel".to_owned(),
            format!("--data-dir={}", layout.text("etcd")),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=caravel={peer}"),
            // Nothing here outlives the machine; fsync would make every API write wait for the disk.
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ])
        .ensure(layout)?;
    health::wait_for(layout, "etcd", "etcd", || {
        health::listens(Ports::loopback(ports.etcd))
    })
}

/// Starts the API server and waits until it is ready.
pub fn api_server(layout: &Layout, kube: &Path, ports: &Ports) -> Result<()> {
    let pki = |file: &str| layout.text(format!("pki/{file}"));
    Recipe::new("kube-apiserver", program(layout, kube, "kube-apiserver")?)
        .arguments([
            format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd),
            format!("--secure-port={}", ports.api),
            format!("--bind-address={}", network::ADDRESS),
            format!("--advertise-address={}", network::ADDRESS),
            format!("--service-cluster-ip-range={}", network::SERVICES),
            format!("--tls-cert-file={}", pki("apiserver.crt")),
            format!("--tls-private-key-file={}", pki("apiserver.key")),
            format!("--client-ca-file={}", pki("ca.crt")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", pki("sa.pub")),
            format!("--service-account-signing-key-file={}", pki("sa.key")),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--kubelet-client-certificate={}", pki("admin.crt")),
            format!("--kubelet-client-key={}", pki("admin.key")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--shutdown-delay-duration=0s".to_owned(),
        ])
        .ensure(layout)?;
    health::wait_for(layout, "kube-apiserver", "the API server", || {
        health::listens(ports.api_address()) && kubectl(layout, &["get", "--raw", "/readyz"]).is_ok()
    })
}

/// Starts the controller manager and the scheduler.
pub fn controllers(layout: &Layout, kube: &Path, ports: &Ports) -> Result<()> {
    let identity = |user: &str| {
        let file = layout.text(format!("kubeconfig/{user}"));
        [
            format!("--kubeconfig={file}"),
            format!("--authentication-kubeconfig={file}"),
            format!("--authorization-kubeconfig={file}"),
            "--bind-address=127.0.0.1".to_owned(),
            // One of each runs: an election would only add seconds to a restart.
            "--leader-elect=false".to_owned(),
        ]
    };
    Recipe::new(
        "kube-controller-manager",
        program(layout, kube, "kube-controller-manager")?,
    )
    .arguments(identity("controller-manager"))
    .arguments([
        format!("--secure-port={}", ports.controller_manager),
        format!("--root-ca-file={}", layout.text("pki/ca.crt")),
        format!("--service-account-private-key-file={}", layout.text("pki/sa.key")),
        "--use-service-account-credentials=true".to_owned(),
        "--pvclaimbinder-sync-period=2s".to_owned(),
        "--kube-api-qps=100".to_owned(),
        "--kube-api-burst=200".to_owned(),
    ])
    .ensure(layout)?;
    Recipe::new("kube-scheduler", program(layout, kube, "kube-scheduler")?)
        .arguments(identity("scheduler"))
        .arguments([format!("--secure-port={}", ports.scheduler)])
        .ensure(layout)?;
    Ok(())
}

/// `kubectl` as the cluster's administrator.
pub fn kubectl(layout: &Layout, arguments: &[&str]) -> Result<String> {
    run::checked(kubectl_command(layout).args(arguments))
}

/// Applies objects, given as JSON or YAML text.
pub fn apply(layout: &Layout, objects: &str) -> Result<String> {
    let said = run::said_after_reading(
        kubectl_command(layout).args(["apply", "--server-side", "--force-conflicts", "-f", "-"]),
        objects.as_bytes(),
    )?;
    anyhow::ensure!(said.succeeded(), "kubectl apply failed: {}", said.both().trim());
    Ok(said.stdout)
}

/// Asks `kubectl` until it succeeds or `patience` is over.
pub fn kubectl_until(layout: &Layout, patience: Duration, arguments: &[&str]) -> Result<String> {
    let mut last = kubectl(layout, arguments);
    health::wait(patience, Duration::from_millis(250), || {
        if last.is_err() {
            last = kubectl(layout, arguments);
        }
        last.is_ok()
    });
    last
}

fn kubectl_command(layout: &Layout) -> Command {
    let mut command = Command::new("kubectl");
    command
        .env("KUBECONFIG", layout.path("kubeconfig/admin"))
        .env("HOME", layout.root());
    command
}
