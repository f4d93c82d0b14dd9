//! Locks that go on: in full maintenance every blob under retention is locked for the whole period again, so that what is
//! still needed is never free to be deleted (kopia-format.md 12).

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    error::{RepositoryError, Result},
    format::Retention,
    repository::Repository,
};

const DAY: i64 = 24 * 3_600_000_000_000;

/// What was extended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtendLocks {
    pub to_extend_blob_count: u64,
    pub extended_blob_count: u64,
    /// As Go writes it: `48h0m0s`.
    pub retention_period: String,
}

/// The blobs whose locks are to go on.
pub fn plan(repository: &Repository, retention: &Retention) -> Result<(ExtendLocks, Vec<String>)> {
    let blobs = repository.inner.blobs.list("")?;
    let names = blobs.into_iter().map(|blob| blob.id.as_str().to_owned());
    let covered: Vec<String> = names.filter(|name| Retention::covers(name)).collect();
    let figures = ExtendLocks {
        to_extend_blob_count: covered.len() as u64,
        extended_blob_count: 0,
        retention_period: go_hours(retention.period),
    };
    Ok((figures, covered))
}

/// Extends them. One that is gone meanwhile needs no lock.
pub fn act(
    repository: &Repository,
    figures: ExtendLocks,
    names: &[String],
    now: Timestamp,
) -> Result<ExtendLocks> {
    let extended_blob_count = repository.inner.blobs.extend_locks(names, now)?;
    Ok(ExtendLocks {
        extended_blob_count,
        ..figures
    })
}

/// Errors: `Invalid` where locks would end before the maintenance that extends them.
pub(crate) fn check_period(retention: Option<&Retention>, extends: bool, full_interval: i64) -> Result<()> {
    match retention {
        Some(retention) if extends && retention.period.saturating_sub(full_interval) < DAY => {
            Err(RepositoryError::invalid(format!(
                "locks of {} would end before full maintenance (every {}) extends them: the retention period must be a day \
                 longer than that; nothing was changed",
                go_hours(retention.period),
                go_hours(full_interval)
            )))
        }
        _ => Ok(()),
    }
}

/// Go's form of an hour or more; parts of a second are left out.
fn go_hours(nanoseconds: i64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_kopias() {
        let figures = ExtendLocks {
            to_extend_blob_count: 6,
            extended_blob_count: 6,
            retention_period: go_hours(2 * DAY),
        };
        let json = serde_json::to_string(&figures).unwrap();
        let kopias = r#"{"toExtendBlobCount":6,"extendedBlobCount":6,"retentionPeriod":"48h0m0s"}"#;
        assert_eq!(json, kopias);
    }

    #[test]
    fn locks_must_outlast_the_time_between_two_maintenances_by_a_day() {
        let retention = Retention {
            mode: "GOVERNANCE".into(),
            period: 2 * DAY,
        };
        assert!(check_period(Some(&retention), true, DAY).is_ok());
        assert!(check_period(Some(&retention), true, DAY + 1).is_err());
        assert!(check_period(Some(&retention), false, 9 * DAY).is_ok());
        assert!(check_period(None, true, 9 * DAY).is_ok());
    }
}
