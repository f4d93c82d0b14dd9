//! Time, processor time and peak memory of one process, from `/proc`: the peak is a high-water mark that the kernel keeps, so
//! asking for it now and then loses nothing but what is added in the last moment.

use std::{
    fs,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::client::Client;

const ASKED_EVERY: Duration = Duration::from_millis(5);

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub seconds: f64,
    pub cpu_seconds: f64,
    /// Resident, with what is mapped from files.
    pub peak_mib: f64,
    /// Of it, what only this process has and no file backs.
    pub peak_anonymous_mib: f64,
}

impl Measured {
    /// The middle one of several runs, by time.
    pub fn middle(mut runs: Vec<Self>) -> Self {
        runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        runs[runs.len() / 2]
    }
}

/// Runs a command to its end; it must succeed.
pub fn measure(client: &Client, args: &[&str]) -> Result<Measured> {
    let mut command = client.command(args);
    let said = tempfile::NamedTempFile::new()?;
    command.stdout(Stdio::null()).stderr(said.reopen()?);
    let begun = Instant::now();
    let mut child = command.spawn().context("cannot start the program")?;
    let folder = format!("/proc/{}", child.id());
    let (mut peak_kib, mut anonymous_kib) = (0_u64, 0_u64);
    let seconds = loop {
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let kib = |name: &str| -> u64 {
            let number = field(name).and_then(|text| text.split(' ').next());
            number.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        peak_kib = peak_kib.max(kib("VmHWM:"));
        anonymous_kib = anonymous_kib.max(kib("RssAnon:"));
        // Ended and not yet asked for its exit code: its times can still be read.
        if field("State:").is_some_and(|state| state.starts_with('Z')) {
            break begun.elapsed().as_secs_f64();
        }
        thread::sleep(ASKED_EVERY);
    };
    let stat = fs::read_to_string(format!("{folder}/stat"))?;
    // The name in parentheses may hold spaces; user and system time are fields 14 and 15.
    let after_name = stat.rsplit(')').next().context("/proc/PID/stat")?;
    let ticks: Vec<f64> = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|text| text.parse().ok())
        .collect();
    let ended = child.wait()?;
    if !ended.success() {
        let said = fs::read_to_string(said.path())?;
        bail!(
            "{args:?} ended with {ended}: {}",
            said.lines().last().unwrap_or_default()
        );
    }
    Ok(Measured {
        seconds,
        cpu_seconds: ticks.iter().sum::<f64>() / 100.0,
        peak_mib: peak_kib as f64 / 1024.0,
        peak_anonymous_mib: anonymous_kib as f64 / 1024.0,
    })
}
