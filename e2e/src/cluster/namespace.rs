//! The cluster's own mount namespace: what kubelet, containerd and the CSI driver mount, the host never sees.
//!
//! A sleeping process holds the namespace. Inside, `/` is made rshared (pods that ask for mount propagation start only then),
//! and the folders that Kubernetes insists on (`/var/lib/kubelet`, `/run/containerd`, …) are bind mounts of folders under the
//! cluster's root: hostPath volumes and flags keep their usual values, and the host's own folders stay untouched. When the
//! last process inside is gone, the kernel takes every mount with it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::layout::Layout;
use super::processes::{Recipe, Started};

const HOLDER: &str = "mounts";

/// Folders as the processes inside see them, and what lies behind each, under the cluster's root.
const BEHIND: &[(&str, &str)] = &[
    ("/var/lib/kubelet", "kubelet"),
    ("/var/log/containers", "log/containers"),
    ("/run/containerd", "containerd/run"),
    ("/run/netns", "netns"),
    ("/var/lib/cni", "cni/state"),
    ("/usr/libexec/kubernetes", "libexec"),
];

/// Creates the namespace, unless its holder lives.
pub fn ensure(layout: &Layout) -> Result<bool> {
    let mut script = String::from("set -e\nmount --make-rshared /\n");
    for (seen, behind) in BEHIND {
        let behind = layout.folder(behind)?;
        // The mount point must exist on the host; what is made here goes again with the cluster.
        if !fs::exists(seen)? {
            fs::create_dir_all(seen).with_context(|| format!("cannot create the mount point {seen}"))?;
            layout.write(
                format!(
                    "made/{}",
                    behind.file_name().unwrap_or_default().to_string_lossy()
                ),
                seen,
            )?;
        }
        script.push_str(&format!("mount --bind '{}' '{seen}'\n", behind.display()));
    }
    let ready = layout.path("run/mounts.ready");
    script.push_str(&format!(
        "echo ready > '{}'\nexec sleep infinity\n",
        ready.display()
    ));
    if Started::remembered(layout, HOLDER).is_none_or(|holder| !holder.is_alive()) {
        let _ = fs::remove_file(&ready);
    }
    layout.folder("run")?;
    let started = Recipe::new(HOLDER, "unshare")
        .arguments(["--mount", "--", "/bin/sh", "-c", &script])
        .ensure(layout)?;
    let appeared = super::health::wait(Duration::from_secs(10), Duration::from_millis(20), || {
        ready.exists()
    });
    if !appeared {
        bail!(
            "the mount namespace did not come up{}",
            super::processes::log_tail(layout, HOLDER)
        );
    }
    Ok(started)
}

/// Removes the mount points that were made for this cluster; one that someone has put something into stays.
pub fn remove_mount_points(layout: &Layout) {
    for entry in fs::read_dir(layout.path("made")).into_iter().flatten().flatten() {
        if let Ok(seen) = fs::read_to_string(entry.path())
            && BEHIND.iter().any(|(known, _)| *known == seen)
        {
            let _ = fs::remove_dir(seen);
        }
    }
}

/// True when the namespace is there.
pub fn is_alive(layout: &Layout) -> bool {
    holder(layout).is_some()
}

/// The words in front of a command that runs it inside the namespace.
pub fn enter(layout: &Layout) -> Result<Vec<String>> {
    let pid = holder(layout)
        .context("the cluster's mount namespace is gone; run `cargo xtask cluster up`")?
        .pid;
    Ok(vec![
        "nsenter".into(),
        format!("--mount=/proc/{pid}/ns/mnt"),
        "--".into(),
    ])
}

/// Pid of the process that holds the namespace.
pub fn holder_pid(layout: &Layout) -> Option<i32> {
    holder(layout).map(|holder| holder.pid)
}

/// Pids of every process whose mounts are the cluster's.
pub fn members(layout: &Layout) -> Vec<i32> {
    let Some(ours) =
        holder(layout).and_then(|holder| fs::read_link(format!("/proc/{}/ns/mnt", holder.pid)).ok())
    else {
        return Vec::new();
    };
    super::processes::every()
        .into_iter()
        .map(|(pid, _)| pid)
        .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|theirs| theirs == ours))
        .collect()
}

fn holder(layout: &Layout) -> Option<Started> {
    Started::remembered(layout, HOLDER).filter(Started::is_alive)
}
