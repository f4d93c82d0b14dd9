//! What a run needs for hooks: which there are, who runs them, and who remembers that a post-hook is owed.

use std::sync::Arc;

use async_trait::async_trait;
use caravel_hooks::backup::ResourceHook;
use caravel_hooks::exec::PodCommandExecutor;
use caravel_hooks::tracker::Tracker;
use caravel_hooks::{HookLog, Level, PodName};

use crate::log::{About, BackupLog};

/// The hooks of one backup.
#[derive(Clone)]
pub struct Hooks {
    /// `spec.hooks`; annotations of pods come on top.
    pub spec: Vec<ResourceHook>,
    pub executor: Arc<dyn PodCommandExecutor>,
    pub owed: Arc<dyn OwedPostHooks>,
    pub tracker: Arc<Tracker>,
}

/// Guarantee 7: a pre-hook that froze an application is undone after any crash. Before a pod's pre-hook runs, the pod is
/// written down where the next server finds it; that one runs the post-hook before anything else.
#[async_trait]
pub trait OwedPostHooks: Send + Sync + 'static {
    /// Returns when it is written.
    ///
    /// # Errors
    /// It cannot be written: the pre-hooks must not run.
    async fn begin(&self, pods: &[PodName]) -> Result<(), String>;

    /// The post-hooks have run. Need not be written at once: a post-hook that runs twice does no harm.
    async fn end(&self, pods: &[PodName]);
}

impl HookLog for BackupLog {
    fn line(&self, level: Level, pod: &PodName, message: &str) {
        let about = About {
            resource: "pods",
            namespace: Some(&pod.namespace),
            name: &pod.name,
        };
        match level {
            Level::Info => self.item(about, message),
            Level::Warning => self.warn(about, message),
            Level::Error => self.error(about, "Error executing hook", message),
        }
    }
}
