//! When a location is checked, and what a check makes of it (velero-behaviour.md 2.6).

use std::time::Duration;

use caravel_api::phase::BackupStorageLocationPhase;
use jiff::{SignedDuration, Timestamp};

/// What is known about one location.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The spec as JSON.
    pub spec: String,
    /// `spec.validationFrequency`.
    pub frequency: Option<Duration>,
    /// `status.lastValidationTime`.
    pub last_validation: Option<Timestamp>,
    /// `status.phase`.
    pub phase: Option<BackupStorageLocationPhase>,
    /// The spec as it was at this process's last check; `None` before the first.
    pub checked_spec: Option<String>,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Reach for the bucket.
    Check,
    /// Nothing before this much time has passed.
    Wait(Duration),
    /// The user asked for one check only (`validationFrequency: 0s`), and it was done.
    Never,
}

/// Decides whether a check is due.
pub fn decide(observed: &Observed, default_frequency: Duration, now: Timestamp) -> Decision {
    let Some(last) = observed.last_validation else {
        return Decision::Check;
    };
    // A new process has no reason to trust a phase that an older one wrote before it went away.
    if observed.phase.is_none() || observed.checked_spec.as_ref() != Some(&observed.spec) {
        return Decision::Check;
    }
    let frequency = observed.frequency.unwrap_or(default_frequency);
    if frequency.is_zero() {
        return Decision::Never;
    }
    let since = now.duration_since(last).max(SignedDuration::ZERO).unsigned_abs();
    match frequency.checked_sub(since) {
        Some(left) if !left.is_zero() => Decision::Wait(left),
        _ => Decision::Check,
    }
}

/// Stands in `status.message` of an available location for as long as the password of its repositories is the one
/// that everybody knows (decisions.md section 1). Velero leaves the message empty; the phase stays the same.
pub const WELL_KNOWN_PASSWORD: &str = "Warning: the backup repositories are encrypted with Velero's published password, so whoever can read the bucket can read the volumes' data. Protect the bucket; or, before the first backup of volume data, install with --repo-password-file or --generate-repo-password.";

/// Phase and message that a check's result gives.
pub fn verdict(
    checked: Result<(), String>,
    well_known_password: bool,
) -> (BackupStorageLocationPhase, String) {
    match checked {
        Ok(()) if well_known_password => (
            BackupStorageLocationPhase::Available,
            WELL_KNOWN_PASSWORD.to_owned(),
        ),
        Ok(()) => (BackupStorageLocationPhase::Available, String::new()),
        Err(why) => (BackupStorageLocationPhase::Unavailable, why),
    }
}

/// Which locations must give up `spec.default`: of several that claim it, the newest keeps it (ties: the later name).
pub fn surplus_defaults(mut claiming: Vec<(Option<Timestamp>, String)>) -> Vec<String> {
    claiming.sort();
    claiming.pop();
    claiming.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    /// Checked at second 1000, available, nothing changed since.
    fn checked() -> Observed {
        Observed {
            spec: "a".to_owned(),
            checked_spec: Some("a".to_owned()),
            last_validation: Some(at(1000)),
            phase: Some(BackupStorageLocationPhase::Available),
            frequency: None,
        }
    }

    #[test]
    fn a_location_that_was_never_checked_is_checked() {
        assert_eq!(decide(&Observed::default(), MINUTE, at(1000)), Decision::Check);
    }

    #[test]
    fn a_checked_location_waits_for_its_next_turn() {
        assert_eq!(
            decide(&checked(), MINUTE, at(1020)),
            Decision::Wait(Duration::from_secs(40))
        );
        assert_eq!(decide(&checked(), MINUTE, at(1060)), Decision::Check);
    }

    #[test]
    fn a_change_of_the_spec_or_its_secret_is_checked_at_once() {
        let changed = Observed {
            spec: "b".to_owned(),
            ..checked()
        };
        assert_eq!(decide(&changed, MINUTE, at(1001)), Decision::Check);
    }

    #[test]
    fn a_new_process_checks_for_itself() {
        let inherited = Observed {
            checked_spec: None,
            ..checked()
        };
        assert_eq!(decide(&inherited, MINUTE, at(1001)), Decision::Check);
    }

    #[test]
    fn a_frequency_of_zero_means_once() {
        let once = Observed {
            frequency: Some(Duration::ZERO),
            ..checked()
        };
        assert_eq!(decide(&once, MINUTE, at(9999)), Decision::Never);
        let first = Observed {
            last_validation: None,
            ..once
        };
        assert_eq!(decide(&first, MINUTE, at(9999)), Decision::Check);
    }

    #[test]
    fn a_clock_that_went_back_does_not_wait_longer_than_one_turn() {
        assert_eq!(decide(&checked(), MINUTE, at(10)), Decision::Wait(MINUTE));
    }

    #[test]
    fn a_location_whose_repositories_anyone_can_open_is_available_and_says_so() {
        let (phase, message) = verdict(Ok(()), true);
        assert_eq!(phase, BackupStorageLocationPhase::Available);
        assert!(
            message.starts_with("Warning: ") && !message.contains("static-passw0rd"),
            "{message}"
        );
        assert_eq!(
            verdict(Ok(()), false),
            (BackupStorageLocationPhase::Available, String::new())
        );
    }

    #[test]
    fn why_a_location_is_unavailable_is_said_alone() {
        let down = (BackupStorageLocationPhase::Unavailable, "no bucket".to_owned());
        assert_eq!(verdict(Err("no bucket".to_owned()), true), down);
    }

    #[test]
    fn of_several_defaults_the_newest_stays() {
        let claiming = vec![
            (Some(at(3)), "c".into()),
            (Some(at(9)), "a".into()),
            (Some(at(1)), "b".into()),
        ];
        assert_eq!(surplus_defaults(claiming), ["b", "c"]);
        assert!(surplus_defaults(vec![(Some(at(1)), "only".into())]).is_empty());
        assert!(surplus_defaults(vec![]).is_empty());
    }
}
