//! Memory of a pod's processes, and its server's processor time, as the node's kernel counts them.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::processes::processor_time;
use crate::scenario::{Cluster, ServerPod};

/// How often all processes of the pod are added up. A child that lives shorter than this may be missed; the server's own peak
/// is the kernel's and misses nothing.
const INTERVAL: Duration = Duration::from_millis(50);

/// Watches the pod of a server from now on.
pub struct PodMemory {
    main: i32,
    processor: Duration,
    stop: Arc<AtomicBool>,
    sampler: JoinHandle<u64>,
}

/// What a pod took, at most or in all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// Bytes of the server's process: resident at most, by the kernel.
    pub server: u64,
    /// Bytes of all processes of the pod together (plug-ins), sampled.
    pub pod: u64,
    /// Of the processors, by the server's process.
    pub processor: Duration,
}

impl PodMemory {
    /// Begins with the pod of the Deployment `velero` in that namespace; what was before does not count.
    pub fn watch(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let pod = ServerPod::running(cluster, namespace)?;
        let main = pod
            .server()
            .with_context(|| format!("no process of {} is a server; is this the node?", pod.name))?;
        // 5: the peak becomes what is resident now (proc_pid_clear_refs(5)).
        fs::write(format!("/proc/{main}/clear_refs"), "5").context("cannot reset the peak")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sampler = std::thread::spawn(move || {
            let mut peak = 0;
            while !stopped.load(Ordering::Relaxed) {
                let all: u64 = pod.processes().iter().filter_map(|pid| resident(*pid)).sum();
                peak = peak.max(all);
                std::thread::sleep(INTERVAL);
            }
            peak
        });
        Ok(Self {
            main,
            processor: processor_time(main).unwrap_or_default(),
            stop,
            sampler,
        })
    }

    /// Since the beginning.
    pub fn used(self) -> Result<Used> {
        let server =
            status(self.main, "VmHWM:").context("the server has ended meanwhile; look at its log")?;
        self.stop.store(true, Ordering::Relaxed);
        let pod = self.sampler.join().unwrap_or_default();
        let processor = processor_time(self.main).unwrap_or_default();
        Ok(Used {
            server,
            pod,
            processor: processor.saturating_sub(self.processor),
        })
    }
}

/// Bytes of a process that are resident now.
pub fn resident(pid: i32) -> Option<u64> {
    status(pid, "VmRSS:")
}

/// Bytes of a process that were resident at most, by the kernel's own mark.
pub fn peak_resident(pid: i32) -> Option<u64> {
    status(pid, "VmHWM:")
}

/// A line of /proc/PID/status in bytes; none for a process that is gone.
fn status(pid: i32, line: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|text| text.strip_prefix(line))?;
    let kib: u64 = kib.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}
