//! The cluster's processes: started detached, remembered by pid *and* start time, ended by process group.
//!
//! A pid alone may belong to a stranger after a reboot; pid and start time together name one process for good. Each process
//! leads a session of its own, so that ending the group ends what it started, and closing the terminal ends nothing.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::layout::Layout;
use super::namespace;

/// What to run. Two equal recipes mean that the running process is the right one.
#[derive(Debug, Clone)]
pub struct Recipe {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    in_namespace: bool,
    identity: String,
}

/// A started process, as remembered in `run/<name>.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// Name of the recipe, and of its log.
    pub name: String,
    /// Also its process group and session.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot.
    pub start_ticks: u64,
    recipe: String,
}

impl Recipe {
    /// A process in the host's namespaces.
    pub fn new(name: &'static str, program: impl Into<PathBuf>) -> Self {
        Self {
            name,
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            in_namespace: false,
            identity: String::new(),
        }
    }

    /// Runs it inside the cluster's mount namespace.
    pub fn in_namespace(mut self) -> Self {
        self.in_namespace = true;
        self
    }

    /// Adds arguments.
    pub fn arguments<I: Into<String>>(mut self, arguments: impl IntoIterator<Item = I>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable. Nothing is inherited but PATH.
    pub fn environment(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.push((key.to_owned(), value.into()));
        self
    }

    /// Something beside the command line whose change means a restart: a configuration file's text, a binary's hash.
    pub fn identity(mut self, identity: impl AsRef<[u8]>) -> Self {
        self.identity = hex::encode(Sha256::digest(identity.as_ref()));
        self
    }

    fn fingerprint(&self) -> String {
        let text = format!(
            "{:?} {:?} {:?} {} {}",
            self.program, self.arguments, self.environment, self.in_namespace, self.identity
        );
        hex::encode(Sha256::digest(text.as_bytes()))
    }

    /// Starts the process unless exactly this one runs already; one that runs with another recipe is ended first.
    ///
    /// Returns true when it was started now.
    pub fn ensure(&self, layout: &Layout) -> Result<bool> {
        let fingerprint = self.fingerprint();
        if let Some(started) = Started::remembered(layout, self.name) {
            if started.is_alive() && started.recipe == fingerprint {
                return Ok(false);
            }
            started.end(layout, Duration::from_secs(10))?;
        }
        let pid = self.spawn(layout)?;
        let start_ticks = start_ticks(pid)
            .with_context(|| format!("{} ended at once{}", self.name, log_tail(layout, self.name)))?;
        let started = Started {
            name: self.name.to_owned(),
            pid,
            start_ticks,
            recipe: fingerprint,
        };
        layout.write(record(self.name), serde_json::to_vec_pretty(&started)?)?;
        Ok(true)
    }

    fn spawn(&self, layout: &Layout) -> Result<i32> {
        let log = layout.folder("log")?.join(format!("{}.log", self.name));
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        // setsid and nsenter replace themselves by what they start, so the pid stays the same through the chain.
        let mut command = Command::new("setsid");
        if self.in_namespace {
            command.args(namespace::enter(layout)?);
        }
        let child = command
            .arg(&self.program)
            .args(&self.arguments)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", layout.root())
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .current_dir(layout.root())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {} ({})", self.name, self.program.display()))?;
        i32::try_from(child.id()).context("a pid beyond i32")
    }
}

impl Started {
    /// What `run/<name>.json` says, if anything.
    pub fn remembered(layout: &Layout, name: &str) -> Option<Self> {
        serde_json::from_slice(&fs::read(layout.path(record(name))).ok()?).ok()
    }

