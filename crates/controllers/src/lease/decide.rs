//! Who may act: decided on the observer's own clock. Pure: this file is the specification.
//!
//! ```text
//! given back, or of this very pod ─► Acquire ─► Renew every 5 s ─► StepDown (somebody else's, or not renewed for 10 s)
//! another's ─► Wait until it has not changed for its whole duration *since we saw it change* ─► Acquire
//! ```
//! Clocks of two machines are never compared: a holder is late when its Lease has not changed for as long as it promised,
//! by the watch of the one who looks. Same idea as client-go's `tools/leaderelection`.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// How long a Lease holds without being renewed. A second less than the 15 s within which another server has it after a
/// kill: that one looks every [`LOOK_EVERY`].
pub const DURATION: Duration = Duration::from_secs(14);
/// The holder renews it this often, and, when that fails, tries every [`LOOK_EVERY`].
pub const RENEW_EVERY: Duration = Duration::from_secs(5);
/// A holder that could not renew for so long ends, 4 s before anybody else may begin.
pub const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often those who wait look.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// `<pod>_<random>`: a container that is started again is another holder. Without a pod only the random part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pod: String,
    start: String,
}

impl Identity {
    /// One start of the server in this pod (none: at a terminal); `start` tells it from others.
    pub fn new(pod: Option<&str>, start: u64) -> Self {
        Self {
            pod: pod.unwrap_or_default().to_owned(),
            start: format!("{start:016x}"),
        }
    }

    /// The pod; empty at a terminal.
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// Whether `holder` was an earlier start in this pod: the kubelet has seen it end before it started this one.
    fn is_earlier_start(&self, holder: &str) -> bool {
        let pod = holder.rsplit_once('_').map(|(pod, _)| pod);
        !self.pod.is_empty() && pod == Some(&self.pod)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pod.is_empty() {
            return f.write_str(&self.start);
        }
        write!(f, "{}_{}", self.pod, self.start)
    }
}

/// The Lease as it was last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Empty: it was given back.
    pub holder: String,
    /// `spec.leaseDurationSeconds`.
    pub duration: Duration,
    /// When we first saw this version of it.
    pub changed: Instant,
}

/// What the decision rests on.
#[derive(Clone, Debug)]
pub struct Observed {
    pub identity: Identity,
    /// None: there is no Lease.
    pub lease: Option<Seen>,
    /// When the last write that was answered with "it is yours" was *sent*. None: it never was.
    pub renewed: Option<Instant>,
    /// Pods of servers that know no Lease (Velero's own). Looked for only before [`Decision::Acquire`].
    pub strangers: Vec<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Write the Lease to be ours.
    Acquire,
    /// Write it again.
    Renew,
    /// Nothing until then.
    Wait { until: Instant, what: String },
    /// End: somebody else acts, or may soon.
    StepDown { why: String },
}

/// Decides.
pub fn decide(observed: &Observed, now: Instant) -> Decision {
    match observed.renewed {
        Some(renewed) => holding(observed, renewed, now),
        None => waiting(observed, now),
    }
}

fn holding(observed: &Observed, renewed: Instant, now: Instant) -> Decision {
    let step_down = |why: String| Decision::StepDown { why };
    match &observed.lease {
        None => return step_down("somebody deleted it".to_owned()),
        Some(seen) if seen.holder.is_empty() => return step_down("somebody took it away".to_owned()),
        Some(seen) if seen.holder != observed.identity.to_string() => {
            return step_down(format!("{} holds it", seen.holder));
        }
        Some(_) => {}
    }
    if now >= renewed + RENEW_WITHIN {
        let seconds = RENEW_WITHIN.as_secs();
        return step_down(format!("it could not be renewed for {seconds} s"));
    }
    if now >= renewed + RENEW_EVERY {
        return Decision::Renew;
    }
    Decision::Wait {
        until: renewed + RENEW_EVERY,
        what: "to renew it".to_owned(),
    }
}

fn waiting(observed: &Observed, now: Instant) -> Decision {
    if let Some(seen) = &observed.lease {
        let own = &observed.identity;
        // Ours already: the answer to the write was lost.
        let is_free =
            seen.holder.is_empty() || seen.holder == own.to_string() || own.is_earlier_start(&seen.holder);
        let late = seen.changed + seen.duration;
        if !is_free && now < late {
            return Decision::Wait {
                until: late,
                what: format!("{} to give it back or to be late", seen.holder),
            };
        }
    }
    if !observed.strangers.is_empty() {
        return Decision::Wait {
            until: now + LOOK_EVERY,
            what: format!(
                "servers that know no Lease to end: {}",
                observed.strangers.join(", ")
            ),
        };
    }
    Decision::Acquire
}

#[cfg(test)]
mod tests;
