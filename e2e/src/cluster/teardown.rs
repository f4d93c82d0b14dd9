//! The reverse of `up`: every process, mount, loop device, packet filter rule, cgroup and file of the cluster goes.
//!
//! Works from what the kernel says as well as from what was remembered, so that it also clears away a cluster whose `up` was
//! interrupted or whose machine was restarted.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::layout::Layout;
use super::processes::{Started, command_line, every, kill_all};
use super::{health, namespace, network, node};
use crate::run;

/// In which order the processes end; those not named follow.
const ORDER: &[&str] = &[
    "kubelet",
    "csi-provisioner",
    "csi-snapshotter",
    "snapshot-controller",
    "kube-proxy",
    "csi-driver",
];

/// Removes the cluster. The caller holds the lock.
pub fn down(layout: &Layout) -> Result<()> {
    let remembered = Started::all(layout);
    for name in ORDER {
        if let Some(started) = remembered.iter().find(|started| started.name == *name) {
            started.end(layout, Duration::from_secs(5))?;
        }
    }
    kill_all(&containers(layout));
    release_volumes(layout);
    let late = |started: &&Started| started.name != "mounts" && !ORDER.contains(&started.name.as_str());
    for started in remembered.iter().filter(late) {
        started.end(layout, Duration::from_secs(5))?;
    }
    // Whatever else still holds the namespace: mounts vanish only with its last process.
    let ourselves = i32::try_from(std::process::id()).unwrap_or_default();
    let members: Vec<i32> = namespace::members(layout)
        .into_iter()
        .filter(|pid| *pid != ourselves)
        .collect();
    kill_all(&members);
    if let Some(holder) = Started::remembered(layout, "mounts") {
        holder.end(layout, Duration::from_secs(2))?;
    }
    health::wait(Duration::from_secs(10), Duration::from_millis(50), || {
        members
            .iter()
            .all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
            && mounts_below(layout).is_empty()
    });
    for mount in mounts_below(layout) {
        // Left by a cluster that ran without a namespace of its own (none does today), or by a person.
        run::output("umount", &["--lazy", &mount])?;
    }
    detach_loop_devices(layout)?;
    network::remove()?;
    remove_cgroups();
    namespace::remove_mount_points(layout);
    layout.delete()
}

/// Lets the CSI driver unmount its volumes and free their loop devices; what it cannot, the steps after it do.
fn release_volumes(layout: &Layout) {
    let driver = fs::read_dir(layout.path("bin"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("caravel-csi-driver"));
    if let Some(driver) = driver
        && let Ok(mut command) = super::inside(layout, &driver.to_string_lossy())
    {
        let released = run::said(command.args(["--release", "--state-dir", &layout.text("csi")]));
        if let Ok(said) = released
            && !said.succeeded()
        {
            println!(
                "the CSI driver could not release everything: {}",
                said.both().trim()
            );
        }
    }
}

/// Every container's processes: the shims of our containerd with all that descends from them.
fn containers(layout: &Layout) -> Vec<i32> {
    let socket = node::containerd_socket(layout);
    let processes = every();
    let mut doomed: BTreeSet<i32> = processes
        .iter()
        .map(|(pid, _)| *pid)
        .filter(|pid| {
            let line = command_line(*pid);
            line.contains("containerd-shim") && line.contains(&socket)
        })
        .collect();
    loop {
        let children: Vec<i32> = processes
            .iter()
            .filter(|(pid, parent)| doomed.contains(parent) && !doomed.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if children.is_empty() {
            return doomed.into_iter().collect();
        }
        doomed.extend(children);
    }
}

/// Mount points of the host below the cluster's root, innermost first.
fn mounts_below(layout: &Layout) -> Vec<String> {
    let root = format!("{}/", layout.root().display());
    let mut mounts: Vec<String> = fs::read_to_string("/proc/self/mounts")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .filter(|target| target.starts_with(&root))
        .map(str::to_owned)
        .collect();
    mounts.reverse();
    mounts
}

/// Frees loop devices whose files lie in the cluster's folder.
fn detach_loop_devices(layout: &Layout) -> Result<()> {
    let root = format!("{}/", layout.root().display());
    let listed = run::output(
        "losetup",
        &["--list", "--noheadings", "--output", "NAME,BACK-FILE"],
    )?;
    for line in listed.lines() {
        let mut words = line.split_whitespace();
        if let (Some(device), Some(file)) = (words.next(), words.next())
            && file.starts_with(&root)
        {
            run::output("losetup", &["--detach", device])?;
        }
    }
    Ok(())
}

/// Kubernetes' cgroups, empty by now. One that is not stays, and the next kubelet uses it.
fn remove_cgroups() {
    for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        remove_cgroup(&controller.path().join("kubepods"));
    }
    remove_cgroup(Path::new("/sys/fs/cgroup/kubepods"));
}

fn remove_cgroup(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}
