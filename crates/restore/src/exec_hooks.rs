//! Starts the exec hooks of a pod that was created. They run beside the restore and go on after it: the pod may wait for
//! the data of its volumes. The restore's finalizer waits for them (`caravel_hooks::running`).

use std::sync::Arc;
use std::time::Duration;

use caravel_hooks::ended::EndedHooks;
use caravel_hooks::exec::PodCommandExecutor;
use caravel_hooks::restore_exec::{ResourceRestoreHook, by_container};
use caravel_hooks::tracker::Tracker;
use caravel_hooks::wait::{Waiting, expect, watch_pod};
use caravel_hooks::{HookLog, Level, PodName};
use kube::Client;
use serde_json::Value;

use crate::log::{self, RestoreLog};

/// The exec hooks of one restore.
#[derive(Clone)]
pub struct ExecHooks {
    /// `spec.hooks`; annotations of pods come on top.
    pub spec: Vec<ResourceRestoreHook>,
    pub executor: Arc<dyn PodCommandExecutor>,
    pub tracker: Arc<Tracker>,
    /// Those that ran before the server was restarted.
    pub ended: Arc<dyn EndedHooks>,
    /// How long a hook waits for its container where it does not say so.
    pub limit: Duration,
}

impl ExecHooks {
    /// `pod` as it was created, in its namespace; or as it is, when its hooks are taken up again after a restart.
    pub fn start(&self, client: &Client, log: &Arc<dyn RestoreLog>, pod: Value) {
        let name = PodName::of(&pod);
        let lines = Lines(Arc::clone(log));
        let mut hooks = by_container(&pod, &self.spec, &lines);
        // Counted before the task runs: nobody may find the restore's hooks complete meanwhile.
        expect(&name, &mut hooks, &self.tracker, &*self.ended);
        if hooks.is_empty() {
            return;
        }
        let (own, client) = (self.clone(), client.clone());
        tokio::spawn(async move {
            let waiting = Waiting {
                pod: name.clone(),
                hooks,
                limit: own.limit,
                executor: &*own.executor,
                tracker: &own.tracker,
                ended: &*own.ended,
                log: &lines,
            };
            // Errors are in the tracker, and from there in the results.
            let _ = waiting.run(&pod, watch_pod(&client, &name)).await;
        });
    }
}

/// Lines about hooks in the restore's log; those after its upload are in the server's log only.
struct Lines(Arc<dyn RestoreLog>);

impl HookLog for Lines {
    fn line(&self, level: Level, pod: &PodName, message: &str) {
        let level = match level {
            Level::Info => log::Level::Info,
            Level::Warning => log::Level::Warning,
            Level::Error => log::Level::Error,
        };
        let fields = [("namespace", pod.namespace.as_str()), ("pod", pod.name.as_str())];
        self.0.line(level, message, &fields);
    }
}
