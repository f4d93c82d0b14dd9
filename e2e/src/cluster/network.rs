//! The bridge that pods hang on. It is made first, because its address is the node's, the API server's and the S3 server's:
//! an address that exists on any machine, changes on none, and that pods reach without leaving it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::run;

/// Name of the bridge.
pub const BRIDGE: &str = "cbr";
/// The bridge's own address: node, API and S3.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// Pods' addresses.
pub const PODS: &str = "10.244.0.0/24";
/// Services' addresses; the first is the API.
pub const SERVICES: &str = "10.96.0.0/16";
/// The API server as pods see it.
pub const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The ports of one cluster, chosen when it is made and kept for its life.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ports {
    /// kube-apiserver, on the bridge's address.
    pub api: u16,
    /// etcd for clients, on loopback; likewise all that follow but `s3`.
    pub etcd: u16,
    /// etcd for peers (there are none).
    pub etcd_peer: u16,
    /// kube-controller-manager.
    pub controller_manager: u16,
    /// kube-scheduler.
    pub scheduler: u16,
    /// kubelet's API, on the bridge's address.
    pub kubelet: u16,
    /// kubelet's health.
    pub kubelet_health: u16,
    /// kube-proxy's health.
    pub proxy_health: u16,
    /// kube-proxy's metrics.
    pub proxy_metrics: u16,
    /// versitygw, on the bridge's address.
    pub s3: u16,
}

impl Ports {
    /// Takes the usual ports, and the next free one where a usual one is taken; remembers the choice.
    pub fn choose(layout: &Layout) -> Result<Self> {
        const REMEMBERED: &str = "ports.json";
        if let Ok(bytes) = std::fs::read(layout.path(REMEMBERED)) {
            return serde_json::from_slice(&bytes).context("cannot read ports.json");
        }
        let mut taken = Vec::new();
        let mut free = |usual: u16| -> Result<u16> {
            for port in usual..usual + 500 {
                if !taken.contains(&port) && TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))).is_ok()
                {
                    taken.push(port);
                    return Ok(port);
                }
            }
            bail!("no free port from {usual} on");
        };
        let ports = Self {
            api: free(6443)?,
            etcd: free(2379)?,
            etcd_peer: free(2380)?,
            controller_manager: free(10257)?,
            scheduler: free(10259)?,
            kubelet: free(10250)?,
            kubelet_health: free(10248)?,
            proxy_health: free(10256)?,
            proxy_metrics: free(10249)?,
            s3: free(7070)?,
        };
        layout.write(REMEMBERED, serde_json::to_vec_pretty(&ports)?)?;
        Ok(ports)
    }

    /// Where the API server listens.
    pub fn api_address(&self) -> SocketAddr {
        SocketAddr::from((ADDRESS, self.api))
    }

    /// Where the S3 server listens.
    pub fn s3_address(&self) -> SocketAddr {
        SocketAddr::from((ADDRESS, self.s3))
    }

    /// A port on loopback.
    pub fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }
}

/// Makes the bridge, or leaves one that is there. A bridge of that name with another address is not ours.
pub fn ensure_bridge() -> Result<()> {
    let cidr = format!("{ADDRESS}/24");
    if let Ok(shown) = run::output("ip", &["-4", "-oneline", "address", "show", "dev", BRIDGE]) {
        if !shown.trim().is_empty() && !shown.contains(&cidr) {
            bail!(
                "the interface {BRIDGE} exists with another address ({}); it is not ours",
                shown.trim()
            );
        }
    } else {
        run::output("ip", &["link", "add", BRIDGE, "type", "bridge"])?;
    }
    let has_address =
        run::output("ip", &["-4", "-oneline", "address", "show", "dev", BRIDGE])?.contains(&cidr);
    if !has_address {
        run::output("ip", &["address", "add", &cidr, "dev", BRIDGE])?;
    }
    run::output("ip", &["link", "set", BRIDGE, "up"])?;
    run::output("sysctl", &["-qw", "net.ipv4.ip_forward=1"])?;
    Ok(())
}

/// Removes the bridge and every packet filter rule that kubelet and kube-proxy made (they all say KUBE-).
pub fn remove() -> Result<()> {
    for family in ["iptables", "ip6tables"] {
        if let Ok(rules) = run::output(format!("{family}-save"), &[]) {
            let Some(without) = without_kubernetes(&rules) else {
                continue;
            };
            let restored =
                run::said_after_reading(&mut Command::new(format!("{family}-restore")), without.as_bytes())?;
            if !restored.succeeded() {
                bail!(
                    "cannot take Kubernetes' rules out of {family}: {}",
                    restored.both().trim()
                );
            }
        }
    }
    if run::output("ip", &["link", "show", BRIDGE]).is_ok() {
        run::output("ip", &["link", "delete", BRIDGE])?;
    }
    Ok(())
}

/// A saved rule set without Kubernetes' chains and the rules that lead there; none when there is nothing to take out.
fn without_kubernetes(rules: &str) -> Option<String> {
    let is_theirs = |line: &str| line.contains("KUBE-");
    rules.lines().any(is_theirs).then(|| {
        let mut kept: String = rules
            .lines()
            .filter(|line| !is_theirs(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        kept.push('\n');
        kept
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kubernetes_rules_are_taken_out() {
        let rules = "*nat\n:POSTROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n\
                     -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE\nCOMMIT\n";
        let kept = without_kubernetes(rules).expect("something to take out");
        assert!(!kept.contains("KUBE-"));
        assert!(kept.contains("MASQUERADE"));
        assert_eq!(without_kubernetes("*nat\nCOMMIT\n"), None);
    }
}
