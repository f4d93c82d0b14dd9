//! Exec hooks of restores outlive the run of their restore, and its server: those that have ended stand in an annotation of
//! the Restore, and the next server runs the others. Started by `caravel_restore::exec_hooks`; the finalizer waits for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::v1::Restore;
use caravel_backup_store::BackupStore;
use caravel_hooks::ended::EndedHooks;
use caravel_hooks::exec::KubeExecutor;
use caravel_hooks::tracker::HookKey;
use caravel_restore::exec_hooks::ExecHooks;
use caravel_restore::log::{Level, RestoreLog};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::context::Context;
use crate::reconcile::{Error, chain};
use crate::restore_finalizer::decide::created_objects;

/// A JSON object: hook → its error, empty where there was none.
pub(crate) const ENDED_EXEC_HOOKS: &str = "velero.io/ended-exec-hooks";

/// All annotations of an object together may have 256 KiB.
const MOST_BYTES: usize = 200 << 10;
/// An error is cut there; the log has all of it.
const LONGEST_ERROR: usize = 300;
/// Where a Restore of another make says nothing: Velero's `--default-item-operation-timeout`.
const DEFAULT_LIMIT: Duration = Duration::from_secs(4 * 3600);

/// The hooks of a Restore, counted in this process from now on.
pub(crate) fn exec_hooks(context: &Context, restore: &Restore) -> Result<ExecHooks, Error> {
    let spec = &restore.spec;
    Ok(ExecHooks {
        spec: caravel_hooks::restore_exec::from_spec(spec.hooks.as_ref())?,
        executor: Arc::new(KubeExecutor::new(context.client.clone())),
        tracker: context.restore_hooks.begin(&restore.uid().unwrap_or_default()),
        ended: Arc::new(EndedInRestore::of(&context.client, restore)),
        limit: spec.item_operation_timeout.unwrap_or_default().or(DEFAULT_LIMIT),
    })
}

/// Takes up the hooks of a Restore whose run is over, where this process does not run them: its server was restarted.
pub(crate) async fn resume(context: &Context, restore: &Restore, store: &BackupStore) -> Result<(), Error> {
    let uid = restore.uid().unwrap_or_default();
    if context.restore_hooks.of(&uid).is_some() || attempted(restore) == 0 {
        return Ok(());
    }
    let created = store.get_restore_resource_list(&restore.name_any()).await?;
    let created = created.unwrap_or_default().remove("v1/Pod").unwrap_or_default();
    let mut pods = Vec::new();
    for (namespace, name) in created_objects(&created) {
        let api: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
        // One that is gone is missed by the finalizer, which counts.
        if let Some(pod) = api.get_opt(&name).await? {
            pods.push(serde_json::to_value(pod)?);
        }
    }
    if context.restore_hooks.of(&uid).is_some() {
        // Another controller was quicker.
        return Ok(());
    }
    tracing::warn!(restore = %restore.name_any(), pods = pods.len(), "takes up the exec hooks of a restore whose server ended");
    let hooks = exec_hooks(context, restore)?;
    let log: Arc<dyn RestoreLog> = Arc::new(ServerLog(restore.name_any()));
    for pod in pods {
        hooks.start(&context.client, &log, pod);
    }
    Ok(())
}

/// How many hooks the run has counted.
pub(crate) fn attempted(restore: &Restore) -> i32 {
    let status = restore
        .status
        .as_ref()
        .and_then(|status| status.hook_status.as_ref());
    status.map_or(0, |hooks| hooks.hooks_attempted)
}

/// Writes the annotation of one Restore.
struct EndedInRestore {
    api: Api<Restore>,
    name: String,
    uid: String,
    ended: Mutex<BTreeMap<String, String>>,
    /// One write after the other: each writes all.
    writing: tokio::sync::Mutex<()>,
}

