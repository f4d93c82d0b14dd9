//! Memory of the data mover that runs on our own node, as the node's kernel counts it.
//!
//! Three figures, since one word is used for all of them: what the process has resident (the kernel's own peak mark, which
//! misses nothing); what the pod is charged with but for file pages that the kernel drops first (the working set: what
//! `kubectl top` shows and the kubelet evicts by), sampled; and the peak of the pod's control group, which a pod that reads
//! or writes much fills with file pages up to its limit, whatever the program does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::pod_memory::peak_resident;
use crate::cluster::processes;

/// How often is looked. The mover's last moments before its end may be missed.
const INTERVAL: Duration = Duration::from_millis(50);
/// What the process of a data mover pod is called (`crates/exposer/src/mover_pod.rs`).
const COMMAND: &str = "/velero data-mover";

/// Bytes that data movers took, at most; all 0 when none was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MoverUsed {
    /// Resident, of the process.
    pub resident: u64,
    /// The pod's working set.
    pub working_set: u64,
    /// The pod's control group, file pages and all.
    pub charged: u64,
    /// What the container may have; `u64::MAX` without a limit, 0 when it was not seen.
    pub limit: u64,
}

impl MoverUsed {
    fn most(&mut self, other: Self) {
        self.resident = self.resident.max(other.resident);
        self.working_set = self.working_set.max(other.working_set);
        self.charged = self.charged.max(other.charged);
        self.limit = self.limit.max(other.limit);
    }
}

/// Looks at every data mover of this node while it is held.
pub struct MoverMemory {
    stop: Arc<AtomicBool>,
    sampler: JoinHandle<MoverUsed>,
}

impl MoverMemory {
    /// Begins to look.
    pub fn watch() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sampler = std::thread::spawn(move || {
            let mut used = MoverUsed::default();
            let mut movers = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                movers.retain(|mover: &Mover| mover.look(&mut used));
                if movers.is_empty() {
                    movers = Mover::all();
                }
                std::thread::sleep(INTERVAL);
            }
            used
        });
        Self { stop, sampler }
    }

    /// Since the beginning.
    pub fn used(self) -> MoverUsed {
        self.stop.store(true, Ordering::Relaxed);
        self.sampler.join().unwrap_or_default()
    }
}

/// One data mover's process and the control groups that it is in.
struct Mover {
    pid: i32,
    container: PathBuf,
    pod: PathBuf,
}

impl Mover {
    fn all() -> Vec<Self> {
        let movers = processes::every()
            .into_iter()
            .filter(|(pid, _)| processes::command_line(*pid).starts_with(COMMAND));
        movers.filter_map(|(pid, _)| Self::of(pid)).collect()
    }

    fn of(pid: i32) -> Option<Self> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let container = memory_group(&groups)?;
        let pod = container.parent()?.to_owned();
        Some(Self { pid, container, pod })
    }

    /// Whether it is still there.
    fn look(&self, used: &mut MoverUsed) -> bool {
        let Some(resident) = peak_resident(self.pid) else {
            return false;
        };
        used.most(MoverUsed {
            resident,
            working_set: working_set(&self.pod).unwrap_or_default(),
            charged: number(&self.pod, &["memory.max_usage_in_bytes", "memory.peak"]).unwrap_or_default(),
            limit: limit(&self.container).unwrap_or_default(),
        });
        true
    }
}

/// The folder of the control group that counts memory, of the text of /proc/PID/cgroup: version 1, else 2.
fn memory_group(groups: &str) -> Option<PathBuf> {
    let of = |controller: &str, below: &str| {
        let path = groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers
                .split(',')
                .any(|one| one == controller)
                .then_some(path)
        })?;
        Some(
            Path::new("/sys/fs/cgroup")
                .join(below)
                .join(path.trim_start_matches('/')),
        )
    };
    of("memory", "memory").or_else(|| of("", ""))
}

/// As the kubelet counts it: what is charged, but for the file pages that have not been used lately.
fn working_set(group: &Path) -> Option<u64> {
    let charged = number(group, &["memory.usage_in_bytes", "memory.current"])?;
    let statistics = fs::read_to_string(group.join("memory.stat")).ok()?;
    Some(charged.saturating_sub(inactive_file(&statistics)?))
}

/// Of the text of memory.stat: with all groups below (version 1 says `total_`, version 2 always means that).
fn inactive_file(statistics: &str) -> Option<u64> {
    ["total_inactive_file ", "inactive_file "]
        .iter()
        .find_map(|name| {
            let value = statistics.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().parse().ok()
        })
}

/// Version 1 says a number near 2^63 for no limit, version 2 says `max`.
fn limit(group: &Path) -> Option<u64> {
    let text = ["memory.limit_in_bytes", "memory.max"]
        .iter()
        .find_map(|name| fs::read_to_string(group.join(name)).ok())?;
    match text.trim() {
        "max" => Some(u64::MAX),
        number => number
            .parse()
            .ok()
            .map(|bytes: u64| if bytes >= 1 << 60 { u64::MAX } else { bytes }),
    }
}

/// The number in the first of these files that is there.
fn number(group: &Path, names: &[&str]) -> Option<u64> {
    let read = |name: &&str| fs::read_to_string(group.join(name)).ok();
    names.iter().find_map(read)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_that_of_version_1_where_there_is_one() {
        let both = "5:cpu,cpuacct:/kubepods/p/c\n4:memory:/kubepods/burstable/p/c\n0::/elsewhere\n";
        assert_eq!(
            memory_group(both).unwrap(),
            Path::new("/sys/fs/cgroup/memory/kubepods/burstable/p/c")
        );
        assert_eq!(
            memory_group("0::/kubepods.slice/p/c\n").unwrap(),
            Path::new("/sys/fs/cgroup/kubepods.slice/p/c")
        );
        assert_eq!(memory_group(""), None);
    }

    #[test]
    fn the_working_set_leaves_out_what_the_kernel_drops_first() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("memory.usage_in_bytes"), "1000\n").unwrap();
        fs::write(
            folder.path().join("memory.stat"),
            "inactive_file 1\ntotal_cache 900\ntotal_inactive_file 700\n",
        )
        .unwrap();
        assert_eq!(working_set(folder.path()), Some(300));
        assert_eq!(inactive_file("anon 5\ninactive_file 40\n"), Some(40));
    }

    #[test]
    fn no_limit_is_no_number() {
        let folder = tempfile::tempdir().unwrap();
        for (text, wanted) in [
            ("9223372036854771712\n", u64::MAX),
            ("max\n", u64::MAX),
            ("150994944\n", 144 << 20),
        ] {
            fs::write(folder.path().join("memory.limit_in_bytes"), text).unwrap();
            assert_eq!(limit(folder.path()), Some(wanted), "{text}");
        }
    }
}
