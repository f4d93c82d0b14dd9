//! What becomes of a ServerStatusRequest (velero-behaviour.md 2.1).

use std::time::Duration;

use caravel_api::phase::ServerStatusRequestPhase;
use jiff::{SignedDuration, Timestamp};

/// How long an answer stays: long enough for the client that waits for it. Velero's `ttl` of one minute.
pub const LIFETIME: Duration = Duration::from_secs(60);

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Write version and plug-ins.
    Answer,
    /// The answer stays for this much longer.
    Keep(Duration),
    /// Whoever asked has read it, or has gone.
    Delete,
    /// A phase of a newer version.
    Leave,
}

/// Decides on one request; `processed` is `status.processedTimestamp`.
pub fn decide(phase: &ServerStatusRequestPhase, processed: Option<Timestamp>, now: Timestamp) -> Decision {
    match (phase, processed) {
        (ServerStatusRequestPhase::New, _) | (ServerStatusRequestPhase::Processed, None) => Decision::Answer,
        (ServerStatusRequestPhase::Processed, Some(at)) => {
            // A clock that went back keeps it no longer than a whole lifetime.
            let since = now.duration_since(at).max(SignedDuration::ZERO).unsigned_abs();
            match LIFETIME.checked_sub(since) {
                Some(left) if !left.is_zero() => Decision::Keep(left),
                _ => Decision::Delete,
            }
        }
        (ServerStatusRequestPhase::Other(_), _) => Decision::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ServerStatusRequestPhase::{New, Other, Processed};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn a_new_request_is_answered() {
        assert_eq!(decide(&New, None, at(0)), Decision::Answer);
    }

    #[test]
    fn an_answer_stays_a_minute_and_goes() {
        let left = Decision::Keep(Duration::from_secs(20));
        assert_eq!(decide(&Processed, Some(at(100)), at(140)), left);
        assert_eq!(decide(&Processed, Some(at(100)), at(160)), Decision::Delete);
    }

    #[test]
    fn a_clock_that_went_back_keeps_no_answer_longer_than_a_minute() {
        assert_eq!(decide(&Processed, Some(at(100)), at(0)), Decision::Keep(LIFETIME));
    }

    #[test]
    fn an_answer_without_a_time_is_given_again_and_a_newer_phase_is_left_alone() {
        assert_eq!(decide(&Processed, None, at(0)), Decision::Answer);
        assert_eq!(decide(&Other("Queued".into()), None, at(0)), Decision::Leave);
    }
}
