//! Counts the hooks of one backup or restore, for `status.hookStatus`, and keeps their errors. Upstream:
//! `internal/hook/hook_tracker.go`.

use std::collections::BTreeMap;

use caravel_api::v1::HookStatus;
use parking_lot::Mutex;

use crate::backup::Phase;
use crate::{PodName, Source};

/// One hook in one pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HookKey {
    pub pod: PodName,
    /// Empty where the hook names none.
    pub container: String,
    pub source: Source,
    /// Of the spec's entry; empty for a backup hook by annotation.
    pub name: String,
    /// `None` for hooks of a restore.
    pub phase: Option<Phase>,
    /// Its place in the spec's entry: two hooks may name the same container.
    pub index: usize,
}

/// Shared by everything that runs hooks of the same backup or restore.
#[derive(Debug, Default)]
pub struct Tracker {
    hooks: Mutex<BTreeMap<HookKey, Progress>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    Expected,
    Done,
    Failed(String),
}

impl Tracker {
    /// A hook that is to run; before [`Tracker::record`]. Twice counts once. False: it was there.
    pub fn add(&self, key: HookKey) -> bool {
        let mut hooks = self.hooks.lock();
        if hooks.contains_key(&key) {
            return false;
        }
        hooks.insert(key, Progress::Expected);
        true
    }

    /// How a hook ended; the first word counts. One that was never added is not counted.
    pub fn record(&self, key: &HookKey, error: Option<String>) {
        if let Some(progress) = self.hooks.lock().get_mut(key)
            && *progress == Progress::Expected
        {
            *progress = error.map_or(Progress::Done, Progress::Failed);
        }
    }

    /// Attempted: all that were added, also those that an earlier failure kept from running.
    pub fn status(&self) -> HookStatus {
        let hooks = self.hooks.lock();
        let failed = hooks
            .values()
            .filter(|progress| matches!(progress, Progress::Failed(_)));
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        HookStatus {
            hooks_attempted: count(hooks.len()),
            hooks_failed: count(failed.count()),
        }
    }

    /// True when none is still to come.
    pub fn is_complete(&self) -> bool {
        !self
            .hooks
            .lock()
            .values()
            .any(|progress| *progress == Progress::Expected)
    }

    /// The errors, by namespace of the pod.
    pub fn errors(&self) -> Vec<(String, String)> {
        let hooks = self.hooks.lock();
        let failed = hooks.iter().filter_map(|(key, progress)| match progress {
            Progress::Failed(error) => Some((key.pod.namespace.clone(), error.clone())),
            _ => None,
        });
        failed.collect()
    }
}
