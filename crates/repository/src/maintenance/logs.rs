//! Logs of clients, blobs `_log_…`: the newest stay, within the limits of the parameters. We write none.

use caravel_storage::BlobMetadata;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::parameters::LogRetention;

/// Figures of a clean-up, with Kopia's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CleanupLogs {
    pub to_delete_blob_count: u64,
    pub to_delete_blob_size: u64,
    pub deleted_blob_count: u64,
    pub deleted_blob_size: u64,
    pub retained_blob_count: u64,
    pub retained_blob_size: u64,
}

/// What to delete: everything from the first log, newest first, that is over a limit. Plain: no storage.
pub fn decide(
    mut logs: Vec<BlobMetadata>,
    limits: LogRetention,
    now: Timestamp,
) -> (CleanupLogs, Vec<String>) {
    logs.sort_by(|a, b| b.timestamp.cmp(&a.timestamp).then_with(|| a.id.cmp(&b.id)));
    let limits = limits.or_standard();
    let mut figures = CleanupLogs::default();
    let mut delete = Vec::new();
    for log in &logs {
        let size = figures.retained_blob_size + log.length;
        let over = |value: i64, limit: i64| limit > 0 && value > limit;
        let age = now.duration_since(log.timestamp);
        let gone = !delete.is_empty()
            || over(size as i64, limits.max_total_size)
            || over(figures.retained_blob_count as i64 + 1, limits.max_count)
            || (limits.max_age != 0 && age > SignedDuration::from_nanos(limits.max_age));
        if gone {
            figures.to_delete_blob_count += 1;
            figures.to_delete_blob_size += log.length;
            delete.push(log.id.as_str().to_owned());
        } else {
            figures.retained_blob_count += 1;
            figures.retained_blob_size = size;
        }
    }
    (figures, delete)
}

#[cfg(test)]
mod tests {
    use caravel_storage::BlobId;

    use super::*;

    #[test]
    fn newest_logs_stay_within_each_limit() {
        let at = |day: i64| Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap();
        let logs = || {
            let log = |n: i64| BlobMetadata {
                id: BlobId::from(format!("_log_{n}")),
                length: 100,
                timestamp: at(n),
            };
            (0..10).map(log).collect::<Vec<_>>()
        };
        let kept = |size, count, days: i64| {
            let limits = LogRetention {
                max_total_size: size,
                max_count: count,
                max_age: days * 86_400_000_000_000,
            };
            let (figures, delete) = decide(logs(), limits, at(9));
            assert_eq!(figures.to_delete_blob_count, delete.len() as u64);
            assert!(!delete.contains(&"_log_9".to_owned()), "the newest stays");
            figures.retained_blob_count
        };
        assert_eq!(kept(350, 0, 0), 3);
        assert_eq!(kept(0, 4, 0), 4);
        assert_eq!(kept(0, 0, 2), 3);
        assert_eq!(kept(0, 0, 0), 10);
    }
}
