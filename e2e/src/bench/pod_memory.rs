//! Memory of a pod's processes, as the node's kernel counts it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::processes;
use crate::scenario::Cluster;

/// How often all processes of the pod are added up. A child that lives shorter than this may be missed; the server's own peak
/// is the kernel's and misses nothing.
const INTERVAL: Duration = Duration::from_millis(50);

/// Watches the pod of a server from now on.
pub struct PodMemory {
    main: i32,
    stop: Arc<AtomicBool>,
    sampler: JoinHandle<u64>,
}

/// Bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peak {
    /// Of the server's process: resident, by the kernel.
    pub server: u64,
    /// Of all processes of the pod together (plug-ins), sampled.
    pub pod: u64,
}

impl PodMemory {
    /// Begins with the pod of the Deployment `velero` in that namespace; what was before does not count.
    pub fn watch(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let uid = cluster.kubectl(&[
            "get",
            "pods",
            "--namespace",
            namespace,
            "--selector=deploy=velero",
            "--field-selector=status.phase=Running",
            "--output=jsonpath={.items[0].metadata.uid}",
        ])?;
        let uid = uid.trim().to_owned();
        let main = processes_of(&uid)
            .into_iter()
            .find(|pid| processes::command_line(*pid).starts_with("/velero server"))
            .with_context(|| format!("no process of the pod {uid} is a server; is this the node?"))?;
        // 5: the peak becomes what is resident now (proc_pid_clear_refs(5)).
        fs::write(format!("/proc/{main}/clear_refs"), "5").context("cannot reset the peak")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sampler = std::thread::spawn(move || {
            let mut peak = 0;
            while !stopped.load(Ordering::Relaxed) {
                let all: u64 = processes_of(&uid)
                    .iter()
                    .filter_map(|pid| status(*pid, "VmRSS:"))
                    .sum();
                peak = peak.max(all);
                std::thread::sleep(INTERVAL);
            }
            peak
        });
        Ok(Self { main, stop, sampler })
    }

    /// The peaks since the beginning.
    pub fn peak(self) -> Result<Peak> {
        let server =
            status(self.main, "VmHWM:").context("the server has ended meanwhile; look at its log")?;
        self.stop.store(true, Ordering::Relaxed);
        let pod = self.sampler.join().unwrap_or_default();
        Ok(Peak { server, pod })
    }
}

/// Processes in the control groups of a pod.
fn processes_of(uid: &str) -> Vec<i32> {
    let in_the_pod = |pid: i32| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.contains(uid)
    };
    processes::every()
        .into_iter()
        .map(|(pid, _)| pid)
        .filter(|pid| in_the_pod(*pid))
        .collect()
}

/// A line of /proc/PID/status in bytes; none for a process that is gone.
fn status(pid: i32, line: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|text| text.strip_prefix(line))?;
    let kib: u64 = kib.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}
