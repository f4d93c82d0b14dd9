//! Exec hooks of a restore wait for their container, then run; none is forgotten: one that could not run is an error.
//! Upstream: `internal/hook/wait_exec_hook_handler.go`. Otherwise than there, the wait always ends ([`Waiting::limit`]),
//! a hook for a container that the pod does not have is an error instead of a wait without end, and a hook that comes
//! too late is not run.

use std::future::ready;
use std::time::Duration;

use caravel_api::v1::{ExecHook, HookErrorMode};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::ended::EndedHooks;
use crate::exec::PodCommandExecutor;
use crate::restore_exec::{ByContainer, ExecRestore};
use crate::tracker::Tracker;
use crate::{HookLog, Level, PodName, list, text};

/// What is seen of the pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Pod(Value),
    Gone,
}

/// The pod, as often as it changes.
pub fn watch_pod(client: &Client, pod: &PodName) -> impl Stream<Item = Seen> + Send + use<> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let only = Config::default().fields(&format!("metadata.name={}", pod.name));
    let events = watcher(pods, only).default_backoff();
    events
        .scan(false, |listed, event| {
            let seen = match event {
                Ok(Event::Init) => {
                    *listed = false;
                    None
                }
                Ok(Event::InitApply(pod) | Event::Apply(pod)) => {
                    *listed = true;
                    serde_json::to_value(pod).ok().map(Seen::Pod)
                }
                Ok(Event::InitDone) => (!*listed).then_some(Seen::Gone),
                Ok(Event::Delete(_)) => Some(Seen::Gone),
                // The watch is begun again.
                Err(_) => None,
            };
            ready(Some(seen))
        })
        .filter_map(ready)
}

/// The hooks of one pod, waiting.
pub struct Waiting<'a> {
    pub pod: PodName,
    pub hooks: ByContainer,
    /// The longest wait where a hook does not say one.
    pub limit: Duration,
    pub executor: &'a dyn PodCommandExecutor,
    pub tracker: &'a Tracker,
    pub ended: &'a dyn EndedHooks,
    pub log: &'a dyn HookLog,
}

/// Counts the hooks of a pod as attempted, and leaves those that have to be run: not those that run in this process
/// already, and not those that ended before its server was restarted. Before [`Waiting::run`].
pub fn expect(pod: &PodName, hooks: &mut ByContainer, tracker: &Tracker, ended: &dyn EndedHooks) {
    for hooks in hooks.values_mut() {
        hooks.retain(|hook| {
            let key = hook.key(pod);
            let is_new = tracker.add(key.clone());
            match ended.of(&key).filter(|_| is_new) {
                Some(error) => {
                    tracker.record(&key, error);
                    false
                }
                None => is_new,
            }
        });
    }
    hooks.retain(|_, hooks| !hooks.is_empty());
}

