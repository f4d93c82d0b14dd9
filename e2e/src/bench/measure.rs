//! One backup or restore, measured: a user's time, and what the server took.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::pod_memory::{PodMemory, Used};
use crate::scenario::{Cluster, Kind, Side, phase, step};

/// A backup or restore is over by then.
const DEADLINE: Duration = Duration::from_secs(1_800);

/// A backup or a restore.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) what: String,
    pub(super) took: Duration,
    /// By the object's own start and completion, whole seconds.
    pub(super) stated: String,
    pub(super) used: Used,
}

/// A backup, and the restore of it.
#[derive(Debug, Clone)]
pub(super) struct Both {
    pub(super) backup: Measured,
    pub(super) restore: Measured,
}

/// A row of a verdict: a figure, what it may be at most, and where that comes from.
pub(super) fn row(what: &str, ours: &Measured, limit: Duration, of: &str) -> String {
    format!(
        "{what}: {:.1} s, at most {:.1} s ({of}): {}",
        ours.took.as_secs_f64(),
        limit.as_secs_f64(),
        met(ours.took <= limit)
    )
}

pub(super) fn met(is: bool) -> &'static str {
    if is { "met" } else { "MISSED" }
}

/// The head of the table that [`print`] fills.
pub(super) fn print_header() {
    println!(
        "{:<18} {:>8} {:>8} {:>14} {:>12} {:>16}",
        "", "seconds", "stated", "server's peak", "pod's peak", "processor time"
    );
}

pub(super) fn print(both: &Both) {
    for measured in [&both.backup, &both.restore] {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{:<18} {:>8.1} {:>8} {:>10.1} MiB {:>8.1} MiB {:>14.1} s",
            measured.what,
            measured.took.as_secs_f64(),
            measured.stated,
            mib(measured.used.server),
            mib(measured.used.pod),
            measured.used.processor.as_secs_f64()
        );
    }
}

/// Types `velero <words>` with a freshly started server, until the object is Completed; the server is stopped afterwards.
pub(super) fn measure(
    cluster: &Cluster,
    side: &Side,
    kind: Kind,
    name: &str,
    words: &[&str],
) -> Result<Measured> {
    let what = format!("{} {}", side.name, words[0]);
    step(&what, || {
        side.scale(cluster, 0)?;
        side.scale(cluster, 1)?;
        // It answers, so it is up; its location is looked at anew.
        side.velero_ok(cluster, &["version"])?;
        side.wait_for_location(cluster)?;
        let memory = PodMemory::watch(cluster, side.namespace)?;
        let begun = Instant::now();
        side.velero_ok(cluster, words)?;
        let object = loop {
            let object = cluster.must_get(kind, side.namespace, name)?;
            match phase(&object) {
                "Completed" => break object,
                "PartiallyFailed" | "Failed" | "FailedValidation" => {
                    bail!("{what} ended {}", object["status"])
                }
                _ if begun.elapsed() > DEADLINE => bail!("{what} is still {}", object["status"]),
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        let took = begun.elapsed();
        let used = memory.used()?;
        side.scale(cluster, 0)?;
        println!("   {:.1} s, {}", took.as_secs_f64(), object["status"]);
        let stated = stated(&object["status"]);
        Ok(Measured {
            what: what.clone(),
            took,
            stated,
            used,
        })
    })
}

/// `35 s`, of a status's two times.
fn stated(status: &serde_json::Value) -> String {
    let seconds = |field: &str| -> Option<i64> {
        let time = status[field].as_str()?;
        let clock: Vec<i64> = time
            .get(11..19)?
            .split(':')
            .filter_map(|part| part.parse().ok())
            .collect();
        Some(clock.first()? * 3_600 + clock.get(1)? * 60 + clock.get(2)?)
    };
    match (seconds("startTimestamp"), seconds("completionTimestamp")) {
        // Over midnight.
        (Some(start), Some(end)) => format!("{} s", (end - start).rem_euclid(86_400)),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_states_its_seconds_over_midnight_too() {
        let status =
            json!({"startTimestamp": "2026-11-21T23:59:50Z", "completionTimestamp": "2026-11-22T00:00:05Z"});
        assert_eq!(stated(&status), "15 s");
        assert_eq!(stated(&json!({})), "?");
    }
}
