//! Time as the server sees it: the machine's, or what a simulation says.

/// Where timestamps come from.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> jiff::Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

/// Time that follows tokio's clock, which a test may have paused: a run takes place at the same moments each time.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    start: jiff::Timestamp,
    begun: tokio::time::Instant,
}

impl TokioClock {
    /// It is this moment now. To be made on the runtime whose clock it follows.
    pub fn starting_at(start: jiff::Timestamp) -> Self {
        Self {
            start,
            begun: tokio::time::Instant::now(),
        }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> jiff::Timestamp {
        // Later than year 9999 it stands still.
        self.start
            .checked_add(self.begun.elapsed())
            .unwrap_or(jiff::Timestamp::MAX)
    }
}
