//! Guarantee 7 of docs/decisions: the pods whose post-hooks are owed stand in an annotation of the Backup before their
//! pre-hooks run; a server that starts runs the post-hooks of those that a former one left.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::v1::Backup;
use caravel_backup::hooks::OwedPostHooks;
use caravel_hooks::backup::{Phase, from_spec, run};
use caravel_hooks::exec::PodCommandExecutor;
use caravel_hooks::tracker::Tracker;
use caravel_hooks::{HookLog, Level, PodName};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::display_name;
use crate::reconcile::Error;

/// A JSON list of `<namespace>/<name>`.
pub const OWED_POST_HOOKS: &str = "velero.io/owed-post-hooks";

const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Writes the annotation of one Backup.
pub(super) struct OwedInBackup {
    api: Api<Backup>,
    name: String,
    uid: String,
    /// How long the API server may be away.
    patience: Duration,
    wanted: Mutex<BTreeSet<PodName>>,
    written: tokio::sync::Mutex<BTreeSet<PodName>>,
}

impl OwedInBackup {
    pub(super) fn new(client: &Client, backup: &Backup, patience: Duration) -> Self {
        Self {
            api: Api::namespaced(client.clone(), &backup.namespace().unwrap_or_default()),
            name: backup.name_any(),
            uid: backup.uid().unwrap_or_default(),
            patience,
            wanted: Mutex::default(),
            written: tokio::sync::Mutex::default(),
        }
    }

    /// Takes the annotation off once nothing is owed any more.
    pub(super) async fn settle(&self) {
        let mut written = self.written.lock().await;
        if written.is_empty() || !self.wanted.lock().is_empty() {
            return;
        }
        match self.write(&BTreeSet::new()).await {
            Ok(()) => written.clear(),
            Err(error) => {
                tracing::warn!(backup = %self.name, %error, "annotation {OWED_POST_HOOKS} stays; the next server runs post-hooks once more");
            }
        }
    }

    async fn write(&self, pods: &BTreeSet<PodName>) -> Result<(), kube::Error> {
        let deadline = Instant::now() + self.patience;
        let patch = Patch::Merge(patch(&self.uid, pods));
        loop {
            match self.api.patch(&self.name, &PatchParams::default(), &patch).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429 => {
                    return Err(kube::Error::Api(status));
                }
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
            }
        }
    }
}

/// The uid makes it a conflict when the Backup is another one of the same name.
fn patch(uid: &str, pods: &BTreeSet<PodName>) -> Value {
    let value = if pods.is_empty() {
        Value::Null
    } else {
        let names: Vec<String> = pods.iter().map(ToString::to_string).collect();
        json!(json!(names).to_string())
    };
    json!({"metadata": {"uid": uid, "annotations": {OWED_POST_HOOKS: value}}})
}

#[async_trait]
impl OwedPostHooks for OwedInBackup {
    async fn begin(&self, pods: &[PodName]) -> Result<(), String> {
        self.wanted.lock().extend(pods.iter().cloned());
        let mut written = self.written.lock().await;
        // Another block may have written this one, too, while it waited.
        if pods.iter().all(|pod| written.contains(pod)) {
            return Ok(());
        }
        let wanted = self.wanted.lock().clone();
        match self.write(&wanted).await {
            Ok(()) => {
                *written = wanted;
                Ok(())
            }
            Err(error) => {
                self.wanted.lock().retain(|pod| !pods.contains(pod));
                Err(error.to_string())
            }
        }
    }

    async fn end(&self, pods: &[PodName]) {
        self.wanted.lock().retain(|pod| !pods.contains(pod));
    }
}

/// What the annotation of a Backup says; entries that are no names are left out.
pub fn owed(backup: &Backup) -> Vec<PodName> {
    let annotation = backup.annotations().get(OWED_POST_HOOKS);
    let names: Vec<String> = annotation
        .and_then(|value| serde_json::from_str(value).ok())
        .unwrap_or_default();
    names.iter().filter_map(|name| PodName::parse(name)).collect()
}

/// Runs the post-hooks that a former server still owes, and takes the annotation off. A pod that is gone needs none; one
/// whose hook fails is a warning in the server's log: the backup has failed already.
///
/// # Errors
/// The API server cannot be asked or told.
pub(super) async fn pay(
    client: &Client,
    executor: &dyn PodCommandExecutor,
    backup: &Backup,
) -> Result<(), Error> {
    let pods = owed(backup);
    // Words as `po` are resolved by discovery when a backup starts; hooks exist for pods only.
    let resolve = |word: &str| match word {
        "po" | "pod" => "pods".to_owned(),
        other => other.to_owned(),
    };
    let hooks = from_spec(backup.spec.hooks.as_ref(), resolve).unwrap_or_default();
    let log = ServerLog(display_name(backup));
    for name in pods {
        let api: Api<Pod> = Api::namespaced(client.clone(), &name.namespace);
        let Some(pod) = api.get_opt(&name.name).await? else {
            continue;
        };
        tracing::warn!(backup = %display_name(backup), pod = %name, "runs the post-hooks that a former server owes");
        let pod = serde_json::to_value(pod)?;
        // Its error is in the log.
        let _ = run(executor, &pod, &hooks, Phase::Post, &Tracker::default(), &log).await;
    }
    let api: Api<Backup> = Api::namespaced(client.clone(), &backup.namespace().unwrap_or_default());
    let patch = Patch::Merge(patch(&backup.uid().unwrap_or_default(), &BTreeSet::new()));
    api.patch(&backup.name_any(), &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

struct ServerLog(String);

impl HookLog for ServerLog {
    fn line(&self, level: Level, pod: &PodName, message: &str) {
        match level {
            Level::Info => tracing::info!(backup = %self.0, %pod, "{message}"),
            Level::Warning => tracing::warn!(backup = %self.0, %pod, "{message}"),
            Level::Error => tracing::error!(backup = %self.0, %pod, "{message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_the_next_server_reads() {
        let pods: BTreeSet<PodName> = ["shop/db-0", "shop/db-1"]
            .iter()
            .filter_map(|name| PodName::parse(name))
            .collect();
        let written = patch("u1", &pods);
        let mut backup = Backup::new("b1", Default::default());
        backup.metadata.annotations =
            serde_json::from_value(written["metadata"]["annotations"].clone()).unwrap();
        assert_eq!(owed(&backup), pods.into_iter().collect::<Vec<_>>());
        assert_eq!(
            patch("u1", &BTreeSet::new())["metadata"]["annotations"][OWED_POST_HOOKS],
            Value::Null
        );
    }

    #[test]
    fn an_annotation_that_is_none_owes_nothing() {
        let mut backup = Backup::new("b1", Default::default());
        for value in ["", "{}", "[1]", "[\"noslash\"]"] {
            backup.metadata.annotations = Some([(OWED_POST_HOOKS.to_owned(), value.to_owned())].into());
            assert!(owed(&backup).is_empty());
        }
    }
}
