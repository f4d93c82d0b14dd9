//! What a movement waits for, and since when, in its `status.message`: `waiting since 2026-11-21T22:00:00Z: PVC b-1 to be
//! bound (ProvisioningFailed: no space)`.
//!
//! Told by the agent that acts on the movement; while it is New, by any, and the first one's words count. A wait of less
//! than a second is not told. The time is that of the wait, not of the newest reason for it, and outlives the agent: it
//! is read from the message again. Every change of phase takes the message back (`transition.rs`).

use std::time::Duration;

use jiff::Timestamp;

use super::decide::{Decision, Mover, Observed, Policy};
use super::state::State;

/// A wait shorter than this is not told.
pub const TOLD_AFTER: Duration = Duration::from_secs(1);
/// Agents that wait for the same New movement speak one after the other within this time.
const SPREAD_MILLISECONDS: u64 = 3000;
/// How such a message begins.
const BEGINNING: &str = "waiting since ";

/// Whether a message is one of these.
pub fn is_waiting(message: &str) -> bool {
    message.starts_with(BEGINNING)
}

/// The message.
pub fn message(what: &str, since: Timestamp) -> String {
    format!("{BEGINNING}{}: {what}", since.strftime("%Y-%m-%dT%H:%M:%SZ"))
}

/// Since when this has been waited for, by the message that is there.
pub fn since(message: &str, what: &str) -> Option<Timestamp> {
    let (time, said) = message.strip_prefix(BEGINNING)?.split_once(": ")?;
    let since = time.parse().ok()?;
    (subject(said) == subject(what)).then_some(since)
}

/// What is waited for, without the newest reason why it is not there.
pub fn subject(what: &str) -> &str {
    what.split_once(" (").map_or(what, |(subject, _)| subject)
}

/// What this agent tells of a decision, and after how long a wait.
pub fn told<'d>(observed: &Observed, decision: &'d Decision, policy: &Policy) -> Option<(&'d str, Duration)> {
    let Decision::Wait { what, .. } = decision else {
        return None;
    };
    let me = policy.node.as_str();
    match &observed.state {
        State::New => Some((what, TOLD_AFTER + turn(me))),
        State::Accepted { by, .. } if by == me => Some((what, TOLD_AFTER)),
        State::Prepared { node, .. } if node == me => Some((what, TOLD_AFTER)),
        // Its progress speaks.
        State::InProgress { .. } if matches!(observed.mover, Mover::Running { .. }) => None,
        State::InProgress { node, .. } | State::Canceling { node, .. } if node == me => {
            Some((what, TOLD_AFTER))
        }
        _ => None,
    }
}

/// This node's turn among all that would say the same (FNV-1a of its name).
fn turn(node: &str) -> Duration {
    let hash = node.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Duration::from_millis(hash % SPREAD_MILLISECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_message_tells_the_time_of_the_wait_and_not_of_its_newest_reason() {
        let first = message("PVC b-1 to be bound (no space)", at(0));
        assert_eq!(
            first,
            "waiting since 1970-01-01T00:00:00Z: PVC b-1 to be bound (no space)"
        );
        assert_eq!(
            since(&first, "PVC b-1 to be bound (quota: exceeded)"),
            Some(at(0))
        );
        assert_eq!(since(&first, "PVC b-1 to be bound"), Some(at(0)));
        assert_eq!(since(&first, "VolumeSnapshot b-1 to be ready"), None);
        assert_eq!(since("left out: a (fifo)", "a"), None);
        assert_eq!(since("waiting since tea time: a", "a"), None);
    }
}
