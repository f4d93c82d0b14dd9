//! The exec hooks of restores that run in this process. They go on after the run of their restore, because a pod may
//! wait for the data of its volumes: the restore's finalizer waits for them, and adds their errors to the results.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::tracker::Tracker;

/// Shared by the restore controller and the restore finalizer; cheap to clone.
#[derive(Clone, Default)]
pub struct RunningHooks {
    by_restore: Arc<Mutex<BTreeMap<String, Arc<Tracker>>>>,
}

impl RunningHooks {
    /// The tracker of a restore, made at the first call. `uid` is the Restore's.
    pub fn begin(&self, uid: &str) -> Arc<Tracker> {
        Arc::clone(self.by_restore.lock().entry(uid.to_owned()).or_default())
    }

    /// The tracker of a restore whose hooks this process runs. `None` after a restart.
    pub fn of(&self, uid: &str) -> Option<Arc<Tracker>> {
        self.by_restore.lock().get(uid).map(Arc::clone)
    }

    /// The restore has ended.
    pub fn forget(&self, uid: &str) {
        self.by_restore.lock().remove(uid);
    }
}
