//! What happened, in order. A step is one API write, one storage write or one fault; operations are lines between them.

use std::time::Duration;

use caravel_api_server::faults::Write;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The trace of one history.
pub struct Trace {
    start: Instant,
    told: Mutex<Told>,
    grown: Notify,
}

#[derive(Default)]
struct Told {
    steps: u64,
    faults: u64,
    lines: Vec<String>,
}

impl Trace {
    /// An empty one; its times count from now.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            told: Mutex::default(),
            grown: Notify::new(),
        }
    }

    /// One step.
    pub fn step(&self, what: &str) {
        self.tell(what, 1, 0);
    }

    /// One step that is a fault.
    pub fn fault(&self, what: &str) {
        self.tell(what, 1, 1);
    }

    /// Something that is no step: an operation, a phase of the history.
    pub fn note(&self, what: &str) {
        self.tell(what, 0, 0);
    }

    /// A write to the API, refused or done.
    pub fn wrote(&self, write: &Write<'_>) {
        let subject = &write.subject;
        let phase = write
            .object
            .and_then(|object| object.pointer("/status/phase"))
            .and_then(|phase| phase.as_str())
            .unwrap_or_default();
        // A warning says why something does not go on.
        let is_warning = |object: &&Value| object["type"] == "Warning" && subject.resource == "events";
        let warning = write.object.filter(is_warning);
        let warning = warning
            .and_then(|event| event["message"].as_str())
            .unwrap_or_default();
        let line = format!(
            "api {} {} {}{}{} {}/{} → {} {} {phase}{warning}",
            subject.user.rsplit(':').next().unwrap_or_default(),
            subject.operation,
            subject.resource,
            if subject.subresource.is_empty() { "" } else { "/" },
            subject.subresource,
            subject.namespace,
            write.name(),
            write.code,
            write.resource_version().unwrap_or("-"),
        );
        let faults = u64::from(write.is_fault);
        self.tell(&line, 1 + faults, faults);
    }

    fn tell(&self, what: &str, steps: u64, faults: u64) {
        let at = self.start.elapsed();
        let mut told = self.told.lock();
        told.steps += steps;
        told.faults += faults;
        let line = format!("{:>6} {:>11.3} {what}", told.steps, at.as_secs_f64());
        told.lines.push(line);
        drop(told);
        self.grown.notify_waiters();
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.told.lock().steps
    }

    /// Faults so far.
    pub fn faults(&self) -> u64 {
        self.told.lock().faults
    }

    /// Virtual time so far.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Returns when there are so many steps.
    pub async fn reached(&self, steps: u64) {
        loop {
            let grown = self.grown.notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            if self.steps() >= steps {
                return;
            }
            grown.await;
        }
    }

    /// All lines: step, seconds since the beginning, what.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().lines)
    }
}

/// The first place where two traces differ, with a few lines before it.
pub fn difference(one: &[String], other: &[String]) -> Option<String> {
    let at = (0..one.len().max(other.len())).find(|&line| one.get(line) != other.get(line))?;
    let absent = String::from("(its end)");
    let before = one[at.saturating_sub(3)..at].join("\n");
    Some(format!(
        "{before}\n- {}\n+ {}",
        one.get(at).unwrap_or(&absent),
        other.get(at).unwrap_or(&absent)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_counts_and_wakes_who_waits_for_it() {
        let trace = Trace::new();
        let steps = async {
            trace.note("operation");
            trace.step("storage put a");
            trace.fault("storage refused b");
        };
        tokio::join!(trace.reached(2), steps);
        assert_eq!((trace.steps(), trace.faults(), trace.take().len()), (2, 1, 3));
    }

    #[test]
    fn the_first_difference_is_named() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(difference(&lines("a b"), &lines("a b")), None);
        let difference = difference(&lines("a b c"), &lines("a x c")).unwrap();
        assert_eq!(difference, "a\n- b\n+ x");
    }
}