impl EndedInRestore {
    fn of(client: &Client, restore: &Restore) -> Self {
        Self {
            api: Api::namespaced(client.clone(), &restore.namespace().unwrap_or_default()),
            name: restore.name_any(),
            uid: restore.uid().unwrap_or_default(),
            ended: Mutex::new(read(restore)),
            writing: tokio::sync::Mutex::default(),
        }
    }

    async fn write(&self) -> Result<(), Error> {
        let _one = self.writing.lock().await;
        let text = serde_json::to_string(&*self.ended.lock())?;
        if text.len() > MOST_BYTES {
            return Err("there are too many of them for an annotation".into());
        }
        let patch = json!({"metadata": {"uid": self.uid, "annotations": {ENDED_EXEC_HOOKS: text}}});
        self.api
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(())
    }
}

#[async_trait]
impl EndedHooks for EndedInRestore {
    fn of(&self, key: &HookKey) -> Option<Option<String>> {
        let error = self.ended.lock().get(&word(key)).cloned()?;
        Some((!error.is_empty()).then_some(error))
    }

    async fn end(&self, key: &HookKey, error: Option<&str>) {
        let error: String = error.unwrap_or_default().chars().take(LONGEST_ERROR).collect();
        self.ended.lock().insert(word(key), error);
        if let Err(error) = self.write().await {
            tracing::warn!(restore = %self.name, hook = %word(key), error = %chain(&*error), "that this hook has ended is not written down; it runs once more if the server is restarted before the restore ends");
        }
    }
}

/// What the annotation says; nonsense says nothing.
fn read(restore: &Restore) -> BTreeMap<String, String> {
    let text = restore.annotations().get(ENDED_EXEC_HOOKS);
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

fn word(key: &HookKey) -> String {
    let HookKey {
        pod,
        container,
        source,
        name,
        index,
        ..
    } = key;
    format!("{pod}/{container}/{source:?}/{index}/{name}")
}

/// The restore's log is in the bucket already.
struct ServerLog(String);

impl RestoreLog for ServerLog {
    fn line(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        match level {
            Level::Info => tracing::info!(restore = %self.0, ?fields, "{message}"),
            Level::Warning => tracing::warn!(restore = %self.0, ?fields, "{message}"),
            Level::Error => tracing::error!(restore = %self.0, ?fields, "{message}"),
        }
    }
}

/// The annotation goes with the end of the restore.
pub(crate) fn forgotten() -> Value {
    json!({ENDED_EXEC_HOOKS: null})
}

#[cfg(test)]
mod tests {
    use caravel_hooks::{PodName, Source};

    use super::*;

    fn key(name: &str, index: usize) -> HookKey {
        HookKey {
            pod: PodName::parse("shop/db-0").unwrap_or_default(),
            container: "db".to_owned(),
            source: Source::Spec,
            name: name.to_owned(),
            phase: None,
            index,
        }
    }

    #[test]
    fn what_was_written_down_is_known_to_the_next_server_with_its_error() {
        let written = json!({word(&key("load", 0)): "", word(&key("load", 1)): "exit code 3"}).to_string();
        let mut restore = Restore::new("r1", Default::default());
        restore
            .annotations_mut()
            .insert(ENDED_EXEC_HOOKS.to_owned(), written);
        let known = read(&restore);
        assert_eq!(known.get(&word(&key("load", 0))).map(String::as_str), Some(""));
        assert_eq!(
            known.get(&word(&key("load", 1))).map(String::as_str),
            Some("exit code 3")
        );
        assert_eq!(known.get(&word(&key("load", 2))), None);
    }

    #[test]
    fn an_annotation_that_is_nonsense_says_nothing() {
        for nonsense in ["", "[]", "{\"a\": 1}", "no"] {
            let mut restore = Restore::new("r1", Default::default());
            restore
                .annotations_mut()
                .insert(ENDED_EXEC_HOOKS.to_owned(), nonsense.to_owned());
            assert!(read(&restore).is_empty(), "{nonsense:?}");
        }
    }
}
