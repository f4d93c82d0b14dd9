//! How long a broken watch waits before it is started again: doubling, without randomness, so that a run can be
//! repeated.

use std::time::Duration;

use kube::runtime::utils::Backoff;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// 50 ms, then twice as long each time, at most 2 s.
#[derive(Debug, Default)]
pub struct Steady {
    failures: u32,
}

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures += 1;
        Some(wait)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {
        self.failures = 0;
    }
}
