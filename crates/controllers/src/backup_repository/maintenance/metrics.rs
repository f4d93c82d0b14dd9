//! Counters of maintenance by repository, since this server started (velero-behaviour.md 9.4; Velero v1.18.3
//! `pkg/metrics/metrics.go`). `crates/velero/src/server/metrics.rs` writes them out.

use std::collections::BTreeMap;
use std::sync::Arc;

use caravel_api::phase::BackupRepositoryMaintenanceResult;
use caravel_api::v1::BackupRepositoryMaintenanceStatus;
use parking_lot::Mutex;

/// Upper ends of the duration's buckets, in seconds; the last bucket has none.
pub const DURATION_BUCKETS: [u32; 9] = [60, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400];

/// Of all repositories; clones count into the same.
#[derive(Clone, Debug, Default)]
pub struct MaintenanceMetrics(Arc<Mutex<BTreeMap<String, Counted>>>);

/// Of one repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// `repo_maintenance_success_total`.
    pub success: u64,
    /// `repo_maintenance_failure_total`.
    pub failure: u64,
    /// Runs that took at most as long as the bucket at this place says: each counts in all longer ones too.
    pub at_most: [u64; DURATION_BUCKETS.len()],
    /// Runs whose length is known.
    pub timed: u64,
    /// Their lengths together, in seconds.
    pub seconds: u64,
}

impl MaintenanceMetrics {
    /// A run has ended, or could not begin.
    pub(super) fn note(&self, repository: &str, run: &BackupRepositoryMaintenanceStatus) {
        let mut all = self.0.lock();
        let counted = all.entry(repository.to_owned()).or_default();
        if run.result == Some(BackupRepositoryMaintenanceResult::Failed) {
            counted.failure += 1;
        } else {
            counted.success += 1;
        }
        let (Some(start), Some(complete)) = (&run.start_timestamp, &run.complete_timestamp) else {
            return;
        };
        let seconds = u64::try_from(complete.0.as_second() - start.0.as_second()).unwrap_or(0);
        counted.timed += 1;
        counted.seconds += seconds;
        for (bucket, count) in DURATION_BUCKETS.iter().zip(&mut counted.at_most) {
            *count += u64::from(seconds <= u64::from(*bucket));
        }
    }

    /// The repository is gone.
    pub(super) fn forget(&self, repository: &str) {
        self.0.lock().remove(repository);
    }

    /// All of it, by the repository's name.
    pub fn all(&self) -> BTreeMap<String, Counted> {
        self.0.lock().clone()
    }
}
