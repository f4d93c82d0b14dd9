//! Whole backups with hooks.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use caravel_api::v1::ExecHook;
use caravel_cases::{Case, each, each_async, same, texts};
use caravel_hooks::exec::{HookError, PodCommandExecutor};
use caravel_hooks::{HookLog, PodName};
use serde_json::{Value, json};

use super::backups::{back_up_with, replayed};
use crate::hooks::{Hooks, OwedPostHooks};

/// Remembers who was called, and fails where the case says so.
pub(super) struct Recorded {
    calls: Mutex<Vec<Value>>,
    expected: Value,
}

impl Recorded {
    fn of(case: &Case) -> Self {
        Self {
            calls: Mutex::default(),
            expected: case.want("wantExecutePodCommandCalls").clone(),
        }
    }
}

#[async_trait]
impl PodCommandExecutor for Recorded {
    async fn execute(
        &self,
        _: &dyn HookLog,
        pod: &Value,
        name: &str,
        hook: &ExecHook,
    ) -> Result<(), HookError> {
        let pod = PodName::of(pod);
        let call = json!({"Name": pod.name, "Namespace": pod.namespace, "HookName": name, "HookCommand": hook.command});
        self.calls.lock().unwrap().push(call);
        let calls = self.expected.as_array().into_iter().flatten();
        let mut errors = calls
            .filter(|call| call["podName"] == pod.name && call["hook"]["command"] == json!(hook.command))
            .filter_map(|call| call["err"]["$error"].as_str());
        errors
            .next()
            .map_or(Ok(()), |error| Err(HookError::Failed(error.to_owned())))
    }
}

/// Owes nothing to anybody.
struct Nobody;

#[async_trait]
impl OwedPostHooks for Nobody {
    async fn begin(&self, _: &[PodName]) -> Result<(), String> {
        Ok(())
    }

    async fn end(&self, _: &[PodName]) {}
}

/// The hooks of a Backup, run by `executor`.
pub(super) fn hooks(backup: &caravel_api::v1::Backup, executor: Arc<dyn PodCommandExecutor>) -> Hooks {
    Hooks {
        spec: caravel_hooks::backup::from_spec(backup.spec.hooks.as_ref(), str::to_owned).unwrap(),
        executor,
        owed: Arc::new(Nobody),
        tracker: Arc::default(),
    }
}

/// For cases without hooks.
pub(super) fn none() -> Arc<dyn PodCommandExecutor> {
    Arc::new(Recorded {
        calls: Mutex::default(),
        expected: Value::Null,
    })
}

#[test]
fn hooks_run_around_their_pods_as_in_velero() {
    each_async("pkg_backup/TestBackupWithHooks.json", async |case| {
        let executor = Arc::new(Recorded::of(case));
        let calls = Arc::clone(&executor);
        let related = replayed(case, "itemBlockAction");
        let done = back_up_with(case, case.input("backup"), &[], &related, executor).await?;
        let ours = done.files.keys().cloned().collect();
        let wanted = texts(case.want("assertTarballContents")).into_iter().collect();
        same::<std::collections::BTreeSet<String>>(&ours, &wanted)?;
        let mut calls = calls.calls.lock().unwrap().clone();
        if case.want("wantHookExecutionLog").is_null() {
            let expected = case.want("wantExecutePodCommandCalls").as_array().unwrap();
            let mut wanted: Vec<Value> = expected
                .iter()
                .map(|call| {
                    json!({"Name": call["podName"], "Namespace": call["podNamespace"],
                        "HookName": call["hookName"], "HookCommand": call["hook"]["command"]})
                })
                .collect();
            let key = |call: &Value| call.to_string();
            calls.sort_by_key(key);
            wanted.sort_by_key(key);
            return same(&calls, &wanted);
        }
        same(&json!(calls), case.want("wantHookExecutionLog"))
    });
}

#[test]
fn hooks_that_select_by_nonsense_are_refused() {
    each("pkg_backup/TestBackupWithInvalidHooks.json", |case| {
        let backup: caravel_api::v1::Backup = serde_json::from_value(case.input("backup").clone()).unwrap();
        let hooks = caravel_hooks::backup::from_spec(backup.spec.hooks.as_ref(), str::to_owned);
        same(&hooks.is_err(), &(case.want("backupReturnsError") == true))
    });
}
