//! `kopia.blobcfg`: how long the store must keep blobs (kopia-format.md 2.5, 12).

use caravel_storage::{LockMode, ObjectLock};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::BLOBCFG_BLOB;
use crate::{
    blob::Blobs,
    crypto::envelope::Envelope,
    error::{RepositoryError, Result},
};

const DAY: i64 = 24 * 60 * 60 * 1_000_000_000;

/// Object lock for what is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `GOVERNANCE`, `COMPLIANCE` (S3) or `Locked` (Azure).
    pub mode: String,
    /// Nanoseconds from the moment of writing; at least a day.
    pub period: i64,
}

/// The plaintext of `kopia.blobcfg`.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stored {
    #[serde(skip_serializing_if = "String::is_empty")]
    retention_mode: String,
    #[serde(skip_serializing_if = "is_zero")]
    retention_period: i64,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl Retention {
    /// Errors: `Invalid` for a mode that no store has, or a period under a day.
    pub fn check(&self) -> Result<()> {
        if !["GOVERNANCE", "COMPLIANCE", "Locked"].contains(&self.mode.as_str()) {
            let mode = &self.mode;
            return Err(RepositoryError::invalid(format!(
                "there is no retention mode {mode:?}; choose GOVERNANCE or COMPLIANCE"
            )));
        }
        match self.period >= DAY {
            true => Ok(()),
            false => Err(RepositoryError::invalid(
                "a retention period must be a day or more",
            )),
        }
    }

    /// The lock of what is written at `now`; none for a mode that only Azure has.
    pub(crate) fn lock(&self, now: Timestamp) -> Option<ObjectLock> {
        Some(ObjectLock {
            mode: LockMode::by_name(&self.mode)?,
            until: now
                .checked_add(SignedDuration::from_nanos(self.period))
                .unwrap_or(Timestamp::MAX),
        })
    }

    /// Whether a blob of this name is kept under retention: packs, indexes, and the two format blobs.
    pub fn covers(name: &str) -> bool {
        ["n", "x", "p", "q", "kopia.repository", BLOBCFG_BLOB]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    }
}

/// The bytes of `kopia.blobcfg` before they are sealed.
pub(super) fn encode(retention: Option<&Retention>) -> Vec<u8> {
    let stored = retention.map_or_else(Stored::default, |retention| Stored {
        retention_mode: retention.mode.clone(),
        retention_period: retention.period,
    });
    serde_json::to_vec(&stored).expect("two plain fields")
}

/// The retention in the plaintext of `kopia.blobcfg`.
pub(crate) fn decode(plain: &[u8]) -> Result<Option<Retention>> {
    let stored: Stored = serde_json::from_slice(plain)
        .map_err(|e| RepositoryError::damaged(format!("blob {BLOBCFG_BLOB} is not well formed: {e}")))?;
    if stored.retention_mode.is_empty() && stored.retention_period == 0 {
        return Ok(None);
    }
    let retention = Retention {
        mode: stored.retention_mode,
        period: stored.retention_period,
    };
    retention
        .check()
        .map_err(|e| RepositoryError::damaged(format!("blob {BLOBCFG_BLOB}: {e}")))?;
    Ok(Some(retention))
}

/// Reads `kopia.blobcfg`; a missing one means no retention.
pub(super) fn load(blobs: &Blobs, envelope: &Envelope) -> Result<Option<Retention>> {
    let sealed = match blobs.get(BLOBCFG_BLOB) {
        Err(error) if error.is_missing_blob() => return Ok(None),
        other => other?,
    };
    let plain = envelope.open(&sealed).ok_or_else(|| {
        RepositoryError::damaged(format!(
            "blob {BLOBCFG_BLOB} was altered or belongs to another repository: it cannot be opened"
        ))
    })?;
    decode(&plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kopias_json_both_ways() {
        assert_eq!(encode(None), b"{}");
        let retention = Retention {
            mode: "GOVERNANCE".into(),
            period: 2 * DAY,
        };
        let json = encode(Some(&retention));
        assert_eq!(
            json,
            br#"{"retentionMode":"GOVERNANCE","retentionPeriod":172800000000000}"#
        );
        assert_eq!(decode(&json).unwrap(), Some(retention));
        assert_eq!(decode(b"{}").unwrap(), None);
    }

    #[test]
    fn half_settings_and_short_periods_are_damage() {
        for json in [
            r#"{"retentionMode":"GOVERNANCE"}"#,
            r#"{"retentionPeriod":172800000000000}"#,
            r#"{"retentionMode":"x","retentionPeriod":172800000000000}"#,
            r#"{"retentionMode":"COMPLIANCE","retentionPeriod":5}"#,
            "7",
        ] {
            assert!(decode(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn sessions_logs_and_the_schedule_are_not_kept() {
        assert!(Retention::covers("xn0_ab-s1-c1") && Retention::covers("kopia.blobcfg"));
        assert!(!Retention::covers("s0123-s1") && !Retention::covers("kopia.maintenance"));
    }
}