impl Waiting<'_> {
    /// Runs each hook when its container is up: the first time that it is, all hooks of the container, in order. `pod` is
    /// the pod as it was restored. Gives the errors, which the tracker has, too.
    pub async fn run(mut self, pod: &Value, seen: impl Stream<Item = Seen>) -> Vec<String> {
        let mut errors = self.without_container(pod).await;
        let begun = Instant::now();
        let deadline = begun + self.longest_wait();
        tokio::pin!(seen);
        let mut why = None;
        while !self.hooks.is_empty() && why.is_none() {
            why = match timeout_at(deadline, seen.next()).await {
                Err(_) => Some(format!(
                    "its container was not up within {}",
                    caravel_api::Duration(deadline - begun)
                )),
                Ok(None) => Some("the pod is not watched any more".to_owned()),
                Ok(Some(Seen::Gone)) => Some("the pod was deleted".to_owned()),
                Ok(Some(Seen::Pod(pod))) => self.look(&pod, begun, &mut errors).await.err(),
            };
        }
        let why = why.unwrap_or_default();
        for hook in std::mem::take(&mut self.hooks).into_values().flatten() {
            let container = &hook.hook.container;
            let error = format!(
                "hook {} in container {container} in pod {} not executed: {why}",
                hook.name, self.pod
            );
            self.fail(&hook, error, &mut errors).await;
        }
        errors
    }

    /// A container that is not there will never be up.
    async fn without_container(&mut self, pod: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        for (container, hooks) in std::mem::take(&mut self.hooks) {
            if has_container(pod, &container) {
                self.hooks.insert(container, hooks);
                continue;
            }
            for hook in hooks {
                let error = format!(
                    "hook {} in container {container} in pod {} not executed: the pod has no such container",
                    hook.name, self.pod
                );
                self.fail(&hook, error, &mut errors).await;
            }
        }
        errors
    }

    fn longest_wait(&self) -> Duration {
        max_wait(&self.hooks).unwrap_or(self.limit)
    }

    /// `Err`: no hook that is left can run any more, because of this.
    async fn look(&mut self, pod: &Value, begun: Instant, errors: &mut Vec<String>) -> Result<(), String> {
        let phase = text(pod, "/status/phase");
        if matches!(phase, "Succeeded" | "Failed") {
            return Err(format!(
                "pod entered phase {phase} before some post-restore exec hooks ran"
            ));
        }
        let containers: Vec<String> = self.hooks.keys().cloned().collect();
        for container in containers {
            let hooks = self.hooks.get(&container).map(Vec::as_slice).unwrap_or_default();
            if !is_up(pod, &container, hooks) {
                continue;
            }
            let mut hooks = self.hooks.remove(&container).unwrap_or_default().into_iter();
            while let Some(hook) = hooks.next() {
                let went_well = self.execute(pod, &hook, begun, errors).await;
                if !went_well && hook.hook.on_error == Some(HookErrorMode::Fail) {
                    // Those behind it are among the ones that are not executed.
                    let rest: Vec<ExecRestore> = hooks.collect();
                    self.hooks.insert(container, rest);
                    return Err(format!("hook {} failed, and its onError is Fail", hook.name));
                }
            }
        }
        Ok(())
    }

    async fn execute(
        &self,
        pod: &Value,
        hook: &ExecRestore,
        begun: Instant,
        errors: &mut Vec<String>,
    ) -> bool {
        let container = &hook.hook.container;
        if hook
            .wait_timeout()
            .is_some_and(|timeout| begun.elapsed() > timeout)
        {
            let error = format!(
                "hook {} in container {container} expired before executing",
                hook.name
            );
            self.fail(hook, error, errors).await;
            return false;
        }
        let exec = ExecHook {
            command: hook.hook.command.clone(),
            container: container.clone(),
            on_error: hook.hook.on_error.clone(),
            timeout: hook.hook.exec_timeout,
        };
        match self.executor.execute(self.log, pod, &hook.name, &exec).await {
            Ok(()) => {
                let key = hook.key(&self.pod);
                // Remembered before it counts: what has all its hooks behind it may end.
                self.ended.end(&key, None).await;
                self.tracker.record(&key, None);
                true
            }
            Err(error) => {
                let error = format!(
                    "hook {} in container {container} failed to execute, err: {error}",
                    hook.name
                );
                self.fail(hook, error, errors).await;
                false
            }
        }
    }

    async fn fail(&self, hook: &ExecRestore, error: String, errors: &mut Vec<String>) {
        self.log.line(Level::Error, &self.pod, &error);
        let key = hook.key(&self.pod);
        self.ended.end(&key, Some(&error)).await;
        self.tracker.record(&key, Some(error.clone()));
        errors.push(error);
    }
}

pub(crate) fn has_container(pod: &Value, container: &str) -> bool {
    let containers = list(pod, "/spec/containers").iter();
    let sidecars = list(pod, "/spec/initContainers")
        .iter()
        .filter(|container| text(container, "/restartPolicy") == "Always");
    containers
        .chain(sidecars)
        .any(|known| text(known, "/name") == container)
}

/// Running; ready, if one of its hooks waits for that.
pub(crate) fn is_up(pod: &Value, container: &str, hooks: &[ExecRestore]) -> bool {
    let wait_for_ready = hooks.iter().any(|hook| hook.hook.wait_for_ready == Some(true));
    let statuses = list(pod, "/status/containerStatuses").iter();
    let statuses = statuses.chain(list(pod, "/status/initContainerStatuses"));
    statuses
        .filter(|status| text(status, "/name") == container)
        .any(|status| {
            if wait_for_ready {
                status.get("ready").and_then(Value::as_bool) == Some(true)
            } else {
                status
                    .pointer("/state/running")
                    .is_some_and(|running| !running.is_null())
            }
        })
}

/// The longest wait of all; `None` when one of them waits as long as it takes.
pub(crate) fn max_wait(hooks: &ByContainer) -> Option<Duration> {
    let waits: Option<Vec<Duration>> = hooks.values().flatten().map(ExecRestore::wait_timeout).collect();
    waits?.into_iter().max()
}
