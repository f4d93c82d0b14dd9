//! Which rows of issue 6 the figures meet.

use std::fmt;
use std::time::Duration;

use crate::bench::measure::{Both, Measured, met, row};

/// A backup takes at most this part of Velero's time.
const OF_ITS_BACKUP: f64 = 1.0 / 4.0;
/// A restore takes at most this part of Velero's time, or [`OF_THE_FLOOR`], whichever is larger.
const OF_ITS_RESTORE: f64 = 1.0 / 10.0;
/// Of the bare API calls' time.
const OF_THE_FLOOR: f64 = 1.3;
/// Bytes that the server has resident at most.
const PEAK: u64 = 100 << 20;
/// Bytes more for each further object.
const GROWTH: f64 = 250.0;

/// The bare API calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Floor {
    /// Requests at a time.
    pub(super) at_once: usize,
    /// From the first request to the last answer.
    pub(super) took: Duration,
    /// What of the processors' time the caller took itself: on a machine that is busy with nothing but this, a floor
    /// whose caller is slow is too high.
    pub(super) processor: Duration,
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "creating them, {} at a time, {:.1} s ({:.1} s of processor time in the caller)",
            self.at_once,
            self.took.as_secs_f64(),
            self.processor.as_secs_f64()
        )
    }
}

/// The rows on time and memory; those on time want the real Velero's figures.
pub(super) fn rows(ours: &Both, theirs: Option<&Both>, floors: &[Floor]) -> Vec<String> {
    let mut rows = Vec::new();
    if let Some(theirs) = theirs {
        let limit = theirs.backup.took.mul_f64(OF_ITS_BACKUP);
        rows.push(row(
            "backup",
            &ours.backup,
            limit,
            &format!("a quarter of Velero's {:.1} s", theirs.backup.took.as_secs_f64()),
        ));
    }
    let least = floors.iter().map(|floor| floor.took).min().unwrap_or_default();
    let by_floor = least.mul_f64(OF_THE_FLOOR);
    let of_floor = format!("{OF_THE_FLOOR} times the floor of {:.1} s", least.as_secs_f64());
    let (limit, of) = match theirs.map(|theirs| theirs.restore.took) {
        None => (by_floor, of_floor),
        Some(took) => {
            let of_theirs = format!("a tenth of Velero's {:.1} s", took.as_secs_f64());
            (
                by_floor.max(took.mul_f64(OF_ITS_RESTORE)),
                format!("the larger of {of_theirs} and {of_floor}"),
            )
        }
    };
    rows.push(row("restore", &ours.restore, limit, &of));
    rows.extend([&ours.backup, &ours.restore].map(|measured| {
        format!(
            "{}: {:.1} MiB, at most {} MiB: {}",
            measured.what,
            measured.used.server as f64 / f64::from(1 << 20),
            PEAK >> 20,
            met(measured.used.server <= PEAK)
        )
    }));
    rows
}

/// The row on what each of `more` objects costs.
pub(super) fn growth(few: &Both, many: &Both, more: usize) -> Vec<String> {
    let pairs = [(&few.backup, &many.backup), (&few.restore, &many.restore)];
    let row = |(few, many): (&Measured, &Measured)| {
        let each = (many.used.server as f64 - few.used.server as f64) / more as f64;
        format!(
            "{}: {each:.0} bytes for each further object, at most {GROWTH}: {}",
            many.what,
            met(each <= GROWTH)
        )
    };
    pairs.map(row).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::pod_memory::Used;

    fn both(backup: f64, restore: f64, mib: u64) -> Both {
        let measured = |what: &str, seconds: f64| Measured {
            what: what.to_owned(),
            took: Duration::from_secs_f64(seconds),
            stated: String::new(),
            used: Used {
                server: mib << 20,
                ..Used::default()
            },
        };
        Both {
            backup: measured("backup", backup),
            restore: measured("restore", restore),
        }
    }

    #[test]
    fn each_row_says_its_limit_where_that_comes_from_and_whether_it_is_met() {
        let floor = |at_once: usize, seconds: u64| Floor {
            at_once,
            took: Duration::from_secs(seconds),
            processor: Duration::ZERO,
        };
        let floors = [floor(8, 14), floor(32, 10)];
        let said = rows(&both(6.0, 14.0, 61), Some(&both(26.0, 213.0, 300)), &floors);
        assert_eq!(
            said,
            [
                "backup: 6.0 s, at most 6.5 s (a quarter of Velero's 26.0 s): met",
                "restore: 14.0 s, at most 21.3 s (the larger of a tenth of Velero's 213.0 s and 1.3 times the floor of 10.0 s): met",
                "backup: 61.0 MiB, at most 100 MiB: met",
                "restore: 61.0 MiB, at most 100 MiB: met",
            ]
        );
        assert_eq!(
            rows(&both(6.0, 13.1, 101), None, &floors)[..2],
            [
                "restore: 13.1 s, at most 13.0 s (1.3 times the floor of 10.0 s): MISSED",
                "backup: 101.0 MiB, at most 100 MiB: MISSED",
            ]
        );
    }

    #[test]
    fn growth_is_by_object() {
        let said = growth(&both(1.0, 1.0, 60), &both(1.0, 1.0, 70), 40_000);
        assert_eq!(
            said[0],
            "backup: 262 bytes for each further object, at most 250: MISSED"
        );
    }
}
