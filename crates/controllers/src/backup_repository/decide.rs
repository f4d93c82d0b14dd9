//! When a BackupRepository is prepared. Pure.

use caravel_api::phase::BackupRepositoryPhase;
use jiff::{SignedDuration, Timestamp};

/// How long a NotReady repository rests. 5 minutes: Velero's `repoSyncPeriod`.
const RETRY: SignedDuration = SignedDuration::from_mins(5);

/// The last attempt of this server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LastTry {
    pub fingerprint: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// Connect or create, then write the phase.
    Prepare,
    /// Ready since before this server started: note what it was opened with.
    Remember,
    Wait {
        until: Timestamp,
    },
    /// Ready and unchanged, or a phase of a newer version.
    Leave,
}

/// Decides on one repository; `fingerprint` changes with its location, credential and password.
pub(super) fn decide(
    phase: &BackupRepositoryPhase,
    last_try: Option<&LastTry>,
    fingerprint: &str,
    now: Timestamp,
) -> Decision {
    match (phase, last_try) {
        (BackupRepositoryPhase::New, _) | (BackupRepositoryPhase::NotReady, None) => Decision::Prepare,
        (BackupRepositoryPhase::Ready, None) => Decision::Remember,
        (BackupRepositoryPhase::Ready, Some(last)) if last.fingerprint == fingerprint => Decision::Leave,
        (BackupRepositoryPhase::Ready, Some(_)) => Decision::Prepare,
        (BackupRepositoryPhase::NotReady, Some(last)) => {
            let until = last.at.checked_add(RETRY).unwrap_or(Timestamp::MAX);
            if last.fingerprint != fingerprint || now >= until {
                Decision::Prepare
            } else {
                Decision::Wait { until }
            }
        }
        (BackupRepositoryPhase::Other(_), _) => Decision::Leave,
    }
}
