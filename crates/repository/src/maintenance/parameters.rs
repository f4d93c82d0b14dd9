//! Who maintains a repository, and how often (kopia-format.md 11.1): a manifest of type `maintenance`.
//! Neighbour: `schedule.rs` (when it ran and is due next).

use serde::{Deserialize, Serialize};

use super::check_period;
use crate::{
    error::{RepositoryError, Result},
    manifest::Labels,
    repository::Repository,
};

const HOUR: i64 = 3_600_000_000_000;

/// The parameters, with Kopia's names. What is missing in storage is off or zero, as in Kopia.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MaintenanceParameters {
    /// The only client that may maintain, as `username@hostname`.
    pub owner: String,
    /// Keeps the index small.
    pub quick: Cycle,
    /// Also finds and removes what nobody needs.
    pub full: Cycle,
    /// How many logs of clients are kept.
    pub log_retention: LogRetention,
    /// Whether retention of needed blobs is renewed.
    pub extend_object_locks: bool,
    /// How many listings Kopia makes at a time; 0 is its own choice. Not used here.
    pub list_parallelism: i64,
}

/// How often one kind of maintenance runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cycle {
    pub enabled: bool,
    /// Nanoseconds.
    pub interval: i64,
}

/// Limits for blobs `_log_…`; 0 is no limit, and three zeros are Kopia's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogRetention {
    /// Bytes of all logs together.
    pub max_total_size: i64,
    pub max_count: i64,
    /// Nanoseconds.
    pub max_age: i64,
}

impl LogRetention {
    /// Kopia's defaults: 1 GiB, 10,000 logs, 30 days.
    pub const STANDARD: Self = Self {
        max_total_size: 1 << 30,
        max_count: 10_000,
        max_age: 30 * 24 * HOUR,
    };

    /// Itself, or the defaults when nothing is set.
    pub fn or_standard(self) -> Self {
        match self {
            Self {
                max_total_size: 0,
                max_count: 0,
                max_age: 0,
            } => Self::STANDARD,
            set => set,
        }
    }
}

impl MaintenanceParameters {
    /// Kopia's defaults: quick every hour, full every day.
    pub fn standard(owner: impl Into<String>) -> Self {
        let every = |interval| Cycle {
            enabled: true,
            interval,
        };
        Self {
            owner: owner.into(),
            quick: every(HOUR),
            full: every(24 * HOUR),
            log_retention: LogRetention::STANDARD,
            extend_object_locks: false,
            list_parallelism: 0,
        }
    }

    /// The labels of their manifest.
    pub(crate) fn labels() -> Labels {
        Labels::from([("type".into(), "maintenance".into())])
    }
}

impl Repository {
    /// The maintenance parameters; Kopia's defaults without an owner when none were saved (blocking).
    pub fn maintenance_parameters(&self) -> Result<MaintenanceParameters> {
        // Two clients may have written some at the same moment; the newest counts, as in Kopia.
        let found = self.find_manifests(&MaintenanceParameters::labels())?;
        let Some(newest) = found.last() else {
            return Ok(MaintenanceParameters::standard(""));
        };
        serde_json::from_str(newest.payload.get()).map_err(|e| {
            RepositoryError::damaged(format!(
                "manifest {} with the maintenance parameters is not well formed: {e}",
                newest.id
            ))
        })
    }

    /// Saves maintenance parameters in the place of what was there, and commits (blocking).
    ///
    /// Errors: `Invalid` where locks would end before the maintenance that is to extend them.
    pub fn set_maintenance_parameters(&self, parameters: &MaintenanceParameters) -> Result<()> {
        let retention = self.inner.format.retention.as_ref();
        check_period(
            retention,
            parameters.extend_object_locks,
            parameters.full.interval,
        )?;
        let writer = self.write()?;
        writer.replace_manifest(MaintenanceParameters::labels(), parameters)?;
        writer.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_kopias_bytes_and_missing_cycles_are_off() {
        let json = serde_json::to_string(&MaintenanceParameters::standard("u@h")).unwrap();
        let kopias = "{\"owner\":\"u@h\",\"quick\":{\"enabled\":true,\"interval\":3600000000000},\"full\":{\"enabled\":true,\
                      \"interval\":86400000000000},\"logRetention\":{\"maxTotalSize\":1073741824,\"maxCount\":10000,\
                      \"maxAge\":2592000000000000},\"extendObjectLocks\":false,\"listParallelism\":0}";
        assert_eq!(json, kopias);
        let little: MaintenanceParameters = serde_json::from_str("{\"owner\":\"a@b\",\"new\":1}").unwrap();
        assert!(!little.quick.enabled && !little.full.enabled);
        assert_eq!(little.log_retention.or_standard(), LogRetention::STANDARD);
    }
}
