//! What a BackupRepository's `repositoryConfig` says, with Velero's keys and words.
//!
//! The one place that reads it: the server when it creates the repository, node agents when they make data mover pods.
//! What cannot be right says nothing, as in Velero; who writes it is told (`crates/controllers/src/backup_repository/`).

use std::collections::BTreeMap;
use std::time::Duration;

/// Key: what copies of what is read may take on a machine, in MiB.
pub const CACHE_LIMIT: &str = "cacheLimitMB";
/// Key: whether data is compressed.
pub const ENABLE_COMPRESSION: &str = "enableCompression";
/// Key: how often a new repository is maintained in full, one of [`FULL_MAINTENANCE_INTERVALS`].
pub const FULL_MAINTENANCE: &str = "fullMaintenanceInterval";
/// All keys that have an effect.
pub const KEYS: [&str; 3] = [CACHE_LIMIT, ENABLE_COMPRESSION, FULL_MAINTENANCE];
/// Velero's `cacheLimitMB` of a repository that says nothing.
pub const DEFAULT_CACHE_LIMIT_MB: u64 = 5000;
/// Velero's words for [`FULL_MAINTENANCE`], and what they mean; the first one is Kopia's own.
pub const FULL_MAINTENANCE_INTERVALS: [(&str, Duration); 3] = [
    ("normalGC", Duration::from_secs(24 * 3600)),
    ("fastGC", Duration::from_secs(12 * 3600)),
    ("eagerGC", Duration::from_secs(6 * 3600)),
];

/// The settings of one repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// `cacheLimitMB`; 0: no copies.
    pub cache_limit_mb: u64,
    /// `enableCompression`.
    pub enable_compression: bool,
    /// `fullMaintenanceInterval`; counts when the repository is created.
    pub full_maintenance_interval: Duration,
}

impl Default for RepositoryConfig {
    fn default() -> Self {
        Self {
            cache_limit_mb: DEFAULT_CACHE_LIMIT_MB,
            enable_compression: false,
            full_maintenance_interval: FULL_MAINTENANCE_INTERVALS[0].1,
        }
    }
}

impl RepositoryConfig {
    /// What is said, and else Velero's defaults.
    pub fn of(said: &BTreeMap<String, String>) -> Self {
        let text = |key: &str| said.get(key).map(String::as_str);
        let default = Self::default();
        Self {
            cache_limit_mb: text(CACHE_LIMIT)
                .and_then(cache_limit_mb)
                .unwrap_or(default.cache_limit_mb),
            enable_compression: text(ENABLE_COMPRESSION)
                .and_then(enable_compression)
                .unwrap_or(default.enable_compression),
            full_maintenance_interval: text(FULL_MAINTENANCE)
                .and_then(full_maintenance_interval)
                .unwrap_or(default.full_maintenance_interval),
        }
    }
}

/// Why this value of this key counts as not said; `None`: it counts, or nothing is known about the key.
pub fn refusal(key: &str, text: &str) -> Option<String> {
    let (is_right, wanted) = match key {
        CACHE_LIMIT => (
            cache_limit_mb(text).is_some(),
            "a whole number of MiB is expected".to_owned(),
        ),
        ENABLE_COMPRESSION => (
            enable_compression(text).is_some(),
            "true or false is expected".to_owned(),
        ),
        FULL_MAINTENANCE => {
            let words = FULL_MAINTENANCE_INTERVALS.map(|(word, _)| word);
            (
                full_maintenance_interval(text).is_some(),
                format!("one of {} is expected", words.join(", ")),
            )
        }
        _ => return None,
    };
    (!is_right).then_some(wanted)
}

fn cache_limit_mb(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn enable_compression(text: &str) -> Option<bool> {
    text.trim().parse().ok()
}

fn full_maintenance_interval(text: &str) -> Option<Duration> {
    let mut known = FULL_MAINTENANCE_INTERVALS.into_iter();
    known
        .find(|(word, _)| *word == text)
        .map(|(_, interval)| interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, value: &str) -> RepositoryConfig {
        RepositoryConfig::of(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn the_limit_is_what_the_repository_says_and_else_veleros() {
        assert_eq!(RepositoryConfig::of(&BTreeMap::new()).cache_limit_mb, 5000);
        for (value, limit) in [("2000", 2000), ("0", 0), ("", 5000), ("much", 5000), ("-1", 5000)] {
            assert_eq!(of("cacheLimitMB", value).cache_limit_mb, limit, "{value:?}");
        }
    }

    #[test]
    fn data_is_compressed_only_where_it_is_said() {
        assert!(!RepositoryConfig::of(&BTreeMap::new()).enable_compression);
        for (value, compresses) in [("true", true), ("false", false), ("", false), ("yes", false)] {
            let read = of("enableCompression", value);
            assert_eq!(read.enable_compression, compresses, "{value:?}");
        }
    }

    #[test]
    fn each_word_of_full_maintenance_is_an_interval_and_others_are_kopias() {
        for (value, hours) in [
            ("normalGC", 24),
            ("fastGC", 12),
            ("eagerGC", 6),
            ("", 24),
            ("EagerGC", 24),
        ] {
            let read = of("fullMaintenanceInterval", value).full_maintenance_interval;
            assert_eq!(read, Duration::from_secs(hours * 3600), "{value:?}");
        }
    }

    #[test]
    fn what_does_not_count_is_told_from_what_does() {
        for (key, right, wrong) in [
            ("cacheLimitMB", "0", "-1"),
            ("enableCompression", "false", "1"),
            ("fullMaintenanceInterval", "fastGC", "12h"),
        ] {
            assert_eq!(refusal(key, right), None);
            assert!(refusal(key, wrong).is_some(), "{key}");
        }
        assert_eq!(refusal("another", "anything"), None);
    }
}