    /// Every process that was ever started and not ended, newest first.
    pub fn all(layout: &Layout) -> Vec<Self> {
        let mut all: Vec<Self> = fs::read_dir(layout.path("run"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| serde_json::from_slice(&fs::read(entry.path()).ok()?).ok())
            .collect();
        all.sort_by_key(|started| std::cmp::Reverse(started.start_ticks));
        all
    }

    /// True when the very process that was started still runs.
    pub fn is_alive(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }

    /// Ends the process and its group: TERM, then KILL when `patience` is over; forgets it.
    pub fn end(&self, layout: &Layout, patience: Duration) -> Result<()> {
        let group = Pid::from_raw(self.pid).context("pid 0 is never remembered")?;
        let begun = Instant::now();
        let mut signal = Signal::TERM;
        while self.is_alive() {
            // A zombie of ours counts as ended; so does a group that is gone.
            let _ = kill_process_group(group, signal);
            std::thread::sleep(Duration::from_millis(50));
            if begun.elapsed() > patience {
                signal = Signal::KILL;
            }
            if begun.elapsed() > patience + Duration::from_secs(10) {
                bail!(
                    "{} (pid {}) does not end, not even when killed; look at its log",
                    self.name,
                    self.pid
                );
            }
        }
        // What it started and left behind in its group. The group cannot be a stranger's while a member lives, and once
        // empty the signal reaches nobody.
        if self.pid > 1 && !process_exists(self.pid) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = fs::remove_file(layout.path(record(&self.name)));
        Ok(())
    }
}

/// Kills processes at once, by pid; those that are gone already are fine.
pub fn kill_all(pids: &[i32]) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Every process as (pid, parent's pid).
pub fn every() -> Vec<(i32, i32)> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| Some((pid, stat_field(pid, 4)?.parse().ok()?)))
        .collect()
}

/// The command line of a process, words separated by blanks; empty for one that is gone.
pub fn command_line(pid: i32) -> String {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&raw)
        .replace('\0', " ")
        .trim_end()
        .to_owned()
}

/// What all threads of a process have had of the processors; none for one that is gone.
pub fn processor_time(pid: i32) -> Option<Duration> {
    // proc(5) counts in USER_HZ, which is 100 on every Linux that we build for.
    const TICK: Duration = Duration::from_millis(10);
    let ticks = |field| stat_field(pid, field)?.parse::<u32>().ok();
    Some(TICK * ticks(14)?.saturating_add(ticks(15)?))
}

/// The last lines of a process's log, introduced so that they can be appended to an error.
pub fn log_tail(layout: &Layout, name: &str) -> String {
    const BYTES: u64 = 2_000;
    let path = layout.path(format!("log/{name}.log"));
    let tail = || -> Option<String> {
        let mut file = File::open(&path).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES))).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    format!(
        "; the end of {}:\n{}",
        path.display(),
        tail().unwrap_or_else(|| "(no log)".to_owned())
    )
}

fn record(name: &str) -> String {
    format!("run/{name}.json")
}

fn process_exists(pid: i32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}

/// Start time in clock ticks since boot; none for a process that is gone or only a zombie.
fn start_ticks(pid: i32) -> Option<u64> {
    if stat_field(pid, 3)? == "Z" {
        return None;
    }
    stat_field(pid, 22)?.parse().ok()
}

/// A field of /proc/PID/stat, counted from 1 as in proc(5). The second field may hold blanks, so counting starts after it.
fn stat_field(pid: i32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name
        .split_whitespace()
        .nth(field.checked_sub(3)?)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_pid_and_start_time() {
        let ours = i32::try_from(std::process::id()).expect("a pid");
        let started = Started {
            name: "ourselves".into(),
            pid: ours,
            start_ticks: start_ticks(ours).expect("we run"),
            recipe: String::new(),
        };
        assert!(started.is_alive());
        let reused = Started {
            start_ticks: started.start_ticks + 1,
            ..started
        };
        assert!(
            !reused.is_alive(),
            "the same pid with another start time is a stranger"
        );
    }

    #[test]
    fn processor_time_goes_on() {
        let ours = i32::try_from(std::process::id()).expect("a pid");
        let before = processor_time(ours).expect("we run");
        let begun = Instant::now();
        while processor_time(ours).expect("we run") == before {
            assert!(begun.elapsed() < Duration::from_secs(60), "no tick in a minute");
            std::hint::spin_loop();
        }
    }

    #[test]
    fn ensure_starts_once_restarts_on_change_and_end_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::new(folder.path());
        let sleeper = Recipe::new("sleeper", "/bin/sleep").arguments(["100"]);
        assert!(sleeper.ensure(&layout).expect("starts"));
        assert!(!sleeper.ensure(&layout).expect("runs already"));
        let first = Started::remembered(&layout, "sleeper").expect("remembered");
        let changed = Recipe::new("sleeper", "/bin/sleep").arguments(["200"]);
        assert!(changed.ensure(&layout).expect("restarts"));
        let second = Started::remembered(&layout, "sleeper").expect("remembered");
        assert!(!first.is_alive());
        second.end(&layout, Duration::from_secs(5)).expect("ends");
        assert!(!second.is_alive());
        assert!(Started::remembered(&layout, "sleeper").is_none());
    }
}
