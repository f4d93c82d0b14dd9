//! What becomes of a DownloadRequest (velero-behaviour.md 2.1).

use std::time::Duration;

use caravel_api::phase::DownloadRequestPhase;
use jiff::{SignedDuration, Timestamp};

/// How long a signed URL works, and so the request that holds it.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// What is known about one request.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Where it stands.
    pub phase: DownloadRequestPhase,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `status.expiration`.
    pub expiration: Option<Timestamp>,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Sign a URL and write it into the status.
    Sign,
    /// The URL works for this much longer.
    Keep(Duration),
    /// The URL has expired: the request is of no use to anyone.
    Delete,
}

/// Decides. A request that could not be answered for a whole lifetime is deleted too, so that nothing is left behind by
/// a client that gave up.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let lifetime = SignedDuration::try_from(LIFETIME).unwrap_or(SignedDuration::MAX);
    let until = observed
        .expiration
        .or_else(|| observed.created?.checked_add(lifetime).ok());
    if until.is_some_and(|until| until <= now) {
        return Decision::Delete;
    }
    match (&observed.phase, observed.expiration) {
        (DownloadRequestPhase::Processed, Some(until)) => {
            Decision::Keep(until.duration_since(now).unsigned_abs())
        }
        _ => Decision::Sign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1000).expect("in range")
    }

    #[test]
    fn a_new_request_is_signed() {
        let new = Observed {
            created: at(999),
            ..Observed::default()
        };
        assert_eq!(decide(&new, now()), Decision::Sign);
    }

    #[test]
    fn an_answered_request_is_kept_until_its_url_expires() {
        let answered = Observed {
            phase: DownloadRequestPhase::Processed,
            created: at(900),
            expiration: at(1030),
        };
        assert_eq!(decide(&answered, now()), Decision::Keep(Duration::from_secs(30)));
        let expired = Observed {
            expiration: at(1000),
            ..answered
        };
        assert_eq!(decide(&expired, now()), Decision::Delete);
    }

    #[test]
    fn a_request_that_nobody_could_answer_goes_after_a_lifetime() {
        let old = Observed {
            created: at(400),
            ..Observed::default()
        };
        assert_eq!(decide(&old, now()), Decision::Delete);
    }
}
