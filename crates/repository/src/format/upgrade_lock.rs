//! The lock of an upgrade in the format blob (kopia-format.md 2.6; Kopia `repo/format/upgrade_lock_intent.go`
//! v0.22.3): whoever is not its owner neither reads nor writes while it holds.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{RepositoryError, RepositoryErrorKind};

/// The lock as stored; durations are nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpgradeLock {
    #[serde(rename = "ownerID", default, skip_serializing_if = "String::is_empty")]
    owner_id: String,
    creation_time: Timestamp,
    #[serde(default)]
    advance_notice_duration: i64,
    #[serde(rename = "ioDrainTimeout", default)]
    io_drain_timeout: i64,
    #[serde(default)]
    status_poll_interval: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(default)]
    max_permitted_clock_drift: i64,
}

impl UpgradeLock {
    /// Whether everyone but the owner must stay away at `now`: at once, or from the announced time on less what it
    /// takes to let everyone finish.
    pub fn is_locked(&self, now: Timestamp) -> bool {
        let drain = self.io_drain_timeout.saturating_mul(2);
        let drain = drain.saturating_add(self.max_permitted_clock_drift);
        let left = self.advance_notice_duration.saturating_sub(drain);
        let from = self.creation_time.checked_add(SignedDuration::from_nanos(left));
        left < 0 || from.is_ok_and(|from| now >= from)
    }

    /// What to say to whoever must stay away.
    pub fn error(&self) -> RepositoryError {
        let mut text = format!("the repository is being upgraded since {}", self.creation_time);
        if !self.owner_id.is_empty() {
            text.push_str(&format!(" by {}", self.owner_id));
        }
        if !self.message.is_empty() {
            text.push_str(&format!(" ({})", self.message));
        }
        text.push_str(
            "; try again when the upgrade is finished, or end it with \"kopia repository upgrade rollback\"",
        );
        RepositoryError::new(RepositoryErrorKind::Locked, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(notice_minutes: i64) -> UpgradeLock {
        const MINUTE: i64 = 60_000_000_000;
        UpgradeLock {
            owner_id: "ann".into(),
            creation_time: "2026-11-20T12:00:00Z".parse().unwrap(),
            advance_notice_duration: notice_minutes * MINUTE,
            io_drain_timeout: 15 * MINUTE,
            status_poll_interval: MINUTE,
            message: "to version 3".into(),
            max_permitted_clock_drift: 5 * MINUTE,
        }
    }

    #[test]
    fn lock_without_notice_holds_at_once_and_names_its_owner() {
        let lock = lock(0);
        assert!(lock.is_locked("2026-11-20T12:00:01Z".parse().unwrap()));
        let text = lock.error().to_string();
        assert!(text.contains("ann") && text.contains("to version 3"), "{text}");
    }

    #[test]
    fn announced_lock_holds_from_the_time_that_lets_everyone_finish() {
        let lock = lock(60);
        assert!(!lock.is_locked("2026-11-20T12:24:59Z".parse().unwrap()));
        assert!(lock.is_locked("2026-11-20T12:25:00Z".parse().unwrap()));
    }

    #[test]
    fn absurd_durations_do_not_overflow() {
        let mut lock = lock(0);
        lock.advance_notice_duration = i64::MAX;
        assert!(!lock.is_locked("2100-01-01T00:00:00Z".parse().unwrap()));
        lock.io_drain_timeout = i64::MAX;
        assert!(!lock.is_locked(Timestamp::MIN));
    }
}
