//! The node agent's ConfigMap (`--node-agent-configmap`): what an administrator says about moving data.
//!
//! ```text
//! read.rs         JSON → Configuration, and every value that is refused   values.rs   the kinds of values in it
//! concurrency.rs  loadConcurrency and a node's labels → data movers at once
//! follow.rs       watches ConfigMap and Node, puts a change in force, says what it refuses
//! ```
//! Keys and meaning: Velero v1.18.3 `pkg/types/node_agent.go` and its page "Node-agent Configuration"
//! (velero-behaviour.md 5.7). Velero reads them once, at its start; here a change holds from the next step of exposing
//! on, while pods and volumes that exist keep what they were made with.

mod concurrency;
mod follow;
mod quantity;
mod read;
#[cfg(test)]
mod tests;
mod values;
#[cfg(test)]
mod velero_cases;

use std::sync::Arc;

use caravel_exposer::Settings;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use parking_lot::RwLock;

pub use follow::{ConfigurationError, Follower, spawn};
pub use read::{NotReadable, Reading, read};
pub(crate) use values::{Place, Refused, is_label_value, is_qualified_name};

/// All that the ConfigMap says; the default is what holds without one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    pub load_concurrency: LoadConcurrency,
    /// What concerns data mover pods and their volumes.
    pub settings: Settings,
    /// `privilegedFsBackup`: of file system backup, which this version does not have yet.
    pub privileged_fs_backup: bool,
}

/// `loadConcurrency`: how much moves at once.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadConcurrency {
    /// `globalConfig`: data movers at once on a node that no rule names.
    pub global: usize,
    /// `perNodeConfig`.
    pub per_node: Vec<PerNode>,
    /// `prepareQueueLength`: movements of the whole cluster that are exposed or being exposed, and do not run yet.
    pub prepare_queue_length: Option<usize>,
}

impl Default for LoadConcurrency {
    /// Velero's: one at a time, any number prepared.
    fn default() -> Self {
        Self {
            global: 1,
            per_node: Vec::new(),
            prepare_queue_length: None,
        }
    }
}

/// One rule of `perNodeConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct PerNode {
    pub node_selector: LabelSelector,
    pub number: usize,
}

/// The settings that hold now. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct InForce(Arc<RwLock<Arc<Settings>>>);

impl InForce {
    /// What holds at this moment.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.0.read())
    }

    pub(crate) fn put(&self, settings: Settings) {
        *self.0.write() = Arc::new(settings);
    }
}
