//! Debian packages that the cluster is made of: installed when missing, never upgraded.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::run;

/// A file that shows the package is there, and the package.
const NEEDED: &[(&str, &str)] = &[
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/sbin/iptables", "iptables"),
    ("/usr/sbin/conntrack", "conntrack"),
    ("/usr/bin/socat", "socat"),
    ("/bin/busybox", "busybox-static"),
    ("/usr/sbin/mkfs.xfs", "xfsprogs"),
    ("/sbin/ip", "iproute2"),
    ("/usr/bin/zstd", "zstd"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/sbin/mkfs.ext4", "e2fsprogs"),
];

/// Installs what is missing, and says what and how long it took.
pub fn ensure() -> Result<()> {
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, name)| *name)
        .collect();
    if !missing.is_empty() {
        println!("installing from Debian: {}", missing.join(" "));
        let begun = Instant::now();
        run::output("apt-get", &["update", "-qq"])?;
        run::shown(
            Command::new("apt-get")
                .args(["install", "-y", "-qq", "--no-install-recommends"])
                .args(&missing)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )?;
        println!("installed in {:.0} s", begun.elapsed().as_secs_f64());
    }
    if run::output("kubectl", &["version", "--client"]).is_err() {
        bail!("kubectl is not on PATH; install one of version 1.32 or later");
    }
    Ok(())
}
